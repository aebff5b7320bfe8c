"""The list of runs, from their own files."""

import hashlib
import io
import json
import os
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console

from iid_cl.errors import UserError
from iid_cl.report.listing import find_runs, list_runs
from iid_cl.terminal.screen import Mode, Screen

RESULT = {"method": "distilled", "mode": "replay", "seed": 3, "final_accuracy": 0.875, "memory_bytes": 660}
ROW = {"label": "herding", "mode": "replay", "budget": ["ipc", 1], "seeds": [0, 1, 2], "final": [0.5, 0.1],
       "bytes": [600, 660]}  # fmt: skip


def run(root: Path, name: str, results: Any = None, metrics: str = "", date: float = 1e9) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: x\nseed: 3\nmemory: {method: distilled}\ntrain: {mode: replay}\n")
    if metrics:
        (folder / "metrics.jsonl").write_text(metrics)
    if results is not None:
        (folder / "run.json").write_text(json.dumps({"results": results}))
    return dated(folder, date)


def comparison(root: Path, name: str, rows: Any = None, failed: bool = False, date: float = 1e9) -> Path:
    folder = root / name
    (folder / "cells").mkdir(parents=True)
    (folder / "config.yaml").write_text("compare: {methods: [none, {name: mine}]}\n")
    (folder / "cells" / "none-seed0.json").write_text("{}")
    if failed:
        (folder / "cells" / "random-seed0.error.txt").write_text("no luck")
    if rows is not None:
        (folder / "results.json").write_text(json.dumps({"summary": rows}))
    return dated(folder, date)


def dated(folder: Path, date: float) -> Path:
    for path in folder.iterdir():
        os.utime(path, (date, date))
    return folder


def listed(folder: Path, width: int = 160) -> str:
    out = io.StringIO()
    list_runs(folder, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue()


def test_a_finished_run_has_a_row_per_method(tmp_path: Path) -> None:
    folder = run(tmp_path, "a", [RESULT, {**RESULT, "method": "herding", "final_accuracy": 0.5}])
    first, second = find_runs(tmp_path)
    assert (first.kind, first.state, first.method, first.mode, first.seeds) == (
        "run", "finished", "distilled", "replay", (3,)
    )  # fmt: skip
    assert (first.final_accuracy, first.memory_bytes, first.directory) == (0.875, 660, str(folder))
    assert second.method == "herding"
    assert find_runs(folder) == [first, second]


def test_a_run_without_its_report_is_unfinished(tmp_path: Path) -> None:
    folder = run(tmp_path, "a", [RESULT])
    (folder / "state").mkdir()
    assert [entry.state for entry in find_runs(tmp_path)] == ["unfinished"]


def test_a_run_whose_memory_was_changed_is_damaged(tmp_path: Path) -> None:
    folder = run(tmp_path, "a", [RESULT])
    (folder / "memory.safetensors").write_bytes(b"images")
    for data, state in ((b"images", "finished"), (b"imagez", "damaged")):
        checks = {"distilled": {"file": "memory.safetensors", "sha256": hashlib.sha256(data).hexdigest()}}
        (folder / "run.json").write_text(json.dumps({"results": [RESULT], "checks": checks}))
        assert [entry.state for entry in find_runs(tmp_path)] == [state]


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "metrics.jsonl", "cells"])
def test_a_run_with_a_link_out_of_it_is_damaged(tmp_path: Path, name: str) -> None:
    folder = run(tmp_path / "runs", "a", [RESULT])
    place = folder / name
    if place.exists():
        place.rename(tmp_path / name)
    else:
        (tmp_path / name).mkdir()
    place.symlink_to(tmp_path / name)
    (tmp_path / "runs" / "link").symlink_to(run(tmp_path / "elsewhere", "b", [RESULT]))  # of the user
    assert sorted(entry.state for entry in find_runs(tmp_path / "runs")) == ["damaged", "finished"]


def test_an_unfinished_run_shows_how_far_it_is(tmp_path: Path) -> None:
    lines = [{"method": "distilled", "accuracy_seen": a, "memory_bytes": 66} for a in (0.9, 0.8)]
    run(tmp_path, "a", metrics="".join(json.dumps(line) + "\n" for line in lines) + '{"method": "dis')
    (entry,) = find_runs(tmp_path)
    assert (entry.state, entry.method, entry.final_accuracy, entry.memory_bytes) == (
        "unfinished",
        "distilled",
        None,
        66,
    )


def test_a_run_at_work_is_known_by_its_lock(tmp_path: Path) -> None:
    """A lock file alone says nothing: that of a killed process stays."""
    folder = run(tmp_path, "a")
    (folder / ".lock").touch()
    assert [entry.state for entry in find_runs(tmp_path)] == ["unfinished"]
    with FileLock(folder / ".lock"):
        assert [entry.state for entry in find_runs(tmp_path)] == ["running"]
    assert [entry.state for entry in find_runs(tmp_path)] == ["unfinished"]


def test_a_run_says_when_it_began_and_how_long_it_took(tmp_path: Path) -> None:
    folder = run(tmp_path, "a", [{**RESULT, "total_seconds": 185.4}])
    summary = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**summary, "started": "2026-11-28T12:34:56+00:00"}))
    (entry,) = find_runs(tmp_path)
    assert entry.total_seconds == 185.4
    assert entry.started is not None
    local = datetime.fromisoformat("2026-11-28T12:34:56+00:00").astimezone()
    assert entry.started == local.strftime("%Y-%m-%dT%H:%M")
    out = io.StringIO()
    list_runs(tmp_path, Console(file=out, width=160))
    assert "3 min 05 s" in out.getvalue()


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    run(tmp_path, "a")
    (entry,) = find_runs(tmp_path)
    assert (entry.state, entry.method, entry.final_accuracy) == ("unfinished", "distilled", None)


