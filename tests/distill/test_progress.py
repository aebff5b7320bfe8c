import io
import sys

import pytest
import torch

from iid_cl.data.images import Normalization
from iid_cl.distill import distill
from iid_cl.distill.progress import ProgressBars, progress_bars
from iid_cl.distill.watch import Watch
from tests.methods.helpers import TINY, noise


def run(progress: bool | None) -> None:
    distill(
        {0: noise(6), 1: noise(6, 1)},
        TINY,
        ipc=2,
        generator=torch.Generator().manual_seed(0),
        device="cpu",
        normalization=Normalization((0.5,), (0.25,)),
        progress=progress,
    )


@pytest.mark.parametrize(("progress", "terminal"), [(None, True), (None, False), (True, False), (False, True)])
def test_a_bar_shows_where_there_is_a_terminal_or_it_is_wanted(
    progress: bool | None, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    run(progress)
    if progress or (progress is None and terminal):
        first, *bar = out.getvalue().replace("\r", "\n").splitlines()
        assert first.startswith(f"Distilling 2 classes, {TINY.iterations} iterations, about ")
        assert f"{TINY.iterations}/{TINY.iterations}" in bar[-1]
        assert "match=" in bar[-1]
    else:
        assert out.getvalue() == ""


def test_each_distillation_has_its_bar() -> None:
    out = io.StringIO()
    bars = ProgressBars(out)
    for classes, iterations in ((1, 4), (3, 2)):
        bars.start(classes, iterations)
        for iteration in range(1, iterations + 1):
            bars.step(iteration, {"match": 1 / iteration})
    text = out.getvalue()
    assert "Distilling 1 class, 4 iterations" in text
    assert "Distilling 3 classes, 2 iterations" in text
    assert "4/4" in text
    assert "2/2" in text


def test_the_first_line_comes_at_once_and_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    out, clock = io.StringIO(), iter([100.0, 103.3, 110.0])
    monkeypatch.setattr("iid_cl.distill.progress.time.perf_counter", lambda: next(clock))
    bars = ProgressBars(out)
    bars.start(2, 1000)
    assert out.getvalue() == "Distilling 2 classes, 1000 iterations"
    bars.step(20, {})  # after compiling, which the estimate leaves out
    assert out.getvalue() == "Distilling 2 classes, 1000 iterations"
    bars.step(40, {})
    assert out.getvalue().startswith("Distilling 2 classes, 1000 iterations, about 3 min\n")  # 165 s: 3.3 s for 20
    bars.close()
    assert "40/1000 [00:03<02:38" in out.getvalue()  # 960 more at the same rate


def test_an_interrupted_distillation_closes_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)

    def interrupted() -> None:
        with progress_bars(True) as watch:
            assert watch.on_start is not None
            watch.on_start(2, 10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().endswith("\n")


def test_observers_beside_each_other_all_hear() -> None:
    heard: list[tuple[str, int]] = []
    first = Watch(on_step=lambda iteration, _: heard.append(("first", iteration)), snapshots=(3,))
    second = Watch(
        on_step=lambda iteration, _: heard.append(("second", iteration)), on_start=lambda *_: heard.append(("start", 0))
    )
    both = first.beside(second).beside(Watch())
    assert both.snapshots == (3,)
    assert both.on_start is not None
    assert both.on_step is not None
    both.on_start(2, 5)
    both.on_step(1, {})
    assert heard == [("start", 0), ("first", 1), ("second", 1)]
