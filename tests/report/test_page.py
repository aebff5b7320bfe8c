"""The report page: what it says, that it is one file that asks for nothing, and that nothing breaks out of it."""

import base64
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from iid_cl.cli import main
from iid_cl.errors import UserError
from iid_cl.memory.files import save_memory
from iid_cl.records.recording import Features
from iid_cl.report.collect import Pictured, collect
from iid_cl.report.content import MOST_POINTS, Setting, in_bytes, in_seconds, plane_of, settings
from iid_cl.report.page import report
from iid_cl.report.sprites import ROOM, Gallery, galleries
from tests.report.made_up import IMAGE, RESULTS, make_comparison, make_run, recorded, result
from tests.runs.helpers import miniature

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028'\"&"


class Page(HTMLParser):
    """Elements with their attributes, the text outside of scripts and styles, and the charts' data."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.styles, self.data = "", "", ""
        self._inside = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " " if tag in ("dd", "dt", "td", "th") else ""
        if tag in ("script", "style"):
            self._inside = "data" if dict(attrs).get("id") == "data" else tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif self._inside == "style":
            self.styles += data
        elif not self._inside:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    @property
    def charts(self) -> dict[str, Any]:
        return json.loads(self.data)


def drawn(directories: list[Path], out: Path | None = None) -> Page:
    """The page, without its figures, which take longer."""
    with patch("iid_cl.report.page.save_figures"):
        return Page(report(directories, out))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return drawn([make_run(tmp_path_factory.mktemp("page") / "run")])


def test_the_headline_by_hand(page: Page) -> None:
    """Distilled (100 * 0.6 + 300 * 0.8) / 400 = 75 %, herding (55 + 225) / 400 = 70 %."""
    assert "Final accuracy of distilled, % 75.0" in page.words
    assert "Gain over herding, points +5.0 at equal bytes; one seed, so no interval" in page.words
    assert "Memory 264 bytes" in page.words  # 4 images
    assert "Forgetting, points 30.0" in page.words  # 90 - 60
    assert "Not compared with random" in page.words


def test_charts_hold_the_numbers(page: Page) -> None:
    (setting,) = page.charts["settings"]
    distilled, herding, none = setting["series"]
    assert [distilled["label"], herding["label"], none["label"]] == ["distilled", "herding", "none"]
    assert distilled["seen"] == [[90, 90, 90], [75, 75, 75]]
    assert distilled["drops"] == [30]
    assert none["drops"] == [90]
    assert (distilled["bound"], none["bound"]) == (False, True)
    assert setting["classes"] == ["three", "one", "zero", "seven"]  # as they were learned
    assert distilled["classes"] == [60, 60, 80, 80]
    assert distilled["seconds"] == [2.5, 61, 0.5]
    assert distilled["bytes"] == 4 * IMAGE


def test_losses_and_moments_are_shown(page: Page) -> None:
    first, second = page.charts["losses"]
    assert first["title"] == "experience 1: one, three"
    assert second["title"] == "experience 2: zero, seven"
    assert first["x"] == list(range(1, 21))
    assert first["terms"]["match"][:4] == [1, 0.5, 0.333333, 0.25]
    assert page.charts["moments"] == [0, 1, 2, 6, 20]


def test_the_plane_has_real_and_stored_images(page: Page) -> None:
    classes = page.charts["plane"]["classes"]
    assert {one["name"] for one in classes} == {"zero", "one", "three", "seven"}
    assert sum(len(one["real"]) for one in classes) == 24
    assert sum(len(one["stored"]) for one in classes) == 8


def test_values_stand_in_tables(page: Page) -> None:
    for text in ("1 min 01 s", "2.5 s", "iid-cl run mini.yaml --seed 0", "0123456789ab", "2.11.0", "real_batch: 8"):
        assert text in page.text
    cells = [
        tag for tag, attributes in page.elements if tag == "td" and re.match(r"h\d", attributes.get("class") or "")
    ]
    assert len(cells) == 3 * 3  # of a matrix of two experiences, for each method


def test_a_page_asks_for_nothing(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert re.match(r"#|data:", attributes.get(name) or "#"), attributes
    assert all(url.startswith("data:") for url in re.findall(r"url\(([^)]*)\)", page.styles))
    assert "@import" not in page.styles
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert "sourceMappingURL" not in page.source


def test_what_a_run_says_cannot_break_out(tmp_path: Path) -> None:
    provenance = {"command": HOSTILE, "versions": {HOSTILE: HOSTILE}, "device": HOSTILE}
    run = make_run(tmp_path / "run", names=[HOSTILE] * 8, provenance=provenance)
    with (run / "config.yaml").open("a", encoding="utf-8") as file:
        file.write(f"# {HOSTILE}".replace("\u2028", " "))  # which would end the comment
    page = drawn([run])
    tags = [tag for tag, _ in page.elements]
    assert "img" not in tags
    assert tags.count("script") == 3
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.charts["settings"][0]["classes"] == [HOSTILE] * 4
    assert HOSTILE in page.text


def test_runs_that_differ_in_their_seed_are_seeds(tmp_path: Path) -> None:
    """Differences to herding of 5 and 7 points: 6 ± t(0.975, 1) * sqrt(2) / sqrt(2) = 12.706."""
    runs = [
        make_run(tmp_path / "a", [result("distilled", (0.6, 0.8), 0), result("herding", (0.7, 0.7), 0)]),
        make_run(tmp_path / "b", [result("distilled", (0.68, 0.8), 1), result("herding", (0.7, 0.7), 1)]),
    ]
    page = Page(report(runs, tmp_path / "out"))
    assert "Gain over herding, points +6.0 ± 12.7 at equal bytes" in page.words
    assert "2 seeds" in page.words
    (setting,) = page.charts["settings"]
    assert setting["series"][0]["seen"][1] == [76, 75, 77]
    assert "a: distilled" not in page.text
    assert (tmp_path / "out" / "figures" / "accuracy.svg").is_file()


def test_other_runs_keep_their_directories_names(tmp_path: Path) -> None:
    other = miniature(model={"width": 16}, baselines=["herding", "none"])
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", config=other)]
    (setting,) = settings(collect(runs))
    memories = ["a: distilled", "a: herding", "b: distilled", "b: herding"]
    assert [one.label for one in setting.series] == [*memories, "a: none", "b: none"]
    assert [gain.over for gain in setting.gains] == ["a: herding"]


def test_the_same_run_twice_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    (setting,) = settings(collect([run, run / ".." / "a"]))
    assert len(setting.series) == len(RESULTS)


def test_bytes_that_are_not_equal_are_said(tmp_path: Path) -> None:
    results = [result("distilled", (0.6, 0.8)), result("herding", (0.6, 0.8), memory_bytes=2 * IMAGE)]
    page = drawn([make_run(tmp_path / "run", results)])
    assert "Gain over herding, points +0.0 not at equal bytes: 264 against 132" in page.words


def test_a_comparison_has_a_setting_for_each_budget(tmp_path: Path) -> None:
    page = Page(report([make_comparison(tmp_path / "compare")]))
    one, five = page.charts["settings"]
    assert [each["label"] for each in one["series"]] == ["distilled", "herding", "none"]
    assert one["series"][0]["seen"][1][0] == pytest.approx(66.5)  # (50 + 3 * 72) / 4
    assert five["series"][0]["seen"][1][0] == pytest.approx(72.5)  # (50 + 3 * 80) / 4
    (curve,) = page.charts["curves"]
    assert curve["budgets"] == [1, 5]
    assert [bound["label"] for bound in curve["bounds"]] == ["none"]
    assert "Gain over herding, points +7.5 ± 0.0 at equal bytes" in page.words
    shown = [a["value"] for tag, a in page.elements if tag == "option" and "selected" in a]
    assert shown == ["1"]  # the larger budget, whose memory is shown
    assert (tmp_path / "compare" / "figures" / "budget.svg").is_file()


def test_a_run_without_a_recording_has_its_memory_and_its_numbers(tmp_path: Path) -> None:
    page = drawn([make_run(tmp_path / "run", record=False)])
    assert "Their distillation was not recorded" in page.words
    assert "Final accuracy of distilled, % 75.0" in page.words
    assert page.charts["settings"][0]["classes"] == ["class 3", "class 1", "class 0", "class 7"]
    ids = [attributes.get("id") for _, attributes in page.elements]
    assert not {"moment", "chart-losses", "chart-plane"} & set(ids)


def test_bounds_alone_have_a_report(tmp_path: Path) -> None:
    config = miniature(memory={"method": "none"})
    path = make_run(tmp_path / "run", [result("none", (0.0, 1.0), memory_images=0)], config=config, record=False)
    for file in path.glob("*.safetensors"):
        file.unlink()
    page = drawn([path])
    assert "Final accuracy of none, % 75.0" in page.words


def test_joint_training_and_a_single_experience_have_a_report(tmp_path: Path) -> None:
    joint = result("joint", (0.9, 0.9), memory_images=0, matrix=[[0.9, 0.9]], average_accuracy=None, forgetting=None)
    page = drawn([make_run(tmp_path / "run", [*RESULTS, joint])])
    assert page.charts["settings"][0]["series"][-1]["seen"] == [None, [90, 90, 90]]
    single = [result("distilled", (0.5, 0.5), matrix=[[0.5]], class_order=[[3, 1]], test_sizes=[100], forgetting=None)]
    page = drawn([make_run(tmp_path / "single", single)])
    assert page.charts["settings"][0]["experiences"] == ["1"]


def test_old_results_lack_what_was_added_since(tmp_path: Path) -> None:
    old = result("distilled", (0.6, 0.8), test_sizes=[], class_accuracies=[])
    page = drawn([make_run(tmp_path / "run", [old], record=False)])
    assert page.charts["settings"][0]["series"][0]["seen"][1][0] == pytest.approx(70)  # experiences weigh alike
    assert page.charts["settings"][0]["classes"] == []


def test_ten_experiences_of_ten_classes_stay_below_five_megabytes(tmp_path: Path) -> None:
    order = [list(range(10 * i, 10 * i + 10)) for i in range(10)]
    names = [f"a class called {i}" for i in range(100)]
    accuracies = [dict.fromkeys(range(10 * t + 10), 0.5) for t in range(10)]
    matrix = [[0.512345678 + 0.01 * j for j in range(t + 1)] for t in range(10)]
    results = [
        result(method, (0.6, 0.8), class_order=order, matrix=matrix, test_sizes=[100] * 10, class_accuracies=accuracies)
        for method in ("distilled", "herding")
    ]
    run = make_run(tmp_path / "run", results, record=False)
    recording, memory = recorded(names, order, 10, 1000, (3, 32, 32))
    recording.write(run)
    save_memory(run / "memory.safetensors", memory)
    save_memory(run / "memory-herding.safetensors", memory)
    shown: list[Gallery] = []  # the page's own: to draw them again would take as long as the page

    def spy(pictured: Sequence[Pictured]) -> list[Gallery]:
        shown.extend(galleries(pictured))
        return shown

    with patch("iid_cl.report.page.save_figures"), patch("iid_cl.report.page.galleries", spy):
        page = report([run])
    assert page.stat().st_size < 5_000_000
    assert len(shown) == 2
    assert all(len(gallery.sheets) == 100 for gallery in shown)


def test_pictures_are_compressed_before_they_are_left_out(tmp_path: Path) -> None:
    pictured = collect([make_run(tmp_path / "run")]).pictured
    plain = galleries(pictured)
    sheet = plain[0].sheets[0]
    assert (sheet.columns, sheet.rows, sheet.history) == (1, 5, True)
    assert sheet.url.startswith("data:image/png;base64,")
    room = sum(len(each.url) for gallery in plain for each in gallery.sheets) - 1
    assert galleries(pictured, room)[0].sheets[0].url.startswith("data:image/webp;base64,")
    assert galleries(pictured, 10) == []
    assert ROOM < 5_000_000


def test_a_sheet_holds_the_real_image_and_the_distilled_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (pictured, _) = collect([run]).pictured
    sheet = galleries([pictured])[0].sheets[0]
    with Image.open(io.BytesIO(base64.b64decode(sheet.url.partition(",")[2]))) as picture:
        rows = torch.from_numpy(np.array(picture)).split(8)
    kept = pictured.recording.kept[0] if pictured.recording else None
    assert kept is not None
    assert torch.equal(rows[0], kept.images[0][sheet.label][0, 0])
    assert torch.equal(rows[-1], pictured.memory.by_class()[sheet.label][0, 0])


def test_the_same_directory_gives_the_same_page_and_figures(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    files = [{file.name: file.read_bytes() for file in _written(report([run]))} for _ in range(2)]
    assert files[0] == files[1]
    names = {
        f"{name}.{suffix}"
        for name in ("accuracy", "forgetting", "matrix", "classes", "losses", "features")
        for suffix in ("png", "svg")
    }
    assert set(files[0]) == {"report.html", *names}


def _written(page: Path) -> list[Path]:
    return [page, *(page.parent / "figures").iterdir()]


def _empty(path: Path) -> None:
    path.mkdir()


def _damaged(name: str, text: str) -> Any:
    def make(path: Path) -> None:
        make_run(path)
        (path / name).write_text(text)

    return make


def _without(name: str) -> Any:
    def make(path: Path) -> None:
        make_run(path)
        (path / name).unlink()

    return make


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such directory"),
        (_empty, "is no run directory, config.yaml is missing"),
        (_without("run.json"), "has not finished, run.json is missing"),
        (_without("losses.jsonl"), "is damaged, or losses.jsonl beside it is"),
        (_damaged("run.json", "{"), "cannot be read"),
        (_damaged("run.json", "[" * 100_000), "run.json: cannot be read"),
        (_damaged("run.json", "[]"), "holds no mapping"),
        (_damaged("run.json", "{}"), "is damaged"),
        (_damaged("run.json", '{"results": [{"method": "distilled"}]}'), "is damaged"),
        (_damaged("run.json", '{"results": []}'), "holds no result"),
        (_damaged("config.yaml", "memory: {colour: red}"), "colour"),
        (_damaged("history.safetensors", "nothing"), "history.safetensors: is damaged"),
        (_damaged("losses.jsonl", '{"method": "distilled"}\n'), "is damaged, or losses.jsonl beside it is"),
        (_damaged("losses.jsonl", "[" * 100_000), "is damaged, or losses.jsonl beside it is"),
        (_damaged("memory.safetensors", "nothing"), "memory.safetensors: is damaged"),
    ],
)
def test_what_is_no_run_is_said_and_nothing_is_written(tmp_path: Path, make: Any, says: str) -> None:
    make(tmp_path / "run")
    with pytest.raises(UserError, match=says):
        report([tmp_path / "run"])
    assert not list(tmp_path.rglob("report.html"))


def test_half_a_letter_in_a_foreign_file_is_spelt_out(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "command": "iid-cl run \ud800.yaml"}))  # as JSON escapes it
    assert r"\ud800.yaml" in report([tmp_path / "run"]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "is damaged"),
        ('{"cells": []}', "no cell of this comparison has finished"),
        ('{"cells": [1]}', "is damaged"),
    ],
)
def test_damaged_comparisons_are_said(tmp_path: Path, text: str, says: str) -> None:
    path = make_comparison(tmp_path / "compare")
    (path / "results.json").write_text(text)
    with pytest.raises(UserError, match=says):
        report([path])


def test_memories_are_those_that_the_run_wrote(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", record=False)
    memory = run / "memory.safetensors"
    summary = json.loads((run / "run.json").read_text())
    summary["checks"] = {"distilled": {"file": memory.name, "sha256": "0" * 64}}
    (run / "run.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"memory\.safetensors: is not the file that was written there"):
        report([run])
    memory.unlink()  # it may be gone
    assert report([run]).is_file()
    comparison = make_comparison(tmp_path / "compare", seeds=1)
    results = json.loads((comparison / "results.json").read_text())
    results["cells"][3]["memory_sha256"] = "0" * 64  # herding at ipc 5, which is shown
    (comparison / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"herding-replay-ipc5-seed0\.safetensors: is not the file"):
        report([comparison])


def test_a_page_that_cannot_be_written_is_said_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iid_cl.report.page.render", lambda *_: pytest.fail("it was made"))
    run = make_run(tmp_path / "run", record=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/report\.html: cannot be written \(Not a directory\)"):
        report([run], tmp_path / "file")
    (run / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html: is no regular file"):
        report([run])


def test_a_comparison_is_reported_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a comparison, which is reported alone"):
        report([make_run(tmp_path / "run"), make_comparison(tmp_path / "compare")])


def test_several_runs_get_a_directory_of_their_own(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make_run(in_tmp_path / "a"), make_run(in_tmp_path / "b", [result("distilled", (0.6, 0.8), 1)])]
    monkeypatch.setattr("iid_cl.report.page.save_figures", lambda *_: None)
    assert [report(runs), report(runs)] == [Path("runs/report/report.html"), Path("runs/report-2/report.html")]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (30_720, "30.72 kB")],
)
def test_bytes_in_words(count: int, text: str) -> None:
    assert in_bytes(count, count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (7320, "2 h 02 min")]
)
def test_seconds_in_words(value: float, text: str) -> None:
    assert in_seconds(value) == text


def test_the_command_prints_the_pages_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["iid-cl", "report", str(run)])
    with patch("iid_cl.report.page.save_figures"), pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr() == (f"{run / 'report.html'}\n", "")


@pytest.mark.parametrize("count", [4, MOST_POINTS + 1])
def test_too_few_and_far_too_many_points_make_no_plane(count: int) -> None:
    points = torch.zeros(count, 2)
    assert plane_of(Features(points, points[:, 0], points[:, 0] > 0)) == []


def test_where_the_colours_begin_is_computed_once() -> None:
    """Not for each cell of the matrix: a report of 100 experiences took minutes."""

    class Counted(list[float]):
        passes = 0

        def __iter__(self) -> Iterator[float]:
            type(self).passes += 1
            return super().__iter__()

    series: Any = SimpleNamespace(matrix=[Counted([35.0, 90.0])])
    setting = Setting("", [series], series, [], [], [])
    assert [setting.shade(value) for value in (30.0, 65.0, 100.0)] == [0, 5, 10]  # from 30 to 100
    assert Counted.passes == 1
