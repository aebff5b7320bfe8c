"""Runs and comparisons end with their report."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from iid_cl.compare.compare import compare
from iid_cl.report.page import report
from iid_cl.runs.run import run
from tests.report.test_page import Page
from tests.runs.helpers import miniature


def test_a_run_ends_with_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.runs.run.report", report)
    printed = io.StringIO()
    out = tmp_path / "run"
    run(miniature(baselines=["herding", "random"]), None, out, Console(file=printed, width=200))
    assert f"The report is {out / 'report.html'}\n" in printed.getvalue()
    page = Page(out / "report.html")
    assert "Gain over herding" in page.words
    assert "Gain over random" in page.words
    assert page.charts["moments"] == [0, 1, 3]
    assert page.charts["plane"] is not None
    assert [one["title"] for one in page.charts["losses"]] == [
        "experience 1: class 1, class 3",
        "experience 2: class 0, class 7",
    ]
    assert (out / "figures" / "features.svg").is_file()


def test_a_comparison_ends_with_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iid_cl.compare.compare.report", report)
    monkeypatch.setattr("iid_cl.report.page.save_figures", lambda *_: None)  # the test above sees some
    printed = io.StringIO()
    out = tmp_path / "compare"
    section = {"methods": ["distilled", "herding", "none"], "seeds": 2, "budgets": {"ipc": [1, 2]}}
    compare(miniature(compare=section, train={"epochs": 1}), None, out, Console(file=printed, width=200))
    assert f"The report is {out / 'report.html'}\n" in printed.getvalue()
    page = Page(out / "report.html")
    assert len(page.charts["settings"]) == 2
    assert page.charts["settings"][1]["series"][0]["seeds"] == 2
    assert page.charts["moments"] == [0, 1, 3]
    histories = {path.name for path in (out / "cells").glob("*.history.safetensors")}
    assert histories == {f"distilled-replay-ipc{ipc}-seed0.history.safetensors" for ipc in (1, 2)}  # of one seed
