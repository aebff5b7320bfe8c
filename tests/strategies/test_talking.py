"""What buffers say while they work, and what they leave behind when they are interrupted."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.logging import BaseLogger, InteractiveLogger

from iid_cl.strategies import (
    DistilledBuffer,
    DistilledReplay,
    DistilledReplayPlugin,
    MemoryOnlyPlugin,
    MemoryReplayPlugin,
    RandomBuffer,
    SoftLabelPlugin,
)

from .conftest import TINY
from .made_up import experience, noise


class Kept(BaseLogger):
    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[tuple[str, float, int]] = []

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        self.metrics.append((name, value, x_plot))


def host(*loggers: Any) -> SimpleNamespace:
    return SimpleNamespace(device="cpu", evaluator=SimpleNamespace(loggers=list(loggers)))


DATA = {0: noise(6), 1: noise(6, 1)}


@pytest.mark.parametrize("logger", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("progress", [None, True, False])
def test_bars_show_where_avalanche_shows_its_own(
    progress: bool | None,
    terminal: bool,
    logger: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    memory = DistilledBuffer(2, distill=TINY, progress=progress)
    memory.post_adapt(host(*([InteractiveLogger()] if logger else [])), experience(DATA))
    assert ("Distilling 2 classes, 3 iterations" in capsys.readouterr().out) == (
        progress if progress is not None else terminal and logger
    )


def test_losses_go_to_the_strategys_loggers() -> None:
    kept, memory = Kept(), DistilledBuffer(2, distill=TINY)
    for number in range(2):
        memory.post_adapt(host(kept), experience({2 * number: noise(6), 2 * number + 1: noise(6, 1)}))
    steps = [x for name, _, x in kept.metrics if name == "Distillation/match"]
    assert steps == list(range(1, 2 * TINY.iterations + 1))
    assert all(value >= 0 for _, value, _ in kept.metrics)


def test_losses_that_the_user_takes_are_not_logged() -> None:
    kept, taken = Kept(), []
    memory = DistilledBuffer(2, distill=TINY, on_step=lambda iteration, _: taken.append(iteration))
    memory.post_adapt(host(kept), experience(DATA))
    assert taken == [1, 2, 3]
    assert not kept.metrics


def test_an_interrupt_leaves_the_memory_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    memory = DistilledBuffer(mem_size=4, distill=TINY, progress=True)
    memory.post_adapt(host(), experience(DATA))
    before = memory.state_dict(), list(memory.buffer.targets), memory.max_size, repr(memory)

    def interrupt(iteration: int, losses: Any) -> None:
        raise KeyboardInterrupt

    memory.on_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        memory.post_adapt(host(), experience({2: noise(6), 3: noise(6, 1)}))
    after = memory.state_dict(), list(memory.buffer.targets), memory.max_size, repr(memory)
    assert repr(after) == repr(before)
    assert capsys.readouterr().out.endswith("\n")
    memory.on_step = None
    memory.post_adapt(host(), experience({2: noise(6), 3: noise(6, 1)}))
    assert memory.exemplars.classes == [0, 1, 2, 3]


def test_a_buffer_says_what_it_is() -> None:
    memory = RandomBuffer(2)
    assert repr(memory) == "RandomBuffer(ipc=2: empty, 0 bytes)"
    memory.post_adapt(host(), experience(DATA))
    assert repr(memory) == "RandomBuffer(ipc=2: 4 images of 2 classes, 264 bytes)"


def test_every_plugin_has_its_memory() -> None:
    memory = DistilledBuffer(2, soft_labels=True)
    assert MemoryReplayPlugin(memory).memory is memory
    assert MemoryOnlyPlugin(memory).memory is memory
    assert SoftLabelPlugin(memory).memory is memory
    assert DistilledReplayPlugin(3).memory.budget.ipc == 3
    assert repr(DistilledReplayPlugin(3)) == "DistilledReplayPlugin(DistilledBuffer(ipc=3: empty, 0 bytes))"
    assert repr(MemoryOnlyPlugin(memory)) == f"MemoryOnlyPlugin({memory!r})"
    assert repr(SoftLabelPlugin(memory)) == f"SoftLabelPlugin({memory!r})"


def test_strategies_take_progress_and_say_what_they_are() -> None:
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    host = DistilledReplay(
        model=model, optimizer=optimizer, criterion=torch.nn.CrossEntropyLoss(), ipc=2, progress=True
    )
    assert host.memory.progress is True
    assert repr(host) == "DistilledReplay(Linear, DistilledBuffer(ipc=2: empty, 0 bytes))"
