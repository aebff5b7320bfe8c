"""The benchmark of a stream: which samples its experiences hold, and how they are normalised."""

from collections import Counter

import pytest
import torch
from avalanche.benchmarks import CLScenario

from iid_cl.data.images import ImageDataset, LabelledImages, Normalization
from iid_cl.strategies.benchmark import make_benchmark

ORDER = [[4, 1], [0], [3, 2]]


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
