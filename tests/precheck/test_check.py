"""``iid-cl check``."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from iid_cl.config.reading import load_config
from iid_cl.data.datasets import load_dataset
from iid_cl.data.streams import class_order
from iid_cl.errors import UserError
from iid_cl.memory.jpeg_format import JpegFormat
from iid_cl.precheck import probe
from iid_cl.precheck.check import check_config, duration
from iid_cl.precheck.plan import plan
from iid_cl.terminal.screen import Mode, Screen
from tests.runs.helpers import miniature

JPEG = JpegFormat(25)


def said(width: int = 200, try_it: bool = False, **changes: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    check_config(miniature(**changes), None, console, probe=try_it)
    return out.getvalue()


def test_it_says_what_a_run_would_do(in_tmp_path: Path) -> None:
    text = said(baselines=["herding"])
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert ["1", "3, 1", "273", "132", "10", "3", "92"] in rows
    assert "Memory: distilled, ipc 1; 264 bytes of 4 classes in the end." in text
    assert re.search(r"Work: \d+ updates in replay mode, 2 distillations of 3 iterations\.", text)
    assert "herding" in text
    assert "iid-cl compare would run 12 such cells." in text
    assert "Estimate" not in text
    assert list(in_tmp_path.iterdir()) == []


@pytest.mark.parametrize("width", [40, 60, 80])
def test_it_fits_the_terminal(width: int) -> None:
    assert max(map(len, said(width).splitlines())) <= width


def test_a_short_probe_estimates_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.05)
    text = said(try_it=True, baselines=["random"], distill={"iterations": 40})
    assert re.search(r"Estimate for distilled: .* \(training .*, evaluation .*, condensing .*\)\.", text)
    assert re.search(r"From \d+ updates? of [\d.,]+ ms, \d+ evaluations? of .*, \d+ iterations? of .* on cpu", text)
    assert "Estimate for random" in text
    assert "Estimate for all" in text


def test_an_estimate_multiplies_steps_by_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    config = miniature(distill={"iterations": 40})
    dataset = load_dataset(config.stream, None)
    steps = plan(config, "distilled", dataset, class_order(config.stream, 10, 0))
    monkeypatch.setattr(probe, "_network_update", lambda *_: probe.Speed(2.0, 1.0, 3))
    monkeypatch.setattr(probe, "_prediction", lambda *_: probe.Speed(0.5, 0.0, 3))
    monkeypatch.setattr(probe, "_iteration", lambda *_: probe.Speed(0.1, 7.0, 3))
    found, _ = probe.estimate(config, "distilled", dataset, steps, torch.device("cpu"))
    assert found.training == pytest.approx(1.0 + 2.0 * sum(step.updates for step in steps))
    assert found.evaluation == pytest.approx(0.5 * 2)  # a batch of 500 after each experience
    assert found.condensing == pytest.approx(2 * 40 * 0.1 + 2 * 7.0)


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, 40])
def test_any_number_of_iterations_can_be_tried(iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.01)
    said(try_it=True, distill={"iterations": iterations, "cc": {"weight": 0.01}})


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.01)
    check_config(miniature(), None, Screen(Mode.json), probe=True)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["plan", "estimate"]
    assert events[0]["steps"][1]["memory_bytes"] == 264
    assert events[1]["total_seconds"] > 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"depth": 9}}, "model.depth"),
        ({"memory": {"ipc": None, "mem_size": 1}}, "memory.mem_size"),
        ({"distill": {"partition": 3}}, "distill.partition"),
        ({"stream": {"classes": [[0], [11]]}}, "stream.classes"),
        ({"stream": {"dataset": "cifar10", "classes": None}}, "'cifar10' is not in .*downloaded"),
        ({"stream": {"dataset": "tiny_imagenet", "classes": None}}, "unpack"),
        ({"stream": {"dataset": "image_folder", "classes": None}}, "train/CLASS"),
    ],
    ids=str,
)
def test_what_would_stop_a_run_stops_it(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        said(**changes)


def test_shipped_digits_are_checked() -> None:
    out = io.StringIO()
    check_config(load_config("split_digits.yaml"), None, Console(file=out, width=200), probe=False)
    assert "660 bytes of 10 classes" in out.getvalue()


def test_durations() -> None:
    assert [duration(s) for s in (0.2, 40.4, 200, 7200)] == ["under 1 s", "40 s", "3 min", "2.0 h"]


def test_it_says_what_the_data_set_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_dataset(miniature().stream, None)
    noted = replace(digits, remarks=("files not read: 1 (train/a/x.heic)", "dark"))
    monkeypatch.setattr("iid_cl.precheck.check.load_dataset", lambda *given: noted)
    lines = said().splitlines()
    assert [line for line in lines if line.startswith("note: ")] == [f"note: {text}" for text in noted.remarks]


@pytest.mark.parametrize(
    ("steps", "seconds", "enough"),
    [
        (0, 60.0, False),
        (1, 1.9, False),
        (1, 2.0, True),
        (3, 1.0, False),
        (4, 0.4, False),
        (4, 0.5, True),
        (50, 0.1, True),
    ],
)
def test_a_slow_step_is_timed_once_and_a_quick_one_often(steps: int, seconds: float, enough: bool) -> None:
    """The first step may compile, so another one is always timed."""
    assert probe._enough(steps, seconds) is enough
