"""Searches of seconds: what trials are judged on, that they can be repeated and resumed, and what is refused."""

import io
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from iid_cl.config.datasets import DATASETS
from iid_cl.config.reading import load_config
from iid_cl.config.study import StudyConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.evaluate.protocol import judge
from iid_cl.studies import run as runs
from iid_cl.studies import search as searches
from iid_cl.studies.check import check_study
from iid_cl.studies.directory import Place
from iid_cl.studies.page import study_report
from iid_cl.studies.resume import resume_study, start_study
from iid_cl.terminal.signals import Stopped
from tests.studies.helpers import FILES, drawn, study, table

pytest.importorskip("optuna")
QUICK: dict[str, Any] = {
    "evaluate.epochs": 1, "evaluate.networks": 1, "stream.first_classes": 3, "stream.train_limit": 40
}  # fmt: skip
SPACE = {"memory.ipc": {"low": 1, "high": 9}, "train.lr": {"low": 0.001, "high": 1, "log": True},
         "memory.downscale": [1, 2]}  # fmt: skip


def searched(dotted: dict[str, Any] | None = None, **keys: Any) -> StudyConfig:
    return study({**QUICK, **(dotted or {})}, **{"search": SPACE, "trials": 12, **keys})


def start(path: Path, one: StudyConfig, **options: Any) -> str:
    printed = io.StringIO()
    start_study(Place(one, None, path, search=True, **options), Console(file=printed, width=150))
    return printed.getvalue()


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "study.json").read_text())["search"]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One search draws its figure, the module's."""
    monkeypatch.setattr(searches, "save_search_figure", lambda path, *_: path.touch())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A search that nothing interrupted, and what it printed."""
    path = tmp_path_factory.mktemp("search") / "whole"
    return path, start(path, searched())


def test_every_trial_is_kept_with_its_values(done: tuple[Path, str]) -> None:
    path, _ = done
    found = summary(path)
    tried = found["trials"]
    assert [one["number"] for one in tried] == list(range(12))
    assert all(1 <= one["values"]["memory.ipc"] <= 9 and 0.001 <= one["values"]["train.lr"] <= 1 for one in tried)
    assert {one["values"]["memory.downscale"] for one in tried} == {1, 2}
    assert all(one["error"] is None and one["same_as"] is None for one in tried)
    rows = {row["variant"]: float(row["accuracy"]) for row in table(path / "study.csv")}
    assert [one["accuracy"] for one in tried] == list(rows.values())  # one seed and one network each
    assert found["best"] == max(tried, key=lambda one: one["accuracy"])["number"]
    assert sum(found["importances"].values()) == pytest.approx(1)
    assert set(found["importances"]) == set(SPACE)
    assert {entry.name for entry in path.iterdir()} == FILES | {"best.yaml", "search.db"}
    drawn(path / "study.png")


def test_the_best_configuration_trains_on_all_images(done: tuple[Path, str]) -> None:
    path, printed = done
    best = summary(path)["trials"][summary(path)["best"]]
    config = load_config(str(path / "best.yaml"))
    assert config.stream.validation == 0
    assert {f"memory.{key}": getattr(config.memory, key) for key in ("ipc", "downscale")}.items() <= best[
        "values"
    ].items()
    assert config.train.lr == best["values"]["train.lr"]
    command = f"iid-cl distill digits --method random --config {path / 'best.yaml'} -o best.safetensors"
    assert f"  {command}\n  iid-cl evaluate best.safetensors --config {path / 'best.yaml'}\n" in printed
    assert f"Best: trial {best['number']}: memory.ipc {best['values']['memory.ipc']}," in printed


def test_the_report_shows_the_best_settings(done: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = done
    page = study_report(path, tmp_path).read_text()
    for text in (
        "The best settings",
        "All trials, best first",
        "iid-cl distill digits --method random",
        "data:image/png",
    ):
        assert text in page
    assert "What the variants set" not in page
    broken = tmp_path / "broken"
    broken.mkdir()
    told = json.loads((path / "study.json").read_text())
    (broken / "study.json").write_text(json.dumps({**told, "search": {**told["search"], "best": 99}}))
    with pytest.raises(UserError, match="broken: holds a damaged search"):
        study_report(broken)


@pytest.mark.parametrize("again", ["resume", "the same command"])
def test_an_interrupted_search_makes_the_same_trials(
    done: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    made: list[int] = []

    def make(config: Any, *rest: Any, **options: Any) -> Any:
        if len(made) == 2:
            raise Stopped(15)
        made.append(config.memory.ipc)
        return whole_memory(config, *rest, **options)

    whole_memory = runs.whole_memory
    monkeypatch.setattr(runs, "whole_memory", make)
    path, (whole, _) = tmp_path / "out", done
    with pytest.raises(Stopped):
        start(path, searched(trials=4))
    made.append(0)
    if again == "resume":
        resume_study(path, Console(file=io.StringIO()))
    else:
        start(path, searched(trials=4))
    values = [one["values"]["memory.ipc"] for one in summary(whole)["trials"][:4]]
    assert made == [*values[:2], 0, *values[2:]]  # none twice
    assert summary(path)["trials"] == summary(whole)["trials"][:4]


def test_more_trials_are_added(tmp_path: Path, done: tuple[Path, str]) -> None:
    """Ten draw at random; what the estimator draws later follows from the seed and the trials before, too."""
    start(tmp_path / "out", searched(trials=2))
    start(tmp_path / "out", searched())
    assert summary(tmp_path / "out")["trials"] == summary(done[0])["trials"]


def test_another_seed_makes_other_trials(tmp_path: Path, done: tuple[Path, str]) -> None:
    start(tmp_path / "out", searched({"seed": 1}, trials=2))
    values = [one["values"] for one in summary(tmp_path / "out")["trials"]]
    assert values != [one["values"] for one in summary(done[0])["trials"][:2]]


def test_no_trial_sees_a_test_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: tuple[Path, str]) -> None:
    """Judged on training images that are held out, and with other test images the search is the same."""
    judged = []

    def record(memory: Any, test: Any, *args: Any, **options: Any) -> Any:
        judged.append(test.images)
        return judge(memory, test, *args, **options)

    def other_test_images(*args: Any) -> Any:
        dataset = load_digits(*args)
        return replace(dataset, test=replace(dataset.test, images=255 - dataset.test.images))

    module, _, name = DATASETS["digits"].loader.partition(":")
    load_digits = getattr(import_module(module), name)
    whole = load_dataset(load_config(None, ["stream.dataset=digits"]).stream, None)
    monkeypatch.setattr(runs, "judge", record)
    monkeypatch.setattr(f"{module}.{name}", other_test_images)
    start(tmp_path / "out", searched(trials=2))
    assert [one["accuracy"] for one in summary(tmp_path / "out")["trials"]] == [
        one["accuracy"] for one in summary(done[0])["trials"][:2]
    ]
    train, test = ({image.tobytes() for image in part.images.numpy()} for part in (whole.train, whole.test))
    for images in judged:
        found = {image.tobytes() for image in images.numpy()}
        assert found <= train
        assert not found & (test - train)
    assert summary(tmp_path / "out")["held_out"] == 0.2


def test_values_that_do_not_fit_together_are_told_and_passed_over(tmp_path: Path) -> None:
    space = {"memory.method": ["random", "distilled"], "memory.soft_labels": [True, False]}
    keys = {"memory.method": "distilled", "distill.cc.network.depth": 1}
    printed = start(tmp_path / "out", searched(keys, search=space, trials=8))
    tried = summary(tmp_path / "out")["trials"]
    wrong = [one for one in tried if one["values"] == {"memory.method": "random", "memory.soft_labels": True}]
    assert wrong
    assert all("soft_labels" in one["error"] for one in wrong)
    assert [one["accuracy"] is None for one in tried] == [one in wrong for one in tried]
    again = [one for one in tried if one["same_as"] is not None]
    assert again  # four combinations, eight trials
    assert all(one["accuracy"] == tried[one["same_as"]]["accuracy"] for one in again)
    assert f"as trial {again[0]['same_as']}\n" in printed
    both = {"memory.soft_labels": [True], "memory.method": ["random"]}
    with pytest.raises(UserError, match=r"none of 1 trials fits; the last: .*soft_labels"):
        start(tmp_path / "none", searched(keys, search=both, trials=1))


def test_another_space_or_number_of_seeds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    start(path, searched(trials=1))
    other = {**SPACE, "memory.ipc": {"low": 2, "high": 9}}
    for one, said in (
        (searched(search=other), r"holds another study \(search\.memory\.ipc\.low: 1 there, 2 here\)"),
        (searched(seeds=2), r"holds another study \(seeds: 1 there, 2 here\)"),
    ):
        with pytest.raises(UserError, match=said):
            start(path, one)
    with pytest.raises(UserError, match="holds a search; choose another --out"):
        start_study(Place(searched(), None, path), Console(file=io.StringIO()))
    (path / "search.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"search\.db: cannot be read \(.*\); remove it"):
        start(path, searched(trials=1))


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({"search": {"stream.validation": [0.1]}}, "'stream.validation' decides what trials are judged on"),
        ({"search": {"seed": [1, 2]}}, "'seed' decides"),
        (
            {"search": {"memory.ipc": {"low": 5, "high": 5}}},
            r"search\.memory\.ipc: .*low \(5\) must lie below high \(5\)",
        ),
        ({"search": {"distill.lr": {"low": 0, "high": 1, "log": True}}}, "low must be positive"),
        ({"search": {"distill.lr": {"low": 0.1, "hihg": 1}}}, r"search\.distill\.lr\.h"),
        ({"search": {"distill.lr": 3}}, r"search\.distill\.lr: 3 is not accepted: it must hold keys"),
        ({"search": {"memory.icp": [1]}}, "study mini, search: unknown key 'memory.icp'; did you mean 'memory.ipc'"),
        ({"search": {"memory.ipc": {"low": 0, "high": 3}}}, r"study mini, search: memory\.ipc: 0 is not accepted"),
        ({"search": {"evaluate.network.depth": [1, 9]}}, r"^evaluate\.network\.depth: 9 "),
        ({"search": None}, "study mini: has no `search` section"),
        ({"variants": [], "search": None}, "a study has variants, a search, or both"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(
    tmp_path: Path, one: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        start(tmp_path / "out", searched(**one))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_optuna_and_kept_memories_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--keep: a search keeps no memories"):
        start(tmp_path / "out", searched(), keep_memories=True)
    monkeypatch.setattr("iid_cl.errors.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs optuna, which is not installed; run pip install 'iid-cl\[search\]'"):
        start(tmp_path / "out", searched())
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_a_search_alone_says_which_option(tmp_path: Path) -> None:
    alone = searched(variants=[])
    with pytest.raises(UserError, match="study mini: holds a search and no variants; add --search"):
        start_study(Place(alone, None, tmp_path / "out"), Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ([], " on cpu: a search of 12 trials, 1 seed."),
        (
            [{"name": "a"}],
            "With --search: 12 trials of memory.ipc, train.lr, memory.downscale; 12 memories.",
        ),
    ],
    ids=["alone", "with variants"],
)
def test_check_says_what_a_search_would_do(variants: list[dict[str, str]], said: str) -> None:
    printed = io.StringIO()
    check_study(searched(variants=variants), None, Console(file=printed, width=150), probe=False)
    assert said in printed.getvalue()


def test_resume_takes_the_folder_of_the_name(in_tmp_path: Path) -> None:
    place = Place(searched(trials=1), None, None, search=True)
    with pytest.raises(UserError, match=r"--resume: no study has begun in runs/mini-search"):
        place.again()
    start_study(place, Console(file=io.StringIO()))
    assert place.again().out == Path("runs/mini-search")
