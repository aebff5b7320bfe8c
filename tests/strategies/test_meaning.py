"""What a sample means survives the memory: real images come back as the samples that they were.

The right value is always the same: the samples of the experiences themselves, which Avalanche's own buffers hand out.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.storage_policy import ParametricBuffer
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision.transforms import Compose, Lambda, Normalize, ToTensor

from iid_cl.errors import UserError
from iid_cl.strategies import HerdingBuffer, RandomBuffer

from .made_up import AGENT

SIDE, PER_CLASS = 8, 5

Make = Callable[[np.ndarray], Any]


class Made(Dataset[tuple[Any, int]]):
    """``PER_CLASS`` images of each class, made from random bytes (H, W, C)."""

    def __init__(self, make: Make, classes: tuple[int, ...], channels: int = 3, seed: int = 0) -> None:
        draws = np.random.default_rng((seed, *classes))
        self.targets = [label for label in classes for _ in range(PER_CLASS)]
        shape = (len(self.targets), SIDE, SIDE, channels)
        self._images = [make(image) for image in draws.integers(0, 256, shape).astype(np.uint8)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._images[index], self.targets[index]


def tensor(dtype: torch.dtype = torch.uint8) -> Make:
    def make(image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
        return pixels if dtype == torch.uint8 else (pixels.float() / 255).to(dtype)

    return make


def picture(mode: str) -> Make:
    if mode == "P":
        return lambda image: Image.fromarray(image).quantize(16)
    return lambda image: Image.fromarray(image).convert(mode)


RGB = Compose([Lambda(lambda image: image.convert("RGB")), ToTensor()])
ADD_CHANNEL = Lambda(lambda image: torch.as_tensor(image)[None] / 255)

FORMS: dict[str, tuple[Make, Any, int]] = {
    **{f"PIL {mode}": (picture(mode), RGB, 3) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV")},
    "PIL without a transform to colour": (picture("L"), ToTensor(), 3),
    "array HWC": (lambda image: image, ToTensor(), 3),
    "array HW1": (lambda image: image, ToTensor(), 1),
    "array HW": (lambda image: image[:, :, 0], ADD_CHANNEL, 1),
    "array CHW": (lambda image: image.transpose(2, 0, 1), Lambda(torch.as_tensor), 3),
    "float array": (lambda image: np.float32(image / 255), ToTensor(), 3),
    "double array": (lambda image: image / 255, Lambda(lambda image: torch.as_tensor(image).permute(2, 0, 1)), 3),
    "bytes": (tensor(), Lambda(lambda image: image / 255), 3),
    "bytes HW": (lambda image: torch.from_numpy(image)[:, :, 0], ADD_CHANNEL, 1),
    "bytes HWC": (torch.from_numpy, Lambda(lambda image: image.permute(2, 0, 1) / 255), 3),
    **{str(kind): (tensor(kind), None, 3) for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16)},
    "floats HW": (lambda image: torch.from_numpy(image)[:, :, 0] / 255, Lambda(lambda image: image[None]), 1),
    "many channels": (tensor(), None, 7),
}  # fmt: skip


def seen(dataset: Any) -> list[tuple[bytes, torch.dtype, tuple[int, ...], int]]:
    """Samples as a learner meets them, in any order."""
    return sorted((s[0].float().numpy().tobytes(), str(s[0].dtype), tuple(s[0].shape), int(s[1])) for s in dataset)


def fill(memory: Any, *datasets: Any) -> Any:
    for dataset in datasets:
        memory.post_adapt(AGENT, SimpleNamespace(dataset=dataset))
    return memory


def made(make: Make, classes: tuple[int, ...], transform: Any, label: Any = None, **options: Any) -> Any:
    groups = {"train": (transform, label), "eval": (transform, label)}
    return as_classification_dataset(Made(make, classes, **options), transform_groups=groups)


def everything() -> RandomBuffer:
    return RandomBuffer(ipc=4 * PER_CLASS)


@pytest.mark.parametrize("form", FORMS)
def test_a_real_image_comes_back_as_the_sample_that_it_was(form: str) -> None:
    make, transform, channels = FORMS[form]
    parts = [made(make, classes, transform, channels=channels) for classes in ((0, 1), (2, 3))]
    memory = fill(everything(), *parts)
    assert seen(memory.buffer) == sorted([*seen(parts[0]), *seen(parts[1])])


def normalise(level: float) -> Any:
    return Compose([Lambda(lambda image: image / 255), Normalize((level,) * 3, (level,) * 3)])


def streams() -> Iterator[Any]:
    """Streams whose experiences treat images and labels differently."""
    first, second = normalise(0.2), normalise(0.6)
    yield pytest.param([made(tensor(), (0, 1), first), made(tensor(), (2, 3), second)], id="normalisations")
    yield pytest.param([made(tensor(), (0, 1), first), made(tensor(), (1, 0), second, seed=1)], id="domains")
    parts = [made(tensor(), (0,), first), made(tensor(), (0, 1), second, seed=2)]
    yield pytest.param([concat_datasets(parts), made(tensor(), (2,), first)], id="two sources in one experience")
    shift = Lambda(lambda label: label + 10)
    yield pytest.param([made(tensor(), (0, 1), first), made(tensor(), (0, 1), first, shift, seed=1)], id="labels")
    swap, fold = Lambda({0: 1, 1: 0}.get), Lambda(lambda label: label % 2)
    yield pytest.param([made(tensor(), (0, 1), first, swap), made(tensor(), (0, 1), first, seed=1)], id="swapped")
    yield pytest.param([made(tensor(), (0, 1, 2, 3), first, fold), made(tensor(), (4, 5), first)], id="superclasses")
    frozen = made(tensor(torch.float32), (0, 1), Lambda(lambda image: image.flip(-1)), shift).freeze_transforms()
    yield pytest.param([frozen, made(tensor(torch.float32), (2, 3), Normalize((0.5,) * 3, (0.2,) * 3))], id="frozen")
    pictures, numbers = made(picture("RGB"), (0, 1), ToTensor()), made(tensor(torch.float32), (2, 3), None)
    yield pytest.param([pictures, numbers], id="pictures, then tensors")


@pytest.mark.parametrize("parts", list(streams()))
def test_exemplars_keep_the_transforms_and_labels_of_their_experience(parts: list[Any]) -> None:
    memory = fill(everything(), *parts)
    assert seen(memory.buffer) == sorted(sample for part in parts for sample in seen(part))


@pytest.mark.parametrize("parts", list(streams()))
def test_avalanches_own_buffer_agrees(parts: list[Any]) -> None:
    """That the values above are right: where nothing is left out, its buffer hands out the same samples."""
    own = ParametricBuffer(10_000, groupby=None)
    for part in parts:
        own.post_adapt(SimpleNamespace(), SimpleNamespace(dataset=part))
    assert seen(own.buffer) == seen(fill(everything(), *parts).buffer)


def test_classes_are_those_that_the_learner_is_trained_with() -> None:
    shift = Lambda(lambda label: label + 10)
    memory = fill(RandomBuffer(2), made(tensor(), (0, 1), None), made(tensor(), (0, 1), None, shift, seed=1))
    assert memory.exemplars.classes == [0, 1, 10, 11]
    assert sorted(memory.buffer.targets) == [0, 0, 1, 1, 10, 10, 11, 11]


def test_labels_that_are_no_class_indices_keep_their_transform() -> None:
    one_hot = Lambda(lambda label: torch.eye(4)[label])
    part = made(tensor(), (0, 1), None, one_hot)
    memory = fill(RandomBuffer(2), part)
    assert memory.exemplars.classes == [0, 1]
    assert [sample[1].tolist() for sample in memory.buffer] == [[1, 0, 0, 0]] * 2 + [[0, 1, 0, 0]] * 2


def test_distilled_images_of_a_class_from_two_domains_take_the_nearest_ones_transforms() -> None:
    """Stored as JPEG, no image equals its source: dark ones come from the first domain, bright ones from the second."""
    dark, bright = (
        lambda image, base=base: torch.from_numpy(np.uint8(base + image % 8)).permute(2, 0, 1) for base in (20, 200)
    )
    parts = [made(dark, (0,), Lambda(lambda x: x / 255)), made(bright, (0,), Lambda(lambda x: x / 255 - 9), seed=1)]
    memory = fill(RandomBuffer(class_bytes=6000, jpeg=50), *parts)
    values = [float(sample[0].mean()) for sample in memory.buffer]
    assert len(values) == 2 * PER_CLASS
    assert sum(0.05 < value < 0.15 for value in values) == PER_CLASS
    assert sum(-8.25 < value < -8.15 for value in values) == PER_CLASS


@pytest.mark.parametrize("resize", [False, True])
def test_a_smaller_memory_keeps_each_images_transforms(resize: bool) -> None:
    parts = [made(tensor(), (0, 1), normalise(0.2)), made(tensor(), (2, 3), normalise(0.6))]
    memory = fill(RandomBuffer(mem_size=8), *parts)
    if resize:
        memory.resize(AGENT, 4)
    everyone = {sample for part in parts for sample in seen(part)}
    assert len(memory.buffer) == (4 if resize else 8)
    assert set(seen(memory.buffer)) <= everyone


def test_a_state_that_would_lose_transforms_is_refused() -> None:
    """Loaded, all images would take those of the last experience."""
    same = normalise(0.2)
    memory = fill(everything(), made(tensor(), (0,), same), made(tensor(), (1,), same))
    assert memory.state_dict()["form"] == ["tensor", "CHW", "uint8", None]
    fill(memory, made(tensor(), (2,), normalise(0.6)))
    with pytest.raises(UserError, match="different transforms, which its state does not hold"):
        memory.state_dict()


# --- herding


def network(channels: int, side: int) -> nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(channels * side**2, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2)
    )


def herded(features: torch.Tensor, count: int) -> list[int]:
    """iCaRL's Algorithm 4, written down once more."""
    units = nn.functional.normalize(features.detach().double())
    mean, picked, total = units.mean(0), [], torch.zeros(units.shape[1], dtype=torch.float64)
    for size in range(1, count + 1):
        distances = [float(((total + unit) / size - mean).norm()) for unit in units]
        best = min((d, i) for i, d in enumerate(distances) if i not in picked)[1]
        picked.append(best)
        total = total + units[best]
    return picked


