"""What a memory cannot keep is refused before the first experience is trained on, and what it can keep just works."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training import Naive
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision.transforms import ToTensor

from iid_cl.config.distill import DistillConfig, EmbedderConfig
from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError
from iid_cl.strategies import (
    DistilledBuffer,
    DistilledReplayPlugin,
    HerdingBuffer,
    InMemoryPlugin,
    MemoryReplayPlugin,
    RandomBuffer,
    RealBuffer,
)

from .conftest import TINY
from .made_up import noise


class Samples(Dataset[Any]):
    """Eight samples of the classes 0 and 1, whatever they are."""

    targets = (0,) * 4 + (1,) * 4

    def __init__(self, make: Any) -> None:
        self._make = make

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return self._make(index)


def strategy(buffer: Any, model: nn.Module | None = None, plugins: tuple[Any, ...] = ()) -> Naive:
    model = model or nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=4,
        evaluator=None,
        plugins=[MemoryReplayPlugin(buffer), *plugins],
    )


def first_update(learner: Naive) -> list[int]:
    """Counts the updates of the learner's memory."""
    updates: list[int] = []
    policy = learner.plugins[0].storage_policy
    update = policy.post_adapt
    policy.post_adapt = lambda *rest: (updates.append(1), update(*rest))[1]
    return updates


