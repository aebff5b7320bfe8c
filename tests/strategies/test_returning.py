"""Classes that come back, classes of the same index in several tasks, and memories that draw from all alike."""

from collections import Counter
from math import comb
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset

from iid_cl.data.classes import Classes
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory
from iid_cl.methods import distilled as distilled_module
from iid_cl.strategies import DistilledBuffer, HerdingBuffer, RandomBuffer, ReservoirBuffer, SoftLabelPlugin

from .conftest import TINY, Digits
from .made_up import AGENT, experience, noise, stream


def flat(value: int, count: int) -> torch.Tensor:
    return torch.full((count, 1, 8, 8), value, dtype=torch.uint8)


# --- classes that come back


def distilled_classes(monkeypatch: pytest.MonkeyPatch) -> list[Classes]:
    """What is distilled from here on."""
    given: list[Classes] = []
    real = distilled_module.distill_each
    monkeypatch.setattr(
        distilled_module, "distill_each", lambda job, watch: (given.append(job.classes), real(job, watch))[1]
    )
    return given


def test_old_exemplars_stand_for_all_that_they_were_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    given = distilled_classes(monkeypatch)
    memory = DistilledBuffer(2, distill=TINY)
    first, again, more = experience({3: noise(7), 4: noise(5)}), {3: noise(9, 1), 8: noise(6)}, {3: noise(4, 2)}
    memory.post_adapt(AGENT, first)
    assert given[0].weights == {}
    for number, (arrived, stood_for) in enumerate([(again, 7), (more, 7 + 9)], start=1):
        before = memory.exemplars.by_class()
        memory.post_adapt(AGENT, experience(arrived))
        images, weights = given[number].images, given[number].weights
        assert set(images) == set(arrived)
        assert torch.equal(images[3], torch.cat([before[3], arrived[3]]))
        assert list(weights) == [3]
        assert weights[3].tolist() == [stood_for / 2] * 2 + [1.0] * len(arrived[3])
        assert torch.equal(memory.exemplars.by_class()[4], before[4])
    assert memory.exemplars.labels.tolist() == [3, 3, 4, 4, 8, 8]


def test_each_part_of_a_grid_stands_for_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    given = distilled_classes(monkeypatch)
    memory = DistilledBuffer(2, distill=TINY.model_copy(update={"partition": 2}))
    for one in stream((0,), (0,)):
        memory.post_adapt(AGENT, one)
    assert [list(classes.weights) for classes in given] == [[], [0]]
    assert given[1].weights[0].tolist() == [12 / 8] * 8 + [1.0] * 12


def test_a_random_memory_keeps_both_in_their_proportion() -> None:
    kept = Counter[int]()
    for seed in range(60):
        memory = RandomBuffer(4, seed=seed)
        memory.post_adapt(AGENT, experience({0: flat(10, 30)}))
        memory.post_adapt(AGENT, experience({0: flat(20, 10)}))
        kept.update(memory.exemplars.images[:, 0, 0, 0].tolist())
    # The four old ones weigh 7.5 each, the ten new ones 1. Without replacement the first pick is old in 3 of 4 cases
    # and later ones less often, as few old ones are left; uniform draws from the fourteen would keep 69 of 240.
    assert kept[10] + kept[20] == 240
    assert 115 < kept[10] < 180


def test_herding_aims_at_the_mean_of_all_that_has_come() -> None:
    """Images are points on a quarter circle: 0 and 90 degrees come first, then 90 degrees thrice as often."""
    east, north = (torch.zeros(1, 1, 8, 8, dtype=torch.uint8) for _ in range(2))
    east[0, 0, 0, 0] = north[0, 0, 0, 1] = 255
    memory = HerdingBuffer(2, features=lambda *_: lambda x: x.flatten(1) - zero, normalization=None)
    first = torch.cat([east.repeat(3, 1, 1, 1), north.repeat(3, 1, 1, 1)])
    zero: Any = 0
    memory.post_adapt(AGENT, experience({0: first}))
    mean, std = memory.normalization.mean[0], memory.normalization.std[0]
    zero = -mean / std  # black
    memory.post_adapt(AGENT, experience({0: north.repeat(6, 1, 1, 1)}))
    assert memory.memory.stands_for == {0: 12}
    # one of the two kept before is east at most and stands for three, against nine of north
    assert (memory.exemplars.images[0] == north[0]).all()


