from types import SimpleNamespace

import pytest
import torch
from avalanche.benchmarks import split_online_stream

from iid_cl.data.images import LabelledImages
from iid_cl.methods.real import Real
from iid_cl.strategies import RandomBuffer
from iid_cl.strategies.forms import Form
from iid_cl.strategies.presentation import Presentation
from iid_cl.strategies.samples import Samples
from iid_cl.strategies.staging import Staging

from .conftest import make_benchmark

AGENT = SimpleNamespace(device="cpu")


WAY = Presentation(Form("tensor", "CHW", torch.uint8), (), False)


def samples(labels: list[int], tasks: list[int] | None = None, way: Presentation = WAY) -> Samples:
    """One-pixel images that show their label."""
    images = LabelledImages(torch.tensor(labels, dtype=torch.uint8).reshape(-1, 1, 1, 1), torch.tensor(labels))
    rows = torch.zeros(len(labels), dtype=torch.int64)
    return Samples(images, torch.tensor(tasks or [0] * len(labels)), rows, [way], False, torch.arange(len(labels)))


def part(first: bool, last: bool, length: int | None, boundaries: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        access_task_boundaries=boundaries, is_first_subexp=first, is_last_subexp=last, sub_stream_length=length
    )


def test_an_ordinary_experience_is_condensed_at_once() -> None:
    staging = Staging()
    arrived = staging.collect(SimpleNamespace(), samples([3, 4], [1, 1]))
    assert arrived is not None
    assert arrived.images.labels.tolist() == [3, 4]
    assert arrived.tasks.tolist() == [1, 1]
    assert staging.nbytes == 0


@pytest.mark.parametrize("marked", [True, False])
def test_a_task_is_condensed_at_its_end(marked: bool) -> None:
    """Avalanche marks the last part only where it is smaller than the others."""
    staging = Staging()
    assert staging.collect(part(True, False, 3), samples([5, 6], [0, 1])) is None
    assert staging.nbytes == 2 * (1 + 2)
    assert staging.collect(part(False, False, 3), samples([5], [0])) is None
    arrived = staging.collect(part(False, marked, 3), samples([7], [2]))
    assert arrived is not None
    assert arrived.images.labels.tolist() == arrived.images.images.flatten().tolist() == [5, 6, 5, 7]
    assert arrived.tasks.tolist() == [0, 1, 0, 2]
    staging.clear()
    assert staging.nbytes == 0
    assert staging.collect(part(True, False, 2), samples([9], [0])) is None


def test_a_task_that_was_left_early_is_condensed_with_the_next() -> None:
    staging = Staging()
    assert staging.collect(part(True, False, 3), samples([1], [0])) is None
    assert staging.collect(part(True, False, 2), samples([2], [0])) is None
    arrived = staging.collect(part(False, False, 2), samples([3], [0]))
    assert arrived is not None
    assert arrived.images.labels.tolist() == [1, 2, 3]


def test_boundaries_that_a_learner_may_not_see_are_not_used() -> None:
    assert Staging().collect(part(True, False, 3, boundaries=False), samples([1], [0])) is not None


def test_parts_keep_the_ways_in_which_they_are_presented() -> None:
    """Equal ways are one."""
    staging, other = Staging(), Presentation(Form("tensor", "HW", torch.uint8), (), False)
    staging.collect(part(True, False, 3), samples([5]))
    staging.collect(part(False, False, 3), samples([6, 7], way=other))
    arrived = staging.collect(part(False, True, 3), samples([8]))
    assert arrived is not None
    assert arrived.presentations == [WAY, other]
    assert arrived.rows.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("size", [4, 5])  # of which 4 divides an experience's 12 images
def test_a_memory_waits_for_the_end_of_the_task(kind: str, size: int) -> None:
    stream = split_online_stream(
        make_benchmark(kind).train_stream, experience_size=size, access_task_boundaries=True, seed=0
    )
    parts = -(-12 // size)
    memory, stored, staged = RandomBuffer(2), [], []
    for experience in stream:
        memory.post_adapt(AGENT, experience)
        stored.append(len(memory.buffer))
        staged.append(memory.staged_bytes)
    assert stored == [0] * (parts - 1) + [4] * parts + [8]
    waiting = [size * (i + 1) * (64 + 2) for i in range(parts - 1)]
    assert staged == [*waiting, 0, *waiting, 0]
    assert memory.nbytes == 8 * (64 + 2)


def test_what_was_set_aside_stays_until_it_is_cleared() -> None:
    """A task's last part may come twice, as where condensing it failed; it counts once."""
    staging = Staging()
    staging.collect(part(True, False, 2), samples([5], [0]))
    for _ in range(2):
        arrived = staging.collect(part(False, False, 2), samples([6], [0]))
        assert arrived is not None
        assert arrived.images.labels.tolist() == [5, 6]
        assert staging.nbytes == 3
    staging.clear()
    assert staging.nbytes == 0


def test_a_task_whose_memory_fails_at_its_end_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = iter(
        split_online_stream(
            make_benchmark("plain").train_stream, experience_size=4, access_task_boundaries=True, seed=0
        )
    )
    first, second, third = (next(parts) for _ in range(3))
    memory = RandomBuffer(100)
    for experience in (first, second):
        memory.post_adapt(AGENT, experience)
    with monkeypatch.context() as patch:
        patch.setattr(Real, "condense", lambda *rest: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            memory.post_adapt(AGENT, third)
    assert memory.staged_bytes == 8 * (64 + 2)
    memory.post_adapt(AGENT, third)
    assert len(memory.exemplars) == 12
    assert memory.staged_bytes == 0
