"""Studies that are interrupted go on where they stopped, with the rows of an uninterrupted one."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from iid_cl.errors import UserError
from iid_cl.memory.files import load_memory
from iid_cl.runs import whole
from iid_cl.studies import run as module
from iid_cl.studies import scatter as scatters
from iid_cl.studies.cases import dump_study, load_study, shipped_studies
from iid_cl.studies.directory import Place
from iid_cl.studies.resume import resume_study, start_study
from iid_cl.terminal.signals import Stopped
from tests.studies.helpers import FILES, SMALL, study, table

SECONDS = ("condense_seconds", "evaluate_seconds")
QUICK: dict[str, Any] = {"evaluate.epochs": 1, "evaluate.networks": 1, "memory.ipc": 1}
SWEPT = study(QUICK, seeds=2, sweep={"key": "distill.lr", "values": [1, 0.5]})  # eight memories
SCATTER = study(QUICK, scatter={"network": SMALL, "epochs": 1, "classes": 3, "real": 8})


class Killer:
    """Stands for the making of memories; at the ``last`` call the process is asked to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int | None = None) -> None:
        self.made: list[tuple[str, int, float]] = []
        self.last = last
        for where in (module, scatters):
            monkeypatch.setattr(where, "whole_memory", self)

    def __call__(self, config: Any, *rest: Any, **options: Any) -> Any:
        if len(self.made) == self.last:
            raise Stopped(15)
        self.made.append((config.memory.method, config.seed, config.distill.lr))
        return whole.whole_memory(config, *rest, **options)


def start(path: Path, one: Any = SWEPT, **options: Any) -> str:
    printed = io.StringIO()
    start_study(Place(one, None, path, **options), Console(file=printed, width=150))
    return printed.getvalue()


def resume(path: Path) -> str:
    printed = io.StringIO()
    resume_study(path, Console(file=printed, width=150))
    return printed.getvalue()


def stored(path: Path) -> dict[str, Any]:
    """All that a study stores, without seconds and its origin."""
    rows = [{key: value for key, value in row.items() if key not in SECONDS} for row in table(path / "study.csv")]
    summary = json.loads((path / "study.json").read_text())
    memories = {file.name: load_memory(file).images.tolist() for file in path.glob("memory-*.safetensors")}
    pictures = {file.name: file.read_bytes() for file in path.glob("*.png")}
    plain = [{key: value for key, value in row.items() if key not in SECONDS} for row in summary.get("rows", [])]
    return {"rows": rows, "study": summary["study"], "plain": plain, "memories": memories, "pictures": pictures}


@pytest.fixture(scope="module")
def whole_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing interrupted."""
    path = tmp_path_factory.mktemp("studies") / "whole"
    start(path, keep_memories=True)
    return path


@pytest.mark.parametrize("again", ["resume", "the same command"])
def test_a_killed_study_goes_on_with_what_is_left(
    whole_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    path = tmp_path / "out"
    killer = Killer(monkeypatch, last=3)
    with pytest.raises(Stopped):
        start(path, keep_memories=True)
    assert len(table(path / "study.csv")) == 3
    assert not (path / "study.json").exists()
    killer.last = None
    printed = resume(path) if again == "resume" else start(path, keep_memories=True)
    assert "8 memories, 3 of them finished before" in printed
    cells = [(m, s, x) for s in (0, 1) for m in ("random", "distilled") for x in (1, 0.5)]
    assert killer.made == cells  # each once
    assert stored(path) == stored(whole_study)
    assert len(stored(path)["memories"]) == 4  # of the first seed


def test_how_to_go_on_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Killer(monkeypatch, last=0)
    printed = io.StringIO()
    with pytest.raises(Stopped):
        start_study(Place(SWEPT, None, tmp_path / "out"), Console(file=printed, width=150))
    assert f"stopped; resume with: iid-cl resume {tmp_path / 'out'}\n" in printed.getvalue()


def test_a_finished_study_says_so_and_runs_nothing(whole_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(monkeypatch)
    before = {path: path.read_bytes() for path in whole_study.rglob("*") if path.is_file()}
    assert resume(whole_study).startswith(f"{whole_study}: is finished; ")
    assert {path: path.read_bytes() for path in whole_study.rglob("*") if path.is_file()} == before
    assert killer.made == []


def test_more_seeds_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(monkeypatch)
    one = study(QUICK, variants=[{"name": "random"}])
    start(tmp_path / "out", one)
    start(tmp_path / "out", one.model_copy(update={"seeds": 2}))
    assert [seed for _, seed, _ in killer.made] == [0, 1]
    assert [row["seed"] for row in table(tmp_path / "out" / "study.csv")] == ["0", "1"]


@pytest.mark.parametrize("damage", ["text", "rows", "memory", "missing"])
def test_a_damaged_cell_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    killer = Killer(monkeypatch)
    one = study(QUICK, variants=[{"name": "random"}])
    start(tmp_path / "out", one, keep_memories=True)
    before = stored(tmp_path / "out")
    (cell,), (memory,) = (tmp_path / "out/cells").iterdir(), (tmp_path / "out").glob("memory-*.safetensors")
    record = json.loads(cell.read_text())
    if damage == "text":
        cell.write_bytes(b"[" * 10**5)
    elif damage == "rows":
        cell.write_text(json.dumps({**record, "rows": [{**record["rows"][0], "accuracy": "0.5"}]}))
    elif damage == "memory":
        memory.write_bytes(b"other")
    else:
        memory.unlink()
    start(tmp_path / "out", one, keep_memories=True)
    assert len(killer.made) == 2
    assert stored(tmp_path / "out") == before


def test_another_study_is_refused_by_the_key(tmp_path: Path) -> None:
    one = study(QUICK, variants=[{"name": "random"}])
    start(tmp_path / "out", one)
    with pytest.raises(UserError, match=r"out: holds another study \(base\.memory\.ipc: 1 there, 2 here\)"):
        start(tmp_path / "out", study({**QUICK, "memory.ipc": 2}, variants=[{"name": "random"}]))


def test_data_that_have_changed_are_refused(tmp_path: Path) -> None:
    one = study(QUICK, variants=[{"name": "random"}])
    start(tmp_path / "out", one)
    (cell,) = (tmp_path / "out/cells").iterdir()
    cell.write_text(json.dumps({**json.loads(cell.read_text()), "data": "f" * 64}))
    with pytest.raises(UserError, match=r"0000-seed0\.json: ran on other data than the study's data set holds now"):
        start(tmp_path / "out", one)


def test_a_scatter_goes_on_with_the_variants_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path / "whole", SCATTER)
    killer = Killer(monkeypatch, last=1)
    with pytest.raises(Stopped):
        start(tmp_path / "out", SCATTER)
    killer.last = None
    assert "2 memories, 1 of them finished before" in resume(tmp_path / "out")
    assert [method for method, *_ in killer.made] == ["random", "distilled"]
    (tmp_path / "out" / "report.html").unlink()  # as if it had been interrupted before it
    assert "is finished" in resume(tmp_path / "out")
    for name in ("study.csv", "study.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.parametrize("name", shipped_studies())
def test_a_study_is_read_back_as_it_was_written(in_tmp_path: Path, name: str) -> None:
    shipped = load_study(name)
    Path("mine.yaml").write_text(dump_study(shipped))
    assert load_study("mine.yaml") == shipped