def test_small_images_of_a_class_that_comes_back_keep_their_tiles() -> None:
    memory = RandomBuffer(1, downscale=2)
    memory.post_adapt(AGENT, experience({0: noise(4), 1: noise(4, 1)}))
    tiles = {tile.numpy().tobytes() for tile in cut_of(memory.exemplars)[:4]}
    memory.post_adapt(AGENT, experience({0: flat(7, 1)}))
    after = [tile.numpy().tobytes() for tile in cut_of(memory.exemplars)[:4]]
    assert sum(tile in tiles for tile in after) >= 3  # one new image at most


def cut_of(memory: ExemplarSet) -> torch.Tensor:
    from iid_cl.memory.partition import cut

    return cut(memory.images, memory.partition)


@pytest.mark.parametrize("budget", ["ipc", "mem_size"])
def test_experiences_whose_classes_all_return(budget: str) -> None:
    memory = RandomBuffer(**{budget: 4})
    for number in range(3):
        memory.post_adapt(AGENT, experience({c: flat(50 * number + c, 40 * 3**number) for c in (0, 1)}))
    assert memory.exemplars.labels.tolist() == ([0] * 4 + [1] * 4 if budget == "ipc" else [0, 0, 1, 1])
    assert int(memory.exemplars.images.max()) >= 100  # of the last experience, which is the largest by far


# --- tasks


def task_stream() -> list[Any]:
    """Classes 0 and 1 of task 0, then 0 and 1 of task 1, which are digits 2 and 3."""
    data = as_classification_dataset(Digits("bytes"))
    benchmark = nc_benchmark(
        data, data, n_experiences=2, task_labels=True, fixed_class_order=[0, 1, 2, 3],
        class_ids_from_zero_in_each_exp=True,
    )  # fmt: skip
    return list(benchmark.train_stream)


@pytest.mark.parametrize("make", [RandomBuffer, lambda ipc: DistilledBuffer(ipc, distill=TINY)])
def test_the_same_class_index_in_two_tasks_is_two_classes(make: Any, tmp_path: Any) -> None:
    memory = make(2)
    for one in task_stream():
        memory.post_adapt(AGENT, one)
    assert memory.keys == {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)}
    assert memory.exemplars.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    samples = [(int(y), int(t)) for _, y, t in memory.buffer]
    assert samples == [(0, 0)] * 2 + [(1, 0)] * 2 + [(0, 1)] * 2 + [(1, 1)] * 2
    assert list(memory.buffer.targets_task_labels) == [0] * 4 + [1] * 4
    if isinstance(memory, RandomBuffer):
        digits = {a.tobytes(): y for a, y in zip(Digits("bytes").arrays, Digits("bytes").targets, strict=True)}
        assert [digits[image.numpy().tobytes()] for image in memory.exemplars.images] == [0, 0, 1, 1, 2, 2, 3, 3]
    memory.save(tmp_path / "m.safetensors")
    told = load_memory(tmp_path / "m.safetensors").metadata["keys"]
    assert told == {str(n): {"class": c, "task": t} for n, (c, t) in memory.keys.items()}


def test_a_task_that_comes_back_finds_its_classes() -> None:
    memory = RandomBuffer(2)
    first, second = task_stream()
    for one in (second, first, second):
        memory.post_adapt(AGENT, one)
    assert memory.keys == {0: (0, 1), 1: (1, 1), 2: (0, 0), 3: (1, 0)}
    assert memory.memory.stands_for == {0: 12, 1: 12, 2: 6, 3: 6}


def test_the_largest_index_in_a_second_task_finds_a_free_number() -> None:
    memory = RandomBuffer(1)
    for task in (0, 1):
        one = experience({32767: noise(3, task)})
        one.dataset.targets_task_labels = [task] * 3
        memory.post_adapt(AGENT, one)
    assert memory.keys == {32767: (32767, 0), 0: (32767, 1)}
    assert memory.exemplars.labels.tolist() == [0, 32767]
    assert [int(sample[1]) for sample in memory.buffer] == [32767, 32767]


