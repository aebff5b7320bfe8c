from typing import Any

import pytest
import torch
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
from avalanche.benchmarks.utils.transform_groups import DefaultTransformGroups
from torch.utils.data import TensorDataset

from iid_cl.data.images import LabelledImages, Normalization
from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError
from iid_cl.strategies.origins import Origins
from iid_cl.strategies.samples import Samples, read_experience

from .conftest import FORMS, NORMALIZATION, Digits, make_benchmark

PLAIN = {c: (c, 0) for c in range(4)}  # each of the memory's indices is that of the data, of task 0


def replayed(samples: Samples) -> Any:
    """A memory of all samples, as the data set that is replayed."""
    origins = Origins(samples.presentations, samples.rows, samples.task_labelled)
    return origins.as_avalanche(samples.images, PLAIN)


@pytest.mark.parametrize("form", FORMS)
def test_images_are_read_before_the_transforms_whatever_their_form(form: str, kind: str) -> None:
    data = next(iter(make_benchmark(kind, form).train_stream)).dataset
    images = read_experience(data, NORMALIZATION).images
    truth = Digits("bytes")
    expected = sorted(a.tobytes() for a, y in zip(truth.arrays, truth.targets, strict=True) if y in (0, 1))
    assert sorted(image.numpy().tobytes() for image in images.images) == expected
    assert sorted(images.labels.tolist()) == [0] * 6 + [1] * 6


@pytest.mark.parametrize("form", FORMS)
def test_an_exemplar_equal_to_a_real_image_becomes_the_same_sample(form: str, kind: str) -> None:
    """Real data and memory go through the same transforms."""
    data = next(iter(make_benchmark(kind, form).train_stream)).dataset
    copies = replayed(read_experience(data, NORMALIZATION))
    assert len(copies) == len(data)
    for real, copy in zip(data, copies, strict=True):
        assert len(copy) == len(real) == (3 if kind == "task-aware" else 2)
        torch.testing.assert_close(copy[0], real[0], rtol=0, atol=1e-6)
        assert copy[0].dtype == torch.float32
        assert not copy[0].requires_grad
        assert [int(v) for v in copy[1:]] == [int(v) for v in real[1:]]
    assert list(copies.targets) == list(data.targets)


def test_the_memory_follows_the_switch_between_training_and_evaluation_transforms() -> None:
    base = as_classification_dataset(
        Digits("unit"), transform_groups={"train": lambda x: x + 1, "eval": lambda x: x - 1}
    )
    memory = replayed(read_experience(base, None))
    torch.testing.assert_close(memory.train()[3][0], base.train()[3][0])
    torch.testing.assert_close(memory.eval()[3][0], base.eval()[3][0])
    assert (memory.train()[3][0] - memory.eval()[3][0]).mean() == pytest.approx(2)


def test_nested_transforms_apply_in_order() -> None:
    inner = as_classification_dataset(Digits("unit"), transform_groups={"train": lambda x: x + 1, "eval": None})
    outer = type(inner)([inner], transform_groups={"train": lambda x: x * 10, "eval": None})
    samples = read_experience(outer, None)
    images, memory = samples.images, replayed(samples)
    torch.testing.assert_close(memory[0][0], outer[0][0])
    torch.testing.assert_close(memory[0][0], (images.images[0] / 255 + 1) * 10)


def test_transforms_fixed_below_a_frozen_one_are_not_applied_twice() -> None:
    inner = as_classification_dataset(Digits("unit"), transform_groups={"train": lambda x: x / 2, "eval": None})
    fixed = type(inner)([inner], frozen_transform_groups=DefaultTransformGroups((lambda x: 1 - x, None)))
    outer = type(inner)([fixed], transform_groups={"train": lambda x: x * 10, "eval": None})
    samples = read_experience(outer, None)
    images, memory = samples.images, replayed(samples)
    torch.testing.assert_close(memory[0][0], (images.images[0] / 255) * 10)
    torch.testing.assert_close(memory[0][0], outer[0][0], rtol=0, atol=10 * 0.5 / 255 + 1e-6)  # stored as bytes


def _plain(images: torch.Tensor) -> object:
    data = TensorDataset(images, torch.zeros(len(images), dtype=torch.long))
    data.targets = [0] * len(images)
    return as_classification_dataset(data)


def test_floats_outside_the_unit_interval_need_their_normalisation_named() -> None:
    data = _plain(torch.full((2, 1, 4, 4), -3.0))
    with pytest.raises(UserError, match=r"floats between -3 and -3; .*normalization=Normalization"):
        read_experience(data, None)
    with pytest.raises(UserError, match="floats between"):
        read_experience(data, Normalization((0.5,), (0.5,)))  # black is -1 there: -3 is still no image
    images = read_experience(data, Normalization((0.6,), (0.2,))).images
    assert images.images.unique().tolist() == [0]


def test_images_of_several_shapes_are_refused() -> None:
    class TwoShapes(Digits):
        def __getitem__(self, index: int) -> tuple[object, int]:
            image, label = super().__getitem__(index)
            return (image[:, :4] if index == 7 else image), label

    with pytest.raises(UserError, match=r"differ in shape \(\(1, 8, 8\) and \(1, 4, 8\)\)"):
        read_experience(as_classification_dataset(TwoShapes("bytes")), None)


def test_an_unusable_type_is_named() -> None:
    class Words(Digits):
        def __getitem__(self, index: int) -> tuple[object, int]:
            return "a picture", 0

    with pytest.raises(UserError, match="of type str"):
        read_experience(as_classification_dataset(Words("bytes")), None)


def test_exemplars_carry_their_label_as_real_samples_do() -> None:
    """Avalanche cannot join numbers and tensors in one mini-batch."""
    images, labels = torch.rand(4, 1, 2, 2), torch.arange(4)
    tensors, numbers = _plain(images), as_classification_dataset(TensorImages(images, labels))
    memory = LabelledImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 3]))
    for data, kind in ((tensors, torch.Tensor), (numbers, int)):
        origins = Origins.all_like(read_experience(data, None).presentations[0], 2, False)
        exemplars = origins.as_avalanche(memory, PLAIN)
        assert isinstance(exemplars[1][1], kind)
        assert isinstance(data[1][1], kind)
        joined = next(iter(ReplayDataLoader(data, exemplars, batch_size=2, batch_size_mem=2)))
        assert joined[1].tolist()[2:] == [0, 3]