def pictures(mode: str) -> Any:
    return lambda index: (Image.new(mode, (8, 8), index), index // 4)


GREY = noise(8)
NOT_IMAGES: dict[str, tuple[Any, str]] = {
    "index": (lambda i: (GREY[i], i // 4, i), "samples hold 3 items"),
    "dictionary": (lambda i: {"image": GREY[i], "label": i // 4}, "samples are of type dict"),
    "image alone": (lambda i: GREY[i], "samples are of type Tensor"),
    "vector": (lambda i: (torch.rand(6), i // 4), "another image each time"),
    "fixed vector": (lambda i: (GREY[i, 0, 0] / 255, i // 4), r"samples of shape \(8,\) are not images"),
    "series": (lambda i: (GREY[i, :, 0] / 255, i // 4), r"samples of shape \(1, 8\) are not images"),
    "video": (lambda i: (GREY[i][None], i // 4), r"samples of shape \(1, 1, 8, 8\) are not images"),
    "text": (lambda i: ("a picture", i // 4), "images are of type str"),
    "labels of text": (lambda i: (GREY[i], "cat"), "labels are of type str"),
    "one-hot labels": (lambda i: (GREY[i], torch.eye(2)[i // 4]), r"labels are torch.float32 of shape \(2,\)"),
    "integers": (lambda i: (GREY[i].long(), i // 4), "images are int64 tensors"),
    "random": (lambda i: (torch.rand(1, 8, 8), i // 4), "gives another image each time it is read"),
    "negative label": (lambda i: (GREY[i], -1), "class index -1"),
    "16 bits": (pictures("I;16"), "PIL pictures of mode 'I;16'"),
    "floats": (pictures("F"), "PIL pictures of mode 'F'"),
    "LAB": (pictures("LAB"), "PIL pictures of mode 'LAB'"),
}


@pytest.mark.parametrize("what", NOT_IMAGES)
def test_what_a_memory_cannot_keep_is_refused_before_training(what: str) -> None:
    make, message = NOT_IMAGES[what]
    trained: list[int] = []

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def forward(self, x: Any) -> Any:
            trained.append(1)

    data = as_classification_dataset(Samples(make))
    learner = strategy(RandomBuffer(2), Model())
    with pytest.raises(UserError, match=message):
        learner.train(benchmark_from_datasets(train=[data]).train_stream)
    assert not trained


def test_a_palette_that_the_transform_reads_as_numbers_is_refused() -> None:
    def make(index: int) -> Any:
        return Image.effect_noise((8, 8), 90).quantize(4), index // 4

    kept = [make(index) for index in range(8)]
    data = as_classification_dataset(
        Samples(kept.__getitem__), transform_groups={"train": ToTensor(), "eval": ToTensor()}
    )
    with pytest.raises(UserError, match="mode 'P', of which the transforms make something else"):
        strategy(RandomBuffer(2)).train(benchmark_from_datasets(train=[data]).train_stream)


def images(count: int = 8, side: int = 8, channels: int = 1, classes: tuple[int, ...] = (0, 1)) -> Any:
    labels = torch.tensor([label for label in classes for _ in range(count // len(classes))])
    return as_classification_dataset(TensorImages(noise(count, 0, side, channels) / 255, labels))


@pytest.mark.parametrize(
    ("buffer", "message"),
    [
        (lambda: RandomBuffer(mem_size=1), "mem_size: 1 has no room for one image of each of 2 classes"),
        (lambda: RandomBuffer(class_bytes=65), "class_bytes: 65 has no room"),
        (lambda: RealBuffer(2, downscale=3), "3"),
        (lambda: RealBuffer(class_bytes=100, jpeg=25), "memory.jpeg: no image"),
        (
            lambda: DistilledBuffer(2, distill=DistillConfig(embedder=EmbedderConfig(depth=4))),
            "distill.embedder.depth: 4",
        ),
        (lambda: DistilledBuffer(2, distill=DistillConfig(partition=3, embedder=EmbedderConfig(depth=1))), "3"),
        (lambda: HerdingBuffer(2), "no layer at work .*; pass `features`"),
    ],
    ids=["total", "bytes", "downscale", "jpeg", "depth", "partition", "features"],
)
def test_what_does_not_fit_the_images_is_refused_before_training(buffer: Any, message: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Threshold(0, 0)) if "features" in message else None
    learner = strategy(buffer())
    if model is not None:
        learner.model = model
    updates = first_update(learner)
    with pytest.raises(UserError, match=message):
        learner.train(benchmark_from_datasets(train=[images()]).train_stream)
    assert not updates


def test_a_fixed_total_counts_the_classes_of_the_whole_experience() -> None:
    """Not only those of the few samples that are read: one of every hundred classes is enough to fail."""
    data = images(200, classes=tuple(range(200)))
    with pytest.raises(UserError, match="mem_size: 150 has no room for one image of each of 200 classes"):
        strategy(RandomBuffer(mem_size=150)).train(benchmark_from_datasets(train=[data]).train_stream)
    RandomBuffer(mem_size=200).check(SimpleNamespace(device="cpu"), SimpleNamespace(dataset=data))


def test_images_of_another_size_than_the_memorys_are_refused_before_training() -> None:
    learner = strategy(RandomBuffer(2), nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 4)))
    stream = benchmark_from_datasets(train=[images(), images(side=10, classes=(2, 3))]).train_stream
    learner.train(stream[0])
    updates = first_update(learner)
    with pytest.raises(UserError, match=r"images of \(1, 10, 10\) .* cannot join a memory of \(1, 8, 8\); resize them"):
        learner.train(stream[1])
    assert not updates


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("float_images", [False, True])
def test_grey_images_without_an_axis_of_channels_train_on(in_memory: bool, float_images: bool) -> None:
    pixels = noise(16)[:, 0] / 255 if float_images else noise(16)[:, 0]
    shown = (lambda image: image[None]) if float_images else (lambda image: image[None].float() / 255)
    parts = []
    for label in (0, 2):
        rows = slice(4 * label, 4 * label + 8)
        data = TensorImages(pixels[rows], torch.tensor([label] * 4 + [label + 1] * 4))
        parts.append(as_classification_dataset(data, transform_groups={"train": shown, "eval": shown}))
    plugins = (InMemoryPlugin(lambda batch: shown(batch)[0][:, None]),) if in_memory else ()
    buffer = RandomBuffer(2)
    learner = strategy(buffer, nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), plugins)
    for experience in benchmark_from_datasets(train=parts).train_stream:
        learner.train(experience)
    assert [tuple(sample[0].shape) for sample in buffer.buffer] == [(1, 8, 8)] * 8


def test_half_precision_images_stay_so() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).bfloat16()
    parts = [
        as_classification_dataset(TensorImages((noise(8, c) / 255).bfloat16(), torch.tensor([c] * 4 + [c + 1] * 4)))
        for c in (0, 2)
    ]
    plugin = DistilledReplayPlugin(1, distill=TINY)
    learner = Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), 0.01), criterion=nn.CrossEntropyLoss(),
        train_mb_size=4, evaluator=None, plugins=[plugin],
    )  # fmt: skip
    for experience in benchmark_from_datasets(train=parts).train_stream:
        learner.train(experience)
    assert {sample[0].dtype for sample in plugin.storage_policy.buffer} == {torch.bfloat16}


# --- memories without a strategy


@pytest.mark.parametrize("way", ["update", "update_from_dataset", "post_adapt"])
def test_a_memory_needs_no_strategy_but_its_experience(way: str) -> None:
    memory, data = RandomBuffer(2), images()
    if way == "update":
        memory.update(SimpleNamespace(experience=SimpleNamespace(dataset=data)))
    elif way == "update_from_dataset":
        memory.update_from_dataset(data)
    else:
        memory.post_adapt(None, SimpleNamespace(dataset=data))
    assert memory.exemplars.labels.tolist() == [0, 0, 1, 1]


def test_later_parts_of_a_task_are_not_looked_at_again() -> None:
    class Unread:
        @property
        def dataset(self) -> Any:
            raise AssertionError("it was read")

    part = Unread()
    part.access_task_boundaries, part.is_first_subexp = True, False
    RandomBuffer(2).check(None, part)
    part.is_first_subexp = True
    with pytest.raises(AssertionError, match="it was read"):
        RandomBuffer(2).check(None, part)


def test_features_without_a_model_say_what_to_pass() -> None:
    with pytest.raises(UserError, match="need the strategy's model, and it has none; pass `features`"):
        HerdingBuffer(2).update_from_dataset(images())
