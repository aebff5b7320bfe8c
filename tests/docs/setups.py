"""What the Python blocks of README and docs take for granted: models, benchmarks, a memory file."""

from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.models import SimpleMLP
from avalanche.training import ER_ACE, Naive
from torch.utils.data import TensorDataset

from iid_cl.config.distill import DistillConfig, EmbedderConfig
from iid_cl.data.images import Normalization
from iid_cl.data.tensors import TensorImages
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import save_memory
from iid_cl.methods.distilled import Distilled
from iid_cl.strategies import DistilledBuffer, TaskLabelled

from . import hosts

TINY = DistillConfig(iterations=1, real_batch=4, embedder=EmbedderConfig(width=4, depth=1))
SIDE, CHANNELS, CLASSES, EACH = 8, 3, 4, 12


def images(count: int, seed: int) -> torch.Tensor:
    """uint8 images (count, 3, 8, 8)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, CHANNELS, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def tiny() -> dict[str, Any]:
    """Settings so small that a distillation takes a blink."""
    return {"TINY": TINY}


def experiment() -> dict[str, Any]:
    """An Avalanche experiment up to its strategy: two experiences of two classes of made-up images."""

    def data(seed: int) -> Any:
        labels = torch.arange(CLASSES).repeat_interleave(EACH)
        return as_classification_dataset(TensorImages(images(CLASSES * EACH, seed), labels))

    scale = Normalization((0.5,) * CHANNELS, (0.25,) * CHANNELS).apply
    model = SimpleMLP(num_classes=CLASSES, input_size=CHANNELS * SIDE * SIDE, hidden_size=8)
    return {
        "torch": torch,
        "TINY": TINY,
        "Naive": Naive,
        "ER_ACE": ER_ACE,
        "DistilledBuffer": DistilledBuffer,
        "TaskLabelled": TaskLabelled,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
        "criterion": torch.nn.CrossEntropyLoss(),
        "benchmark": nc_benchmark(
            data(0), data(1), n_experiences=2, task_labels=False, train_transform=scale, eval_transform=scale
        ),
    }


def pets() -> dict[str, Any]:
    """Images of two classes."""
    return {"torch": torch, "cats": images(EACH, 2), "dogs": images(EACH, 3)}


def memory_file() -> dict[str, Any]:
    """``memory.safetensors`` in the working folder."""
    save_memory(Path("memory.safetensors"), ExemplarSet.from_classes({0: images(2, 4), 1: images(2, 5)}))
    return {}


def loop() -> dict[str, Any]:
    """A model, and two data sets of two classes each."""
    labels = torch.arange(2).repeat(EACH // 2)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(CHANNELS * SIDE * SIDE, CLASSES))
    return {
        "TINY": TINY,
        "Distilled": Distilled,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
        "tasks": [TensorDataset(images(EACH, 6 + task) / 255, labels + 2 * task) for task in (0, 1)],
    }


def loop_features() -> dict[str, Any]:
    """The same, with a model that has features."""
    given = loop()
    given["model"].features = torch.nn.Flatten()
    return given


def mammoth() -> dict[str, Any]:
    """Mammoth's modules."""
    hosts.install(hosts.MAMMOTH)
    return {"TINY": TINY, "Distilled": Distilled}


def pycil() -> dict[str, Any]:
    """PyCIL's modules."""
    hosts.install(hosts.PYCIL)
    return {"TINY": TINY, "Distilled": Distilled}


SETUPS = {
    "tiny": tiny,
    "experiment": experiment,
    "pets": pets,
    "memory_file": memory_file,
    "loop": loop,
    "loop_features": loop_features,
    "mammoth": mammoth,
    "pycil": pycil,
}
