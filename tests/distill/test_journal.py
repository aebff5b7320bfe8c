"""A distillation that was interrupted anywhere ends like one that was not, and a journal hands out what is done."""

from pathlib import Path
from typing import Any

import pytest
import torch

from iid_cl.config.reading import parse_config
from iid_cl.data.classes import Classes
from iid_cl.data.images import Normalization
from iid_cl.data.lens import Lens
from iid_cl.distill import engine, matching
from iid_cl.distill.job import DistillJob
from iid_cl.distill.journal import Journal
from iid_cl.distill.uneven import distill_each
from iid_cl.distill.watch import Watch
from iid_cl.errors import UserError
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.records.checkpoint import Checkpoints
from iid_cl.seeding import draw_seed

ITERATIONS = 10
NETWORK = {"width": 4, "depth": 1}


def settings(**changes: Any) -> Any:
    values = {"iterations": ITERATIONS, "real_batch": 4, "lr": 0.5, "embedder": NETWORK}
    return parse_config({"distill": {**values, **changes}}, "test").distill


def images(counts: tuple[int, ...] = (30, 25)) -> dict[int, torch.Tensor]:
    draws = torch.Generator().manual_seed(5)
    shape = (1, 8, 8)
    return {3 * c: torch.randint(256, (n, *shape), generator=draws, dtype=torch.uint8) for c, n in enumerate(counts)}


class Interrupted(Exception):
    """Stands for a killed process."""


class Run:
    """Distillations with a journal that is kept on disk at every opportunity; ``stop_at`` counts these."""

    def __init__(
        self,
        folder: Path,
        config: Any,
        by_class: dict[int, torch.Tensor] | None = None,
        ipc: int = 2,
        as_stored: JpegFormat | None = None,
    ):
        self.checkpoints, self.config, self.ipc, self.as_stored = Checkpoints(folder), config, ipc, as_stored
        self.by_class = images() if by_class is None else by_class
        self.saves = 0
        self.steps: list[int] = []

    def __call__(self, stop_at: int | None = None) -> ExemplarSet:
        self.saves, self.steps = 0, []

        def save() -> None:
            self.saves += 1
            self.checkpoints.write(journal.state_dict())
            if self.saves == stop_at:
                raise Interrupted

        journal = Journal(lambda: True, save)
        state = self.checkpoints.newest(pytest.fail)
        if state is not None:
            journal.load_state_dict(state)
        journal.begin_update()
        job = DistillJob(
            Classes(self.by_class),
            self.ipc,
            self.config,
            Lens(Normalization((0.3,), (0.4,)), ("crop", "flip"), torch.device("cpu")),
            draw_seed(torch.Generator().manual_seed(1)),
            self.as_stored,
        )
        return distill_each(job, Watch(lambda iteration, _: self.steps.append(iteration), journal=journal))


