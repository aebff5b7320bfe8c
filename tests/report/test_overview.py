"""The top of a report: facts, runs beside each other, all settings; and the page of a study."""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from iid_cl.cli import main
from iid_cl.errors import UserError
from iid_cl.report.collect import collect
from iid_cl.report.content import settings
from iid_cl.report.overview import beside, best, facts, same_bytes
from iid_cl.studies.page import study_report
from tests.report.made_up import IMAGE, PROVENANCE, RESULTS, make_comparison, make_run, make_study, result
from tests.report.test_page import Page, drawn
from tests.runs.helpers import miniature


def test_date_duration_and_key_settings(tmp_path: Path) -> None:
    started = {**PROVENANCE, "started": "2026-11-28T10:15:00+00:00"}
    run = make_run(tmp_path / "run", provenance=started)
    assert facts(collect([run])) == {
        "began": "2026-11-28 10:15:00 UTC",
        "took": "3 min 12 s",  # three methods of 64 s
        "memory": "replay, ipc 1",
        "distillation": "dm, 3 iterations",
        "network": "convnet (width 8, depth 2)",
        "training": "2 epochs per experience, batch 64",
        "device": "cpu",
    }


def test_the_memory_comes_second(tmp_path: Path) -> None:
    page = drawn([make_run(tmp_path / "run")])
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert sections[:3] == ["headline", "memory", "accuracy"]
    enlarged = [attributes for _, attributes in page.elements if attributes.get("class") == "zoom"]
    assert [each["aria-label"] for each in enlarged[:2]] == ["Enlarge one, image 1", "Enlarge three, image 1"]
    assert len(enlarged) == 2 * 4  # of both memories


def test_runs_stand_beside_each_other(tmp_path: Path) -> None:
    """The second run's seeds end at (100 * 0.7 + 300 * 0.8) / 400 = 77.5 %, two and a half points above the first."""
    other = miniature(memory={"method": "distilled", "ipc": 2}, baselines=["herding", "none"])
    better = [result("distilled", (0.7, 0.8), memory_bytes=8 * IMAGE), *RESULTS[1:]]
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", better, config=other)]
    table = beside(collect(runs))
    assert table is not None
    assert table.names == ["a", "b"]
    assert table.results == {
        "final accuracy, %": ["75.0", "77.5"],
        "minus a, points": ["-", "+2.5"],
        "seeds": ["1", "1"],
        "forgetting, points": ["30.0", "20.0"],
        "memory": ["264 bytes", "528 bytes"],
        "took": ["1 min 04 s", "1 min 04 s"],
    }
    assert table.keys == {"memory.ipc": ["1", "2"]}
    page = drawn(runs, tmp_path / "out")
    assert "The runs beside each other" in page.words
    assert "memory.ipc 1 2" in page.words


def test_seeds_of_one_run_do_not_stand_beside_each_other(tmp_path: Path) -> None:
    seeds = [make_run(tmp_path / str(seed), [result("distilled", (0.6, 0.8), seed)]) for seed in (0, 1)]
    assert beside(collect(seeds)) is None


def test_the_best_memory_of_a_setting_is_not_a_bound(tmp_path: Path) -> None:
    results = [result("distilled", (0.6, 0.8)), result("herding", (0.6, 0.9)), *RESULTS[2:]]
    (setting,) = settings(collect([make_run(tmp_path / "run", results)]))
    assert best(setting) == "herding"


@pytest.mark.parametrize(
    ("herded", "says"), [(4 * IMAGE, "Every memory takes 264 bytes."), (3 * IMAGE, None), (4 * IMAGE - 1, None)]
)
def test_equal_bytes(tmp_path: Path, herded: int, says: str | None) -> None:
    results = [result("distilled", (0.6, 0.8)), result("herding", (0.6, 0.8), memory_bytes=herded)]
    (setting,) = settings(collect([make_run(tmp_path / "run", results)]))
    told = same_bytes(setting)
    assert told == (says if herded != 4 * IMAGE - 1 else "Every memory takes 263 bytes to 264 bytes.")


def test_every_setting_is_in_the_table_and_its_memory_on_the_page(tmp_path: Path) -> None:
    page = drawn([make_comparison(tmp_path / "compare")])
    addresses = [a["href"] for tag, a in page.elements if tag == "a" and "#setting-" in (a.get("href") or "")]
    assert addresses == ["#setting-1", "#setting-2"]
    assert "The memory of distilled at replay, ipc 1" in page.words


def test_a_study_has_a_page(tmp_path: Path) -> None:
    """Mean of 40 and 60 is 50, their standard deviation 14.1; four networks took 5 s each."""
    page = Page(study_report(make_study(tmp_path / "study")))
    for text in ("What CM adds", "plain 50.0 ± 14.1 264 bytes 2.0 s", "with CM 80.0 ± 14.1", "took 20.0 s"):
        assert text in page.words
    assert "distill.cm.weight: 0" in page.words
    assert "iid-cl run mini.yaml --seed 0" in page.words
    assert all((a.get("src") or "data:").startswith("data:") for _, a in page.elements)
    assert not [tag for tag, _ in page.elements if tag == "script"]


def test_report_knows_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, run = make_study(tmp_path / "study"), make_run(tmp_path / "run")
    for words, code in (([study], 0), ([study, run], 2)):
        monkeypatch.setattr(sys, "argv", ["iid-cl", "report", *map(str, words)])
        with patch("iid_cl.report.page.save_figures"), pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
    told = capsys.readouterr()
    assert told.out == f"{study / 'report.html'}\n"
    assert "is a study, which is reported alone" in told.err


@pytest.mark.parametrize(
    "changes", [{"rows": 1}, {"rows": [{"accuracy": float("nan")}]}, {"study": None}, {"study": {"name": 1}}]
)
def test_a_damaged_study_is_said(tmp_path: Path, changes: dict[str, Any]) -> None:
    study = make_study(tmp_path / "study")
    summary = json.loads((study / "study.json").read_text())
    summary["rows"][0] |= changes.get("rows", [{}])[0] if isinstance(changes.get("rows"), list) else {}
    changed = {key: value for key, value in changes.items() if not isinstance(value, list)}
    (study / "study.json").write_text(json.dumps({**summary, **changed}))
    with pytest.raises(UserError, match=r"study\.json: is damaged"):
        study_report(study)
    assert not (study / "report.html").exists()


def test_odd_versions_are_left_out(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    summary = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**summary, "versions": [1]}))
    assert study_report(study).is_file()


def test_an_unfinished_or_damaged_study_is_said(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    (study / "study.yaml").touch()
    (study / "study.json").write_text(json.dumps({"study": {"name": 1}}))
    with pytest.raises(UserError, match="is damaged"):
        study_report(study)
    (study / "study.json").unlink()
    with pytest.raises(UserError, match="has not finished"):
        study_report(study)
    assert not (study / "report.html").exists()
