"""Streams: which classes and images arrive when, from one data set or from several."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iid_cl.config.experiment import StreamConfig
from iid_cl.config.reading import parse_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.data.streams import class_order, make_stream
from iid_cl.errors import UserError
from iid_cl.strategies.benchmark import make_benchmark


def stream(**values: object) -> StreamConfig:
    return StreamConfig.model_validate(values)


@pytest.mark.parametrize(("classes", "experiences"), [(10, 5), (10, 3), (10, 1), (10, 10), (7, 4), (100, 10), (1, 1)])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_order_is_numpys_permutation_cut_into_parts(classes: int, experiences: int, seed: int) -> None:
    permutation = list(np.random.RandomState(seed).permutation(classes))
    size, larger = divmod(classes, experiences)
    expected = []
    for i in range(experiences):
        expected.append([permutation.pop(0) for _ in range(size + (i < larger))])
    assert class_order(stream(experiences=experiences), classes, seed) == expected


def test_the_known_order_of_seed_zero() -> None:
    # numpy.random.seed(0); numpy.random.permutation(10), frozen by NumPy's compatibility policy
    assert class_order(stream(experiences=5), 10, 0) == [[2, 8], [4, 9], [1, 6], [7, 3], [0, 5]]


@pytest.mark.parametrize("experiences", range(1, 8))
def test_every_class_arrives_once_and_the_first_parts_are_larger(experiences: int) -> None:
    order = class_order(stream(experiences=experiences), 7, seed=3)
    assert sorted(c for group in order for c in group) == list(range(7))
    sizes = [len(group) for group in order]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_the_order_follows_the_runs_seed() -> None:
    assert class_order(stream(), 10, 0) == class_order(stream(), 10, 0)
    assert class_order(stream(), 10, 0) != class_order(stream(), 10, 1)


def test_an_order_seed_precedes_the_runs_seed() -> None:
    orders = [class_order(stream(order_seed=4), 10, seed) for seed in (0, 1)]
    assert orders[0] == orders[1] == class_order(stream(), 10, 4)
    assert class_order(stream(order_seed=0), 10, 4) == class_order(stream(), 10, 0)


def test_the_order_leaves_global_randomness_alone() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    class_order(stream(), 10, 0)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr]


def test_explicit_classes_are_taken_as_they_are() -> None:
    order = class_order(stream(classes=[[7, 2], [5]], experiences=4, order_seed=3), 10, seed=1)
    assert order == [[7, 2], [5]]


@pytest.mark.parametrize(("classes", "odd"), [([[0], [5]], 5), ([[9, 1]], 9)])
def test_an_explicit_class_that_does_not_exist_is_refused(classes: list[list[int]], odd: int) -> None:
    with pytest.raises(UserError, match=rf"stream\.classes: {odd} is no class .* 0 to 4"):
        class_order(stream(classes=classes), 5, 0)


def test_more_experiences_than_classes_are_refused() -> None:
    assert len(class_order(stream(experiences=5), 5, 0)) == 5
    with pytest.raises(UserError, match=r"stream\.experiences: 6 .* at most 5"):
        class_order(stream(experiences=6), 5, 0)


@pytest.mark.parametrize(
    ("initial", "increment", "classes", "sizes"),
    [
        (None, 10, 100, [10] * 10),  # base-0 inc-10
        (50, 10, 100, [50, 10, 10, 10, 10, 10]),  # base-50 inc-10
        (None, 3, 10, [3, 3, 3, 1]),
        (10, 5, 10, [10]),
        (9, 5, 10, [9, 1]),
    ],
)
def test_an_increment_by_hand(initial: int | None, increment: int, classes: int, sizes: list[int]) -> None:
    order = class_order(stream(initial=initial, increment=increment, order_seed=1993), classes, 0)
    assert [len(part) for part in order] == sizes
    assert [c for part in order for c in part] == np.random.RandomState(1993).permutation(classes).tolist()


def test_the_order_that_the_field_calls_1993() -> None:
    # numpy.random.seed(1993); numpy.random.permutation(100), as PyCIL and its kin print it for CIFAR-100
    first = class_order(stream(increment=10, order_seed=1993), 100, 0)[0]
    assert first == [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"initial": 11, "increment": 5}, r"^stream\.initial: 11 is more than the 10 classes"),
        ({"increment": 11}, r"^stream\.increment: 11 is more than the 10 classes"),
    ],
)
def test_a_first_part_larger_than_the_data_is_refused(keys: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        class_order(stream(**keys), 10, 0)


@pytest.mark.parametrize("keys", [{"initial": 5}, {"increment": 5, "classes": [[0]]}], ids=str)
def test_an_initial_alone_and_two_splits_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs an increment|contradicts classes"):
        stream(**keys)


def made(labels: list[int], classes: int) -> ImageDataset:
    """A data set whose images hold their row."""
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    part = LabelledImages(images, labels)
    return ImageDataset("made", part, part, tuple(map(str, range(classes))), Normalization((0.5,), (0.2,)), ())


def test_each_image_of_a_class_that_comes_back_belongs_to_one_experience() -> None:
    dataset = made([0, 1, 0, 2, 0, 1, 0, 0], 3)
    config = stream(dataset="mnist", classes=[[0, 1], [2, 0], [0]])
    shared = make_stream(config, dataset, 5)
    assert shared.order == [[0, 1], [2, 0], [0]]
    assert shared.classes == [0, 1, 2]
    for experiences in (shared.train, shared.test):
        assert [len(rows) for rows in experiences] == [2 + 2, 1 + 2, 1]  # five images of class 0: 2, 2 and 1
        assert torch.cat(experiences).sort().values.tolist() == list(range(8))
        labels = [sorted(set(dataset.train.labels[rows].tolist())) for rows in experiences]
        assert labels == [[0, 1], [0, 2], [0]]
    again = [make_stream(config, dataset, seed).train[2].tolist() for seed in (5, 0, 1, 2, 3, 4)]
    assert again[0] == shared.train[2].tolist()
    assert len({row for (row,) in again}) > 1  # drawn by the seed
    fixed = [make_stream(stream(classes=[[0], [0]], order_seed=7), dataset, seed).train[0] for seed in (0, 1)]
    assert torch.equal(*fixed)


def test_a_class_that_comes_more_often_than_it_has_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"stream\.classes: class 1 comes 3 times, but '1' has 2 training images"):
        make_stream(stream(classes=[[1], [1], [1, 0]]), made([0, 1, 1], 2), 0)


def test_the_benchmark_of_returning_classes_has_the_streams_rows() -> None:
    dataset = made([0, 1, 0, 2, 0, 1, 0, 0], 3)
    shared = make_stream(stream(classes=[[0, 1], [2, 0]]), dataset, 1)
    benchmark = make_benchmark(dataset, shared)
    for experience, rows in zip(benchmark.train_stream, shared.train, strict=True):
        seen = [round(float((x * 0.2 + 0.5) * 255)) for x, *_ in experience.dataset]
        assert seen == rows.tolist()


GREY_DIGITS = {"dataset": "digits", "train_limit": 3, "test_limit": 2}


def test_domains_follow_one_another_with_all_classes(tmp_path: Path) -> None:
    alone = load_dataset(stream(**GREY_DIGITS), None)
    changes = [{"invert": True}, {"rotate": 90}, {"permute": 4}]
    several = {"domains": ["digits", *({"dataset": "digits", **change} for change in changes)]}
    config = stream(**{**GREY_DIGITS, **several})
    joined = load_dataset(config, None)
    assert [(domain.name, domain.train, domain.test) for domain in joined.domains] == [
        ("digits", 30, 20), ("digits inverted", 30, 20), ("digits rotated by 90", 30, 20),
        ("digits permuted by 4", 30, 20),
    ]  # fmt: skip
    parts = make_stream(config, joined, 0)
    assert parts.order == [list(range(10))] * 4
    for part, rows in (("train", parts.train), ("test", parts.test)):
        images, expected = getattr(joined, part).images, getattr(alone, part).images
        plain, inverted, turned, permuted = (images[own] for own in rows)
        assert torch.equal(plain, expected)
        assert torch.equal(inverted, 255 - expected)
        assert torch.equal(turned, expected.rot90(1, (2, 3)))
        assert not torch.equal(permuted, expected)
        assert torch.equal(permuted.flatten(2).sort().values, expected.flatten(2).sort().values)
        moved = (permuted.flatten(1)[:, None] == expected.flatten(1)[:, :, None]).all(0)  # old by new pixel
        assert bool(moved.any(0).all())  # one permutation for all images
        assert torch.equal(getattr(joined, part).labels, getattr(alone, part).labels.repeat(4))
    assert (joined.normalization, joined.augmentations) == (alone.normalization, alone.augmentations)


def test_domains_of_several_sizes_and_colours_are_made_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    arrays = {f"{x}_{part}": draws.integers(256, size=(10, 6, 6, 3), dtype=np.uint8) if x == "x" else np.arange(10)
              for x in "xy" for part in ("train", "test")}  # fmt: skip
    np.savez(tmp_path / "colours.npz", **arrays)
    config = stream(**{**GREY_DIGITS, "dataset": "digits", "domains": ["digits", "npz:colours.npz"]})
    with pytest.raises(
        UserError, match=r"stream\.domains: 'npz:colours.npz' has images of 6x6 .* set stream.image_size"
    ):
        load_dataset(config, None)
    joined = load_dataset(config.model_copy(update={"image_size": 6}), None)
    assert joined.shape == (3, 6, 6)
    assert torch.equal(joined.train.images[:1, 0], joined.train.images[:1, 2])  # a grey digit
    assert torch.equal(joined.train.images[30:], torch.from_numpy(arrays["x_train"]).permute(0, 3, 1, 2))
    digit = load_dataset(stream(**GREY_DIGITS), None).train.images[0, 0].numpy()
    resized = np.array(Image.fromarray(digit).resize((6, 6), Image.Resampling.BILINEAR))
    assert torch.equal(joined.train.images[0, 1], torch.from_numpy(resized))
    assert "flip" not in joined.augmentations  # digits have a right way round
    fewer = stream(domains=["digits", "npz:colours.npz"], image_size=6, first_classes=None)
    np.savez(tmp_path / "colours.npz", **{name: array[:9] for name, array in arrays.items()})
    with pytest.raises(UserError, match=r"'npz:colours.npz' has 9 classes but 'digits' has 10"):
        load_dataset(fewer, None)


@pytest.mark.parametrize(("values", "said"), [
    ({"domains": ["digits", "mnist"], "classes": [[0], [1]]}, r"classes: .* contradicts domains"),
    ({"domains": ["digits", "mnist"], "dataset": "svhn"}, r"dataset: svhn contradicts domains"),
    ({"domains": ["digits"]}, "at least 2"),
    ({"domains": ["digits", "digitz"]}, "digitz"),
    ({"domains": ["digits", {"dataset": "digits", "rotate": 360}]}, r"stream\.domains\.1\.rotate: 360 .*less than 360"),
])  # fmt: skip
def test_what_domains_contradict(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_config({"stream": values}, "given")