CASES: dict[str, dict[str, Any]] = {
    "dm": {},
    "constant rate": {"lr_schedule": "constant"},
    "idm": {"objective": "idm", "queue": {"networks": 1, "steps": 1, "batch_size": 4}},
    "ncfm": {"objective": "ncfm", "queue": {"networks": 1, "steps": 1, "batch_size": 4}},
    "cc": {"cc": {"weight": 0.1, "network": NETWORK, "trainings": 1, "epochs": 2, "snapshots": 2}},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stops", [(2,), (1, 1, 1)])
def test_an_interrupted_distillation_ends_as_if_it_had_not_been(case: str, stops: tuple[int, ...], tmp_path: Path):
    config = settings(**CASES[case])
    whole = Run(tmp_path / "whole", config)()
    interrupted = Run(tmp_path / "interrupted", config)
    for stop_at in stops:
        with pytest.raises(Interrupted):
            interrupted(stop_at)
    assert whole.metadata == (memory := interrupted()).metadata
    assert torch.equal(whole.images, memory.images)
    assert interrupted.steps[0] > sum(stops)  # it did go on and not begin again


def test_images_for_jpeg_still_know_after_an_interruption_what_they_started_from(tmp_path: Path):
    """What is held sparse is how they differ from that."""
    whole, interrupted = (Run(tmp_path / name, settings(), as_stored=JpegFormat(10)) for name in ("whole", "parts"))
    with pytest.raises(Interrupted):
        interrupted(3)
    expected, plain = whole(), Run(tmp_path / "plain", settings())()
    assert torch.equal(interrupted().images, expected.images)
    assert interrupted.steps[0] > 3
    assert not torch.equal(plain.images, expected.images)


def test_blocks_of_draws_end_and_begin_around_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iid_cl.distill.sampling.BLOCK", 4)
    whole = Run(tmp_path / "whole", settings())()
    for stop_at in range(1, ITERATIONS):
        interrupted = Run(tmp_path / str(stop_at), settings())
        with pytest.raises(Interrupted):
            interrupted(stop_at)
        assert torch.equal(interrupted().images, whole.images)


def test_classes_of_unequal_size_that_are_done_are_not_distilled_again(tmp_path: Path):
    by_class = images((30, 1, 25))
    whole = Run(tmp_path / "whole", settings(), by_class)()
    interrupted = Run(tmp_path / "interrupted", settings(), by_class)
    per_distillation = ITERATIONS - 1  # the last iteration has nothing left to go on with
    with pytest.raises(Interrupted):
        interrupted(per_distillation + 3)
    memory = interrupted()
    assert interrupted.steps == list(range(4, ITERATIONS + 1))  # the second group's rest
    assert torch.equal(memory.images, whole.images)
    assert memory.metadata == whole.metadata


def test_what_is_kept_is_never_beyond_repair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = matching.mean_matching
    calls = iter(range(100))

    def breaks(*arguments: torch.Tensor) -> torch.Tensor:
        return real(*arguments) * (float("nan") if next(calls) >= 4 else 1.0)

    monkeypatch.setattr(matching, "mean_matching", breaks)
    run = Run(tmp_path, settings())
    with pytest.raises(UserError, match=r"distill\.lr: 0\.5 .*\(class 0, by iteration 5\).* distill\.retry\.$"):
        run()
    state = run.checkpoints.newest(pytest.fail)
    assert state is not None
    assert state["under_way"]["iteration"] == 4
    assert bool(state["under_way"]["images"].isfinite().all())


def test_images_that_diverge_are_tried_again_at_a_smaller_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, rates = matching.mean_matching, []

    def breaks(*arguments: torch.Tensor) -> torch.Tensor:
        return real(*arguments) * (float("nan") if rates[-1] > 0.2 else 1.0)

    def recorded(self: Any, *arguments: Any) -> Any:
        rates.append(self._job.config.lr)
        return run(self, *arguments)

    run = engine.Distillation.run
    monkeypatch.setattr(engine.Distillation, "run", recorded)
    monkeypatch.setattr(matching, "mean_matching", breaks)
    whole = Run(tmp_path / "whole", settings(retry=0.25))()
    assert rates == [0.5, 0.125]
    assert whole.metadata["distill"]["lr"] == 0.125
    interrupted = Run(tmp_path / "interrupted", settings(retry=0.25))
    with pytest.raises(Interrupted):
        interrupted(3)
    assert torch.equal(interrupted().images, whole.images)
    assert rates == [0.5, 0.125, 0.5, 0.125, 0.125]  # goes on with the second attempt


def test_an_update_that_ended_leaves_nothing_to_hand_out():
    journal = Journal(lambda: False, lambda: None)
    memory = ExemplarSet(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int16))
    journal.begin_update()
    journal.finish(memory)
    assert journal.finished() is None
    journal.begin_update()
    assert journal.finished() is memory
    assert journal.finished() is None
    journal.end_update()
    journal.begin_update()
    assert journal.finished() is None
    assert journal.state_dict() == {"finished": [], "under_way": None}