@pytest.mark.parametrize(
    ("make", "transform", "channels", "side"),
    [
        pytest.param(tensor(), Lambda(lambda x: x / 255), 3, SIDE, id="divided"),
        pytest.param(tensor(), normalise(0.3), 3, SIDE, id="normalised"),
        pytest.param(picture("L"), Compose([RGB]), 3, SIDE, id="channels change"),
        pytest.param(tensor(), Lambda(lambda x: x[:, ::2, ::2] / 255), 3, SIDE // 2, id="size changes"),
    ],
)
def test_herding_sees_images_as_the_network_does(make: Make, transform: Any, channels: int, side: int) -> None:
    train = Lambda(lambda x: 1 / 0)  # of evaluation, which augments nothing
    data = as_classification_dataset(Made(make, (0, 1)), transform_groups={"train": train, "eval": transform})
    model = network(channels, side)
    memory = HerdingBuffer(3)
    memory.post_adapt(SimpleNamespace(device="cpu", model=model), SimpleNamespace(dataset=data))
    shown = torch.stack([sample[0] for sample in data.eval()])
    for label in (0, 1):
        rows = torch.arange(PER_CLASS) + label * PER_CLASS
        features = model[:3](shown[rows])
        picked = [seen([data.eval()[int(rows[index])]])[0] for index in herded(features, 3)]
        assert [seen([sample])[0] for sample in memory.buffer.eval() if int(sample[1]) == label] == picked


def test_herding_sees_each_image_of_two_domains_through_its_own_transforms() -> None:
    parts = [made(tensor(), (0,), normalise(0.2)), made(tensor(), (0,), normalise(0.7), seed=1)]
    model = network(3, SIDE)
    memory = HerdingBuffer(4)
    memory.post_adapt(SimpleNamespace(device="cpu", model=model), SimpleNamespace(dataset=concat_datasets(parts)))
    shown = [sample for part in parts for sample in part.eval()]
    picked = herded(model[:3](torch.stack([sample[0] for sample in shown])), 4)
    assert [seen([sample])[0] for sample in memory.buffer.eval()] == [seen([shown[index]])[0] for index in picked]
