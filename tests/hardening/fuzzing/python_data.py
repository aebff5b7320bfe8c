"""Data sets through the Python API: images and labels of any type, shape and range, in any container."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import as_classification_dataset
from PIL import Image
from torch import Tensor

from iid_cl.config.distill import DistillConfig, EmbedderConfig
from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.distill import distill
from iid_cl.methods.memory import Memory
from iid_cl.strategies import RandomBuffer
from tests.hardening.fuzzing.mutations import NUMBERS, TEXTS, Refused

TYPES = (
    torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.uint16,
    torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn,
)  # fmt: skip
SHAPES = ((1, 8, 8), (3, 8, 8), (4, 8, 8), (2, 8, 8), (8, 8, 3), (8, 8), (64,), (), (1, 1, 1), (0, 8, 8), (1, 8, 8, 8))
RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0), (0.0, 0.003), (0.0, 0.0), (0.5, 0.5), (0.0, 65535.0), (-1e30, 1e30))
SPECIAL = (float("nan"), float("inf"), -float("inf"), 1e-45)
TINY = DistillConfig(iterations=1, real_batch=2, embedder=EmbedderConfig(width=4, depth=1))


def _images(random_: random.Random, count: int) -> Tensor:
    """Images of one type, shape and range; the likely ones half of the time."""
    likely = random_.random() < 0.5
    dtype = random_.choice(TYPES[:2] if likely else TYPES)
    shape = random_.choice(SHAPES[:2] if likely else SHAPES)
    low, high = (0.0, 1.0 if dtype.is_floating_point else 255.0) if likely else random_.choice(RANGES)
    values = torch.rand(count, *shape, generator=torch.Generator().manual_seed(random_.randrange(99)))
    values = values.double() * (high - low) + low
    if values.numel() and random_.random() < 0.1:
        values.view(-1)[0] = random_.choice(SPECIAL)
    return values.to(dtype)


def _contained(random_: random.Random, images: Tensor) -> Any:
    """The images in another container, or something else in their place."""
    kind = random_.randrange(12)
    if kind <= 4 or not images.ndim:
        return images
    if kind <= 7:
        exotic = images.dtype in (torch.bfloat16, torch.float8_e4m3fn)
        array = (images.float() if exotic else images).numpy()
        return random_.choice((array, array[::-1], np.asfortranarray(array), list(array), array.tolist()))
    items = list(images)
    if kind <= 9:
        if items and random_.random() < 0.5:
            items[random_.randrange(len(items))] = random_.choice((items[0].flatten(), items[0][None], None, 3))
        return random_.choice((items, tuple(items), iter(items)))
    sparse = torch.zeros(2, 1, 2, 2).to_sparse()
    return random_.choice(
        [*NUMBERS, *TEXTS, None, {}, [], object(), sparse, images.to("meta"), images[:0], {0: images}]
    )


def _labels(random_: random.Random, count: int) -> Any:
    labels = [random_.choice((0, 1, 5, 32_767)) for _ in range(count)]
    kind = random_.randrange(12)
    if kind <= 6:
        return random_.choice(
            (labels, tuple(labels), np.array(labels), torch.tensor(labels), torch.tensor(labels).int())
        )
    if kind == 7:
        return [*labels[1:], random_.choice([*NUMBERS, *TEXTS, [], [1]])]
    if kind == 8:
        return random_.choice((labels[1:], [*labels, 0], [labels], torch.tensor([labels] * 2)))
    if kind == 9:
        return torch.tensor(labels).to(random_.choice((torch.float32, torch.bool, torch.uint8, torch.complex64)))
    return random_.choice([*NUMBERS, *TEXTS, None, {}, object(), labels])


def python_data(random_: random.Random, folder: Path) -> Callable[[], object]:
    """What a program may hand to LabelledImages, Memory.update and distill()."""
    count = random_.choice((1, 4, 6, 6))
    images = _contained(random_, _images(random_, count))
    labels, tasks = _labels(random_, count), random_.choice((None, None, None, _labels(random_, count)))
    if random_.random() < 0.5:
        return lambda: _remembered(images, labels, tasks)
    key = random_.choice((0, 1, 1, 1, np.int64(1), *TEXTS[:3], *NUMBERS))
    classes = random_.choice(({0: images, key: images},) * 5 + ({key: images}, images, {}))
    options: dict[str, Any] = {
        "ipc": 1,
        "generator": torch.Generator().manual_seed(0),
        "device": "cpu",
        "normalization": Normalization((0.5,), (0.25,)),
    }
    if random_.random() < 0.4:
        name = random_.choice((*options, "augmentations", "weights", "start", "config"))
        options[name] = random_.choice([*NUMBERS, *TEXTS, [], {}, {0: images}, {0: [1.0] * count}, classes, ["flip"]])
    config = options.pop("config", TINY)
    return lambda: _whole(distill(classes, config, **options).images)


def _remembered(images: Any, labels: Any, tasks: Any) -> None:
    given = LabelledImages(images, labels)
    _whole(given.images)
    if isinstance(images, Tensor) and images.is_floating_point():
        expected = (images.double() * 255).round().clamp(0, 255)
        assert torch.equal(given.images.double(), expected) or images.dtype != torch.float64, "other images in silence"
    memory = Memory("random", 1)
    memory.update(given, tasks=tasks)
    assert memory.exemplars is not None
    _whole(memory.exemplars.decoded().images)


def _whole(images: Tensor) -> None:
    assert images.dtype == torch.uint8, images.dtype
    assert images.ndim == 4, images.shape


class _Learner:
    device = torch.device("cpu")


class _Samples(torch.utils.data.Dataset[Any]):
    def __init__(self, samples: Sequence[Any], targets: Sequence[int]) -> None:
        self._samples, self.targets = samples, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._samples[index], self.targets[index]


def avalanche_data(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Samples of any kind in an Avalanche data set, and what a buffer hands out of them."""
    targets = [0, 0, 1, 1]
    kind = random_.randrange(3)
    samples: list[Any] = list(_images(random_, len(targets)))
    if kind == 0:
        pixels = np.random.default_rng(random_.randrange(99)).integers(0, 256, (len(targets), 8, 8, 3)).astype(np.uint8)
        modes = (
            random_.choices(Image.MODES, k=len(targets))
            if random_.random() < 0.3
            else [random_.choice(Image.MODES)] * 4
        )
        samples = [_picture(array, mode) for array, mode in zip(pixels, modes, strict=True)]
    elif kind == 1:
        samples = [_contained(random_, sample) for sample in samples]

    def read() -> None:
        try:
            dataset = as_classification_dataset(_Samples(samples, targets))
        except Exception:
            raise Refused from None  # by Avalanche
        buffer = RandomBuffer(1)
        buffer.post_adapt(_Learner(), type("Experience", (), {"dataset": dataset})())
        for sample in buffer.buffer:
            assert len(sample) >= 2

    return read


def _picture(array: np.ndarray[Any, Any], mode: str) -> Image.Image:
    picture = Image.fromarray(array)
    if mode.startswith("I;16") or mode == "La":
        return Image.new(mode, picture.size)
    return picture.convert(mode)