def test_soft_labels_of_a_second_task_are_those_of_its_class_indices() -> None:
    memory = RandomBuffer(1)
    plugin = SoftLabelPlugin(memory)
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    first = ExemplarSet(images[:2], torch.tensor([0, 1], dtype=torch.int16))
    second = ExemplarSet(images[:2], torch.tensor([2, 3], dtype=torch.int16))
    memory.memory.exemplars = first.with_soft_labels(torch.tensor([[0.9, 0.1], [0.5, 0.5]]), [0, 1]).merge(
        second.with_soft_labels(torch.tensor([[0.1, 0.9], [1.0, 0.0]]), [2, 3])
    )
    memory.memory.keys = {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)}
    scores = torch.tensor([[0.3, -1.0], [2.0, 0.5], [0.0, 1.0], [1.0, -2.0]])
    labels = [0, 1, 0, 1]
    strategy = SimpleNamespace(mbatch=[images, torch.tensor([y + 2**15 * (i + 1) for i, y in enumerate(labels)])])
    plugin.before_training_iteration(strategy)
    strategy.mb_y, strategy.mb_output = strategy.mbatch[1], scores
    strategy.loss = torch.nn.functional.cross_entropy(scores, strategy.mb_y)
    plugin.before_backward(strategy)
    targets = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [1.0, 0.0]])
    expected = -(targets * scores.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(strategy.loss, expected)


# --- reservoir


def reservoir(seed: int, parts: list[dict[int, torch.Tensor]], **budget: int) -> ReservoirBuffer:
    memory = ReservoirBuffer(seed=seed, **budget)
    for part in parts:
        memory.post_adapt(AGENT, experience(part))
    return memory


def test_a_reservoir_draws_all_images_of_a_stream_alike() -> None:
    """Three experiences of 5, 20 and 15 images: eight are kept, each image in a fifth of the cases."""
    parts = [{0: flat(1, 5)}, {1: flat(2, 10), 2: flat(3, 10)}, {0: flat(4, 15)}]
    kept = Counter[int]()
    for seed in range(150):
        memory = reservoir(seed, parts, mem_size=8)
        assert len(memory.exemplars) == 8
        kept.update(memory.exemplars.images[:, 0, 0, 0].tolist())
    # of 1,200 kept; the standard deviation of each is 17 at most
    for value, expected in {1: 150, 2: 300, 3: 300, 4: 450}.items():
        assert abs(kept[value] - expected) < 65


@pytest.mark.parametrize(
    ("budget", "sizes"),
    [
        ({"mem_size": 7}, [5, 7, 7]),  # the first experience has no more
        ({"mem_bytes": 7 * 66 + 65}, [5, 7, 7]),
        ({"ipc": 3}, [3, 9, 9]),
        ({"class_bytes": 3 * 66}, [3, 9, 9]),
    ],
    ids=str,
)
def test_a_reservoir_fills_its_total_and_no_more(budget: dict[str, int], sizes: list[int]) -> None:
    memory = ReservoirBuffer(**budget)
    parts = [{0: noise(5)}, {1: noise(10, 1), 2: noise(10, 2)}, {0: noise(15, 3)}]
    for part, size in zip(parts, sizes, strict=True):
        memory.post_adapt(AGENT, experience(part))
        assert len(memory.exemplars) == len(memory.buffer) == size


def test_a_growing_reservoir_takes_from_classes_that_come_back() -> None:
    memory = reservoir(0, [{0: flat(1, 10)}, {0: flat(2, 90)}], ipc=8)
    values = memory.exemplars.images[:, 0, 0, 0].tolist()
    assert len(values) == 8
    assert values.count(2) > 4


def test_a_reservoir_holds_distinct_images_of_their_classes() -> None:
    parts = [{0: noise(9), 1: noise(9, 1)}, {2: noise(9, 2)}]
    memory = reservoir(3, parts, mem_size=12)
    truth = {image.numpy().tobytes(): c for part in parts for c, images in part.items() for image in images}
    found = [image.numpy().tobytes() for image in memory.exemplars.images]
    assert len(set(found)) == 12
    assert [truth[image] for image in found] == memory.exemplars.labels.tolist()


def test_a_growing_reservoir_draws_from_the_whole_stream_as_far_as_it_can() -> None:
    """Six of 20 images; as many older ones as there would be among six of all, but it has kept three only."""
    cases = [(k, comb(10, k) * comb(10, 6 - k) / comb(20, 6)) for k in range(7)]
    expected = sum(share * min(3, k) for k, share in cases)
    assert expected == pytest.approx(2.61, abs=0.01)  # what it would be if it kept all it has: 3
    older = []
    for seed in range(150):
        memory = reservoir(seed, [{0: flat(1, 10)}, {1: flat(2, 10)}], ipc=3)
        older.append(memory.exemplars.labels.tolist().count(0))
        assert len(memory.exemplars) == 6
    assert max(older) == 3
    assert sum(older) / 150 == pytest.approx(expected, abs=0.2)  # a standard error of 0.05