def test_comparisons(tmp_path: Path) -> None:
    comparison(tmp_path, "whole", [ROW, {**ROW, "label": "none", "mode": None, "budget": None}], date=1e9)
    comparison(tmp_path, "failed", [ROW], failed=True, date=2e9)
    comparison(tmp_path, "stopped", date=3e9)
    first, bound, failed, stopped = find_runs(tmp_path)
    assert (first.kind, first.state, first.method, first.budget) == ("comparison", "finished", "herding", "ipc 1")
    assert (first.final_accuracy, first.memory_bytes, first.seeds) == (0.5, 660, (0, 1, 2))
    assert (bound.mode, bound.budget) == (None, None)
    assert failed.state == stopped.state == "unfinished"
    assert stopped.method == "none, mine (1 cells done)"


def test_runs_stand_in_the_order_of_their_files_dates(tmp_path: Path) -> None:
    run(tmp_path, "b", [RESULT], date=1.7e9)
    run(tmp_path, "a", [RESULT], date=1.8e9)
    assert [entry.name for entry in find_runs(tmp_path)] == ["b", "a"]
    assert find_runs(tmp_path)[0].date.startswith("2023-11-1")


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"results": 3}', '{"results": [{}]}', '{"results": [[1]]}',
                                  '{"results": [{"method": null, "mode": 1, "seed": "x"}]}', "[" * 100000])  # fmt: skip
def test_a_damaged_run_is_one_of_the_list(tmp_path: Path, text: str) -> None:
    (run(tmp_path, "a") / "run.json").write_text(text)
    run(tmp_path, "b", [RESULT])
    assert {entry.name: entry.state for entry in find_runs(tmp_path)} == {"a": "damaged", "b": "finished"}


@pytest.mark.parametrize("text", ["[", "- 1", "", "\xff", "memory: 3", "seed: x"])
def test_a_damaged_configuration_is_one_of_the_list(tmp_path: Path, text: str) -> None:
    (run(tmp_path, "a") / "config.yaml").write_text(text, encoding="latin-1")
    (entry,) = find_runs(tmp_path)
    assert entry.state == "damaged"


def test_other_folders_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("")
    assert find_runs(tmp_path) == []
    assert "no runs" in listed(tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="runs: no such folder"):
        list_runs(tmp_path / "runs", Console())


def test_the_table(tmp_path: Path) -> None:
    run(tmp_path, "a", [RESULT])
    rows = [re.split(r"\s{2,}", line.strip()) for line in listed(tmp_path).splitlines()]
    (row,) = [row for row in rows if row[0] == "a"]
    assert row[1:7] == ["distilled", "87.5", "finished", "660", "replay", "3"]


def test_of_a_long_comparison_the_best_are_shown_and_all_of_it_alone(tmp_path: Path) -> None:
    rows = [{**ROW, "label": f"m{i}", "final": [i / 20, None]} for i in range(10)]
    folder = comparison(tmp_path, "c", rows)
    text = listed(tmp_path)
    assert "m9" in text
    assert "m3 " not in text
    assert "and 4 more rows" in text
    assert all(f"m{i} " in listed(folder) for i in range(10))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_it_fits_the_terminal(tmp_path: Path, width: int) -> None:
    run(tmp_path, "a" * 60, [RESULT])
    run(tmp_path, "stopped")
    lines = listed(tmp_path, width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("87.5" in line for line in lines)


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "a", [RESULT])
    list_runs(tmp_path, Screen(Mode.json))
    found = json.loads(capsys.readouterr().out)
    assert (found["event"], found["method"], found["seeds"], found["state"]) == ("entry", "distilled", [3], "finished")


def test_a_strangers_run_cannot_drive_the_terminal(tmp_path: Path) -> None:
    run(tmp_path, "a", [{**RESULT, "method": "\x1b]0;x\x07", "mode": "[bold]"}])
    text = listed(tmp_path)
    assert "\x1b" not in text
    assert "[bold]" in text


def test_a_folder_that_goes_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(tmp_path, "a", [RESULT])
    shutil.rmtree(folder)
    assert find_runs(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        {"memory_bytes": 1e400},
        {"final_accuracy": 10**400},
        {"final_accuracy": "x"},
        {"seed": []},
    ],
    ids=["infinite", "too large", "text", "list"],
)
def test_values_that_no_run_has_are_damage(tmp_path: Path, change: dict[str, Any]) -> None:
    run(tmp_path, "a", [{**RESULT, **change}])
    (entry,) = find_runs(tmp_path)
    assert entry.state == "damaged"


@pytest.mark.parametrize("results", ["[]", '[{"method": 1}]'])
def test_a_run_without_results_is_damaged(tmp_path: Path, results: str) -> None:
    (run(tmp_path, "a") / "run.json").write_text(f'{{"results": {results}}}')
    assert [entry.state for entry in find_runs(tmp_path)] == ["damaged"]


@pytest.mark.parametrize(
    "record", [{"accuracy_seen": "high"}, {"memory_bytes": "many"}, {"accuracy_seen": [1]}], ids=str
)
def test_metrics_that_are_no_numbers_are_damage(tmp_path: Path, record: dict[str, Any]) -> None:
    folder = run(tmp_path, "a")
    (folder / "metrics.jsonl").write_text(json.dumps({"method": "random", **record}) + "\n")
    assert [entry.state for entry in find_runs(tmp_path)] == ["damaged"]
    list_runs(tmp_path, Console(file=io.StringIO()))
