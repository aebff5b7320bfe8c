"""Class-incremental streams: which classes arrive when, and what the benchmark's samples are."""

from collections import Counter

import numpy as np
import pytest
import torch
from avalanche.benchmarks import CLScenario

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.data.streams import class_order, make_benchmark
from iid_cl.errors import UserError

ORDER = [[4, 1], [0], [3, 2]]


def stream(**values: object) -> StreamConfig:
    return StreamConfig.model_validate(values)


def tagged(copies: list[int], part: int) -> LabelledImages:
    """Images (C, H, W) = (3, 2, 2) whose first pixel is (part, class, number), in shuffled order."""
    tags = [(part, label, i) for label, count in enumerate(copies) for i in range(count)]
    images = torch.zeros(len(tags), 3, 2, 2, dtype=torch.uint8)
    images[:, :, 0, 0] = torch.tensor(tags, dtype=torch.uint8)
    shuffled = torch.randperm(len(tags), generator=torch.Generator().manual_seed(part))
    return LabelledImages(images[shuffled], torch.tensor([tag[1] for tag in tags])[shuffled])


@pytest.fixture
def dataset() -> ImageDataset:
    train, test = tagged([3, 5, 2, 4, 6], part=0), tagged([1, 2, 3, 1, 2], part=1)
    norm = Normalization((0.5, 0.25, 0.125), (0.5, 0.2, 0.1))
    return ImageDataset("tags", train, test, tuple("abcde"), norm, ())


@pytest.fixture
def benchmark(dataset: ImageDataset) -> CLScenario:
    return make_benchmark(dataset, ORDER)


def tags(samples: object) -> Counter[tuple[int, int, int]]:
    """The (part, class, number) of each normalised sample, read back by hand."""
    found: Counter[tuple[int, int, int]] = Counter()
    for x, *_ in samples:  # type: ignore[attr-defined]
        pixel = x[:, 0, 0] * torch.tensor([0.5, 0.2, 0.1]) + torch.tensor([0.5, 0.25, 0.125])
        part, label, number = (round(value) for value in (pixel * 255).tolist())
        found[part, label, number] += 1
    return found


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


def test_experiences_hold_their_classes(benchmark: CLScenario) -> None:
    for part in (benchmark.train_stream, benchmark.test_stream):
        assert [sorted(e.classes_in_this_experience) for e in part] == [sorted(group) for group in ORDER]
    assert [sorted(e.classes_seen_so_far) for e in benchmark.train_stream] == [[1, 4], [0, 1, 4], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("part", [0, 1], ids=["train", "test"])
def test_experiences_hold_exactly_their_classes_images(benchmark: CLScenario, dataset: ImageDataset, part: int) -> None:
    counts = ([3, 5, 2, 4, 6], [1, 2, 3, 1, 2])[part]
    for classes, experience in zip(ORDER, (benchmark.train_stream, benchmark.test_stream)[part], strict=True):
        assert tags(experience.dataset) == Counter((part, c, i) for c in classes for i in range(counts[c]))


def test_each_training_image_occurs_once_over_the_stream(benchmark: CLScenario) -> None:
    found = sum((tags(experience.dataset) for experience in benchmark.train_stream), Counter())
    assert found == Counter((0, c, i) for c, count in enumerate([3, 5, 2, 4, 6]) for i in range(count))


def test_samples_carry_their_own_label(benchmark: CLScenario) -> None:
    for part in (benchmark.train_stream, benchmark.test_stream):
        for experience in part:
            for index, (x, y) in enumerate(experience.dataset):
                (tag,) = tags([(x, y)])
                assert tag[1] == y == int(experience.dataset.targets[index])


def test_samples_are_normalised_once_in_training_and_evaluation(dataset: ImageDataset) -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    constant = LabelledImages(images.contiguous(), torch.tensor([0, 1]))
    plain = ImageDataset("x", constant, constant, ("a", "b"), dataset.normalization, ())
    benchmark = make_benchmark(plain, [[0, 1]])
    # (0 - 0.5) / 0.5, (0.2 - 0.25) / 0.2 and (1 - 0.125) / 0.1
    expected = torch.tensor([-1.0, -0.25, 8.75]).view(3, 1, 1).expand(3, 2, 2)
    for part in (benchmark.train_stream, benchmark.test_stream):
        data = part[0].dataset
        for samples in (data, data.train(), data.eval()):
            x, y = samples[1]
            assert x.dtype == torch.float32
            torch.testing.assert_close(x, expected)
            assert y == 1


def test_classes_left_out_of_the_order_do_not_arrive(dataset: ImageDataset) -> None:
    benchmark = make_benchmark(dataset, [[3], [0]])
    assert [len(e.dataset) for e in benchmark.train_stream] == [4, 3]
    assert [len(e.dataset) for e in benchmark.test_stream] == [1, 1]
