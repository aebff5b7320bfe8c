"""Data sets as tensors, against reading them sample by sample."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset
from avalanche.benchmarks.utils.transform_groups import DefaultTransformGroups
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from iid_cl.data.tensors import TensorImages
from iid_cl.errors import UserError
from iid_cl.strategies.reading import parts_of, read, same, stack

from .conftest import FORMS, Digits, make_benchmark


def tensor_images(count: int, start: int = 0, dtype: torch.dtype = torch.uint8) -> TensorImages:
    """Images of one value each: ``start``, ``start`` + 1, ...; labels are the values modulo 3."""
    values = torch.arange(start, start + count)
    return TensorImages(values.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).to(dtype), values % 3)


def values(dataset: AvalancheDataset) -> tuple[list[int], list[int]]:
    """The values of the images, and the labels, as they are read at once."""
    (images, labels, *_), _ = read(parts_of(dataset))
    return images[:, 0, 0, 0].tolist(), labels.tolist()


def plain(source: Any, **groups: Any) -> AvalancheDataset:
    if not hasattr(source, "targets"):
        source.targets = [int(source[i][1]) for i in range(len(source))]
    return as_classification_dataset(source, **groups)


@pytest.mark.parametrize("form", FORMS)
def test_experiences_are_what_their_samples_are(form: str, kind: str) -> None:
    dataset = list(make_benchmark(kind, form).train_stream)[1].dataset
    (images, labels), found = read(parts_of(dataset))
    truth = Digits("bytes")
    expected = {a.tobytes(): y for a, y in zip(truth.arrays, truth.targets, strict=True) if y in (2, 3)}
    as_bytes = {
        "unit": lambda x: (x * 255).round().to(torch.uint8),
        "normalized": lambda x: ((x * 0.4 + 0.3) * 255).round().to(torch.uint8),
    }.get(form, lambda x: x)(images)
    assert found == (form if form in ("pil", "array") else "tensor")
    assert images.dtype == (torch.float32 if form in ("unit", "normalized") else torch.uint8)
    assert images.shape == (12, 1, 8, 8)
    assert [expected[image.numpy().tobytes()] for image in as_bytes] == labels.tolist()
    assert labels.tolist() == [int(sample[1]) for sample in dataset]
    assert labels.dtype == torch.int64


def test_colour_pictures_become_channels_first() -> None:
    class Colours(Dataset[Any]):
        targets = [0]  # noqa: RUF012

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            return np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3), 0

    (images, _), kind = read(parts_of(plain(Colours())))
    assert kind == "array"
    assert images.shape == (1, 3, 2, 3)
    assert images[0, :, 1, 0].tolist() == [9, 10, 11]  # row 1, column 0 in H x W x C


def test_floats_are_kept_to_the_last_bit() -> None:
    images = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (found, _), _ = read(parts_of(plain(TensorDataset(images, torch.zeros(5, dtype=torch.int64)))))
    assert found.dtype == torch.float64
    assert torch.equal(found, images)


def test_subsets_and_concatenations_keep_the_order() -> None:
    first, second, third = plain(tensor_images(6)), plain(tensor_images(5, 10)), plain(tensor_images(4, 20))
    joined = first.subset([5, 3, 1]).concat(second).concat(third.subset([2, 2]))
    assert values(joined) == ([5, 3, 1, 10, 11, 12, 13, 14, 22, 22], [2, 0, 1, 1, 2, 0, 1, 2, 1, 1])
    mixed = joined.subset([9, 0, 4, 8, 1, 0])
    assert values(mixed)[0] == [22, 5, 11, 22, 3, 5]
    assert values(mixed.subset([2, 1]))[0] == [11, 5]
    for dataset in (joined, mixed):
        assert values(dataset)[0] == [int(sample[0][0, 0, 0]) for sample in dataset]


def test_pytorchs_own_subsets_and_concatenations_are_looked_through() -> None:
    joined = ConcatDataset([Subset(tensor_images(6), [4, 0]), tensor_images(3, 10)])
    dataset = plain(Subset(joined, [4, 0, 1, 2]))
    assert values(dataset) == ([12, 4, 0, 10], [0, 1, 0, 1])
    assert all(part.holds_tensors() for part in parts_of(dataset))


@pytest.mark.parametrize("maker", [TensorDataset, TensorImages])
def test_tensors_are_taken_as_they_are(maker: Any) -> None:
    images = torch.randint(256, (6, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (found, labels), _ = read(parts_of(plain(maker(images, torch.arange(6)))))
    assert found.data_ptr() == images.data_ptr()
    assert labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_avalanches_tensor_data_sets_are_taken_as_they_are() -> None:
    images = torch.rand(6, 3, 4, 4)
    dataset = _make_taskaware_tensor_classification_dataset(images, torch.arange(6).to(torch.int32), task_labels=0)
    (found, labels), _ = read(parts_of(dataset))
    assert found.data_ptr() == images.data_ptr()
    assert labels.dtype == torch.int64  # its samples hold numbers
    assert labels.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("base", [TensorDataset, TensorImages])
def test_a_subclass_may_do_with_its_tensors_what_it_likes(base: Any) -> None:
    class Brighter(base):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image + 100, label

    dataset = plain(Brighter(*tensor_images(4).tensors))
    assert values(dataset)[0] == [100, 101, 102, 103]


def test_frozen_transforms_belong_to_the_raw_sample_and_others_do_not() -> None:
    inner = plain(tensor_images(3), transform_groups={"train": lambda x: x + 10, "eval": None})
    frozen = inner.freeze_transforms()
    outer = type(frozen)([frozen], transform_groups={"train": lambda x: x + 100, "eval": None})
    assert values(inner)[0] == [0, 1, 2]
    assert values(outer)[0] == [10, 11, 12]
    assert values(outer.eval())[0] == [0, 1, 2]
    (part,) = parts_of(outer)
    assert [len(steps) for steps in part.steps] == [1, 1]
    assert part.steps[1][0][1](torch.tensor(1)) == 101
    (group,) = part.groups()
    assert group.transform_groups["train"](torch.tensor(1))[0] == 101


def test_what_stands_before_a_frozen_transform_is_fixed_with_it() -> None:
    inner = plain(tensor_images(3), transform_groups={"train": lambda x: x + 1, "eval": None})
    outer = type(inner)([inner], frozen_transform_groups=DefaultTransformGroups((lambda x: x * 10, None)))
    assert values(outer)[0] == [10, 20, 30]
    assert values(outer)[0] == [int(sample[0][0, 0, 0]) for sample in outer]


def test_a_frozen_mapping_of_labels_leaves_images_and_their_transforms_alone() -> None:
    """Avalanche puts one below every experience of nc_benchmark."""
    inner = plain(tensor_images(4), transform_groups={"train": lambda x: x + 50, "eval": None})
    names = [7, 8, 9]
    outer = type(inner)([inner], frozen_transform_groups=DefaultTransformGroups((None, names.__getitem__)))
    (part,) = parts_of(outer)
    assert part.holds_tensors()
    assert values(outer) == ([0, 1, 2, 3], [7, 8, 9, 7])
    assert [item for item, _ in part.steps[1]] == [0]
    assert [int(sample[1]) for sample in outer] == [7, 8, 9, 7]


def test_further_items_of_a_sample_stay() -> None:
    logits = torch.rand(4, 3)
    data = TensorDataset(*tensor_images(4).tensors, logits)
    items, _ = read(parts_of(plain(data).subset([3, 1])))
    assert torch.equal(items[2], logits[[3, 1]])


def test_data_sets_of_different_images_are_not_joined() -> None:
    small = plain(tensor_images(2))
    wide = plain(TensorImages(torch.zeros(1, 1, 3, 3, dtype=torch.uint8), torch.tensor([0])))
    with pytest.raises(UserError, match=r"differ in shape \(\(1, 2, 2\) and \(1, 3, 3\)\)"):
        read(parts_of(small.concat(wide)))
    floats = plain(tensor_images(2, dtype=torch.float32))
    with pytest.raises(UserError, match=r"differ in type \(tensor of torch.uint8 and tensor of torch.float32\)"):
        read(parts_of(small.concat(floats)))


def test_a_source_that_changes_is_refused_where_it_must_not() -> None:
    generator = torch.Generator().manual_seed(0)

    class Noisy(TensorImages):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.rand(1, 2, 2, generator=generator), 0

    dataset = plain(Noisy(*tensor_images(3).tensors))
    read(parts_of(dataset))
    with pytest.raises(UserError, match=r"the data set Noisy gives another image .* train transform, or leave"):
        read(parts_of(dataset), repeatable=True)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            [torch.zeros(1, 2, 2), np.zeros((1, 2, 2))],
            "types Tensor of torch.float32 and ndarray of float64",
        ),
        ([torch.zeros(1, 2, 2), torch.zeros(1, 2, 2).double()], "torch.float32 and Tensor of torch.float64"),
        ([Image.new("L", (2, 2)), np.zeros((2, 2))], "Image and ndarray of float64"),
        ([np.zeros((2, 2)), "cat.png"], "ndarray of float64 and str"),
        ([(1, 2)], "images are of type tuple"),
        ([torch.zeros(1, 2, 2).to_sparse()], "sparse"),
        ([torch.zeros(1, 2, 2, device="meta")], "without values"),
    ],
)
def test_images_of_odd_and_mixed_types_are_refused(images: list[object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        stack(images)


@pytest.mark.parametrize(
    "image",
    [torch.full((1, 2, 2), torch.nan), torch.zeros(1, 2, 2).to(torch.float8_e4m3fn), np.full(2, np.nan), (1, [2, 3]),
     np.array([object()]), torch.zeros(2, 2).to_sparse(), torch.zeros(2, 2, device="meta"), torch.tensor(True)],
    ids=["NaN", "float8", "NaN in an array", "tuple", "objects", "sparse", "meta", "bool"],
)  # fmt: skip
def test_an_image_is_the_same_as_itself(image: object) -> None:
    """Whatever it is: what is odd is refused by its type, not for being random."""
    assert same(image, copy.deepcopy(image))


def test_images_of_other_values_or_types_are_not_the_same() -> None:
    assert not same(torch.zeros(2), torch.ones(2))
    assert not same(torch.zeros(2), torch.zeros(2).double())
    assert not same(np.zeros(2), np.ones(2))
    assert not same(np.zeros(2), torch.zeros(2))
