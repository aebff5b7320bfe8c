"""Whole comparisons in miniature: what they keep, going on where one stopped, and the same numbers everywhere."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import iid_cl
from iid_cl.compare import compare as module
from iid_cl.compare import results
from iid_cl.compare.cell import Outcome, run_cell
from iid_cl.compare.cell_files import read_cell
from iid_cl.compare.compare import compare
from iid_cl.compare.results import Summary, remarks
from iid_cl.config.experiment import Config
from iid_cl.config.grid import Cell, cells
from iid_cl.config.reading import load_config
from iid_cl.errors import UserError
from iid_cl.launch import on_slurm
from iid_cl.launch.jobs import Launch
from iid_cl.memory.files import load_memory
from iid_cl.nets import build_network
from iid_cl.records.cells import other_data
from iid_cl.report.collect import collect
from iid_cl.report.comparison import unequal_bytes
from iid_cl.report.overview import facts
from iid_cl.report.statistics import interval, paired_difference, percent_interval
from iid_cl.terminal.screen import in_seconds
from tests.runs.helpers import BYTES_PER_IMAGE, image_folder, miniature

METHODS = ["none", "random", "herding", "distilled"]


class Compared:
    """A comparison: its directory, the cells that failed, and what was printed."""

    def __init__(self, out: Path, config: Config, how: Launch | None = None) -> None:
        printed = io.StringIO()
        self.config = config
        self.path, self.failed = compare(config, None, out, Console(file=printed, width=120), how)
        self.printed = printed.getvalue()

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.path / "results.json").read_text())

    @property
    def results(self) -> list[dict[str, Any]]:
        return [cell["result"] for cell in self.summary["cells"]]

    def finals(self, label: str) -> dict[int, float]:
        return {
            cell["seed"]: cell["result"]["final_accuracy"] for cell in self.summary["cells"] if cell["label"] == label
        }

    def numbers(self) -> dict[str, Any]:
        """All that does not depend on the clock or the machine, memories included."""
        timed = ("condense_seconds", "train_seconds", "total_seconds")
        found: dict[str, Any] = {}
        for path in sorted((self.path / "cells").iterdir()):
            if path.suffix == ".json":
                result = json.loads(path.read_text())["result"]
                found[path.name] = {key: value for key, value in result.items() if key not in timed}
            else:
                found[path.name] = path.read_bytes()
        return found


def quick(**changes: Any) -> Config:
    """A comparison of two cells; ``changes`` of its section."""
    section = {"methods": ["none", "random"], "seeds": 1, **changes.pop("compare", {})}
    return miniature(train={"epochs": 1, **changes.pop("train", {})}, compare=section, **changes)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Three memories and no memory, two seeds, random class orders."""
    config = quick(stream={"classes": None, "experiences": 5}, seed=4, compare={"methods": METHODS, "seeds": 2})
    return Compared(tmp_path_factory.mktemp("runs") / "compared", config)


def test_each_method_runs_with_each_seed(compared: Compared) -> None:
    assert [(r["method"], r["seed"]) for r in compared.results] == [(m, s) for s in (4, 5) for m in METHODS]
    assert compared.failed == []


def test_one_class_order_per_seed(compared: Compared) -> None:
    for result in compared.results:
        permutation = np.random.RandomState(result["seed"]).permutation(10).tolist()
        assert result["class_order"] == [permutation[i : i + 2] for i in range(0, 10, 2)]


def test_the_same_weights_at_the_start(compared: Compared) -> None:
    # until the first memory is replayed, all methods do the same
    for seed in (4, 5):
        assert len({r["matrix"][0][0] for r in compared.results if r["seed"] == seed}) == 1


def test_initial_weights_follow_the_seed_and_not_the_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(*args: Any, **kwargs: Any) -> torch.nn.Module:
        network = build_network(*args, **kwargs)
        built.append(torch.cat([parameter.detach().flatten().clone() for parameter in network.parameters()]))
        return network

    monkeypatch.setattr("iid_cl.runs.learners.build_network", build)
    Compared(tmp_path / "run", quick(compare={"seeds": 2}))
    assert len(built) == 4  # both methods with seed 0, then with seed 1
    assert torch.equal(built[0], built[1])
    assert torch.equal(built[2], built[3])
    assert not torch.equal(built[0], built[2])


def test_equal_bytes_and_updates(compared: Compared) -> None:
    for result in compared.results:
        assert result["memory_bytes"] == (0 if result["method"] == "none" else 10 * BYTES_PER_IMAGE)
    # about 270 images an experience in batches of 64: 5 a pass, 5 experiences
    assert {r["updates"] for r in compared.results} <= set(range(20, 31))
    assert len({r["updates"] for r in compared.results if r["seed"] == 4}) == 1
    assert "not equal" not in compared.printed


def test_each_memory_is_kept_with_its_picture(compared: Compared) -> None:
    for method in METHODS[1:]:
        for seed in (4, 5):
            stem = compared.path / "cells" / f"{method}-replay-ipc1-seed{seed}"
            metadata = load_memory(stem.with_suffix(".safetensors")).metadata
            assert (metadata["method"], metadata["seed"]) == (method, seed)
            with Image.open(stem.with_suffix(".png")) as picture:
                picture.load()
    assert len(list((compared.path / "cells").glob("*[0-9].safetensors"))) == 6


def test_the_table_has_mean_interval_and_paired_difference(compared: Compared) -> None:
    for method in METHODS:
        finals = compared.finals(method)
        (row,) = re.findall(rf"^ *{method} +\d.*", compared.printed, re.MULTILINE)
        cells = [cell.strip() for cell in re.split(r" {2,}", row.strip())]
        assert cells[1] == percent_interval(interval(list(finals.values())))
        compares = method not in ("none", "herding")
        difference = paired_difference(finals, compared.finals("herding")) if compares else None
        assert cells[2] == percent_interval(difference, signed=True)


def test_the_csv_has_a_line_per_cell(compared: Compared) -> None:
    rows = list(csv.DictReader((compared.path / "results.csv").read_text().splitlines()))
    found = [(r["label"], r["mode"], r["budget_kind"], r["budget"], r["seed"]) for r in rows]
    where = {m: ("", "", "") if m == "none" else ("replay", "ipc", "1") for m in METHODS}
    assert found == [(m, *where[m], str(s)) for s in (4, 5) for m in METHODS]
    for row, result in zip(rows, compared.results, strict=True):
        assert float(row["final_accuracy"]) == result["final_accuracy"]


def test_everything_is_there(compared: Compared) -> None:
    names = {"cells", "comparison.png", "config.yaml", "log.txt", "results.csv", "results.json", ".lock"}
    assert {path.name for path in compared.path.iterdir()} == names
    assert load_config(str(compared.path / "config.yaml")) == compared.config
    assert {"command", "commit", "versions", "machine", "device", "baseline", "summary"} <= set(compared.summary)
    began = min(json.loads(cell.read_text())["started"] for cell in (compared.path / "cells").glob("*.json"))
    assert compared.summary["started"] == began
    told = facts(collect([compared.path]))
    assert told["began"] == f"{began[:10]} {began[11:19]} UTC"
    assert told["took"] == in_seconds(sum(result["total_seconds"] for result in compared.results))
    log = (compared.path / "log.txt").read_text()
    assert "\x1b" not in log
    assert "95 % confidence interval" in log
    assert len(re.findall(r"^[a-z0-9-]+: \d+\.\d %", log, re.MULTILINE)) == 8


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int, int]]:
    """Method, mode, images per class and seed of every cell that runs."""
    seen: list[tuple[str, str, int, int]] = []

    def recorded(config: str, data_root: Path | None, record: bool) -> Outcome:
        c = Config.model_validate_json(config)
        seen.append((c.memory.method, c.train.mode, c.memory.ipc, c.seed))
        return run_cell(config, data_root, record)

    monkeypatch.setattr(module, "run_cell", recorded)
    return seen


def test_a_finished_cell_is_never_repeated(tmp_path: Path, ran: list[Any]) -> None:
    first = Compared(tmp_path / "run", quick())
    assert len(ran) == 2
    before = first.numbers()
    again = Compared(tmp_path / "run", quick())
    assert len(ran) == 2
    assert again.numbers() == before
    assert "2 of them finished before" in again.printed
    assert re.search(r"^ *random +\d", again.printed, re.MULTILINE)


def test_more_seeds_methods_budgets_and_modes_add_cells(tmp_path: Path, ran: list[Any]) -> None:
    Compared(tmp_path / "run", quick())
    ran.clear()
    more = {
        "methods": ["none", "random", "herding"],
        "modes": ["replay", "memory_only"],
        "budgets": {"ipc": [1, 2]},
        "seeds": 2,
    }
    Compared(tmp_path / "run", quick(compare=more))
    cells = [(m, mode, ipc, s) for m in more["methods"][1:] for mode in more["modes"] for ipc in (1, 2) for s in (0, 1)]
    cells.remove(("random", "replay", 1, 0))
    assert sorted(cell for cell in ran if cell[0] != "none") == sorted(cells)
    assert [cell[3] for cell in ran if cell[0] == "none"] == [1]


def test_an_interrupted_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[Any]) -> None:
    recorded = module.run_cell

    def interrupted(config: str, data_root: Path | None, record: bool) -> Outcome:
        if '"seed":1' in config:
            raise KeyboardInterrupt
        return recorded(config, data_root, record)

    monkeypatch.setattr(module, "run_cell", interrupted)
    config = quick(compare={"seeds": 2})
    with pytest.raises(KeyboardInterrupt):
        Compared(tmp_path / "run", config)
    monkeypatch.setattr(module, "run_cell", recorded)
    done = Compared(tmp_path / "run", config)
    assert sorted((cell[0], cell[3]) for cell in ran) == [("none", 0), ("none", 1), ("random", 0), ("random", 1)]
    assert done.numbers() == Compared(tmp_path / "whole", config).numbers()


def test_a_damaged_cell_runs_again(tmp_path: Path, ran: list[Any]) -> None:
    first = Compared(tmp_path / "run", quick())
    before = first.numbers()
    (first.path / "cells" / "random-replay-ipc1-seed0.json").write_text('{"label": "ran')
    assert Compared(tmp_path / "run", quick()).numbers() == before
    assert [cell[0] for cell in ran] == ["none", "random", "random"]


def test_a_method_that_changed_runs_again(tmp_path: Path, ran: list[Any]) -> None:
    for iterations in (2, 3):
        own = {"name": "mine", "set": {"distill.iterations": iterations}}
        Compared(tmp_path / "run", quick(compare={"methods": ["random", own]}))
    assert [cell[0] for cell in ran] == ["random", "distilled", "distilled"]


def test_a_failed_cell_is_reported_while_others_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(config: str, data_root: Path | None, record: bool) -> Outcome:
        if Config.model_validate_json(config).memory.method == "random":
            raise RuntimeError("out of\npatience")
        return run_cell(config, data_root, record)

    monkeypatch.setattr(module, "run_cell", failing)
    config = quick(compare={"methods": ["random", "herding"]})
    broken = Compared(tmp_path / "run", config)
    name = "random-replay-ipc1-seed0"
    assert broken.failed == [name]
    assert f"{name} failed: RuntimeError: out of patience\n" in broken.printed
    assert "1 cell failed" in broken.printed
    assert re.search(r"^ *herding +\d", broken.printed, re.MULTILINE)
    error = broken.path / "cells" / f"{name}.error.txt"
    assert error.read_text() == "RuntimeError: out of patience\n"
    assert "Traceback" in (broken.path / "log.txt").read_text()
    monkeypatch.setattr(module, "run_cell", run_cell)
    assert Compared(tmp_path / "run", config).failed == []
    assert not error.exists()


def test_the_directory_of_another_comparison_is_refused(tmp_path: Path) -> None:
    Compared(tmp_path / "run", quick(compare={"methods": ["none"]}))
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"run: holds another comparison \(train\.lr: 0\.01 there, 0\.5 here\)"):
        Compared(tmp_path / "run", quick(train={"lr": 0.5}))
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_too_few_bytes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "unequal_bytes", lambda rows, _: unequal_bytes(rows, lambda budget: 100))
    printed = Compared(tmp_path / "run", quick()).printed
    assert "* not equal bytes (replay, ipc 1): random 264 bytes where the budget allows 100\n" in printed
    assert re.search(r"random .* 264\* ", printed)


def test_memories_of_many_decoded_images_train_as_long_as_others(tmp_path: Path) -> None:
    config = quick(
        memory={"ipc": 5},
        train={"mode": "memory_only", "memory_epochs": 3, "batch_size": 8, "augment": False},
        compare={"methods": ["random", "distilled", "distilled_half"]},
    )
    done = Compared(tmp_path / "run", config)
    # four classes of five images: three batches of eight in a pass, three passes, two experiences
    assert [result["updates"] for result in done.results] == [18, 18, 18]
    assert [result["memory_images"] for result in done.results] == [20, 20, 80]
    assert "not equal" not in done.printed


@pytest.mark.usefixtures("forked_workers")
def test_local_workers_have_identical_numbers_even_when_one_is_lost(tmp_path: Path) -> None:
    config = quick(compare={"methods": ["random", "distilled"]})
    assert_identical_with_a_loss(tmp_path, config, Launch(workers=2, threads=1))


# Ray's own: sockets and a log file left to the garbage collector, and settings that will change
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ray_has_identical_numbers_even_when_a_worker_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # at Ray's 15 the tests beside this one leave it no time
    config = quick(compare={"methods": ["random", "distilled"]})
    assert_identical_with_a_loss(tmp_path, config, Launch("ray", workers=2, threads=1))


# submitit's own: log files left to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_slurm_has_identical_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost jobs are tried in tests/launch/test_on_slurm.py: here each would import all of PyTorch once more."""
    pytest.importorskip("submitit")
    monkeypatch.setattr(on_slurm, "CLUSTER", "local")  # its executor for this machine writes and starts the same
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]))
    config = quick(compare={"methods": ["distilled"]})
    there = Compared(tmp_path / "there", config, Launch("slurm", workers=2, threads=1))
    assert there.failed == []
    assert there.numbers() == Compared(tmp_path / "here", config, Launch(threads=1)).numbers()
    assert not list(there.path.glob("slurm-*"))


def assert_identical_with_a_loss(tmp_path: Path, config: Config, how: Launch) -> None:
    here = Compared(tmp_path / "here", config, Launch(threads=1))
    killed = tmp_path / "killed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_cell", run_cell_at_second_attempt)
        killed.mkdir()
        printed = io.StringIO()
        path, failed = compare(config, killed, tmp_path / "there", Console(file=printed, width=120), how)
    assert failed == []
    there = Compared(path, config)  # reads what is there
    assert [marker.name for marker in killed.iterdir()] == ["distilled"]
    lines = re.findall(r"^(\w+)-replay-ipc1-seed0: \d", printed.getvalue(), re.MULTILINE)
    assert sorted(lines) == ["distilled", "random"]  # each once
    assert there.numbers() == here.numbers()


def run_cell_at_second_attempt(config: str, folder: Path, record: bool) -> Outcome:
    """A distilled cell kills its worker the first time; digits need no folder of data, so it leaves a mark there."""
    method = Config.model_validate_json(config).memory.method
    if method == "distilled" and not (folder / method).exists():
        (folder / method).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_cell(config, folder, record)


RESULT = {
    "method": "random", "mode": "replay", "seed": 0, "class_order": [[0]], "matrix": [[0.5]], "final_accuracy": 0.5,
    "average_accuracy": 0.5, "forgetting": None, "memory_images": 1, "memory_bytes": 66, "condense_seconds": 0.1,
    "train_seconds": 0.1, "total_seconds": 0.2,
}  # fmt: skip
RECORD = {
    "label": "random",
    "mode": "replay",
    "budget": {"ipc": 10},
    "seed": 0,
    "host": "x",
    "threads": 1,
    "seconds": 1,
}


@pytest.fixture
def one_cell() -> Cell:
    """The only one of a comparison."""
    return cells(load_config(None, ["compare.methods=[random]", "compare.seeds=1"]), (1, 8, 8), 10)[0]


def keep(folder: Path, cell: Cell, **changes: Any) -> None:
    """Writes the cell's file; None leaves a key out."""
    record = {**RECORD, "digest": cell.digest, "result": RESULT, **changes}
    record = {key: value for key, value in record.items() if value is not None}
    (folder / f"{cell.name}.json").write_text(json.dumps(record))


def test_a_kept_cell_is_read_with_all_of_its_result(tmp_path: Path, one_cell: Cell) -> None:
    """An older file lacks what has a default."""
    keep(tmp_path, one_cell)
    found = read_cell(tmp_path, one_cell)
    assert found is not None
    assert found["result"] == {
        **RESULT,
        "final_task_accuracy": None,
        "backward_transfer": None,
        "class_accuracies": [],
        "network_matrices": [],
        "test_sizes": [],
        "updates": 0,
        "choice": None,
    }
    assert (found["data"], found["versions"], found["memory_sha256"]) == (None, None, None)
    assert read_cell(tmp_path, one_cell, "a fingerprint") is None  # nobody knows what it ran on


def test_a_cell_of_other_data_has_not_run(tmp_path: Path, one_cell: Cell) -> None:
    keep(tmp_path, one_cell, data="a")
    assert read_cell(tmp_path, one_cell, "a") is not None
    assert read_cell(tmp_path, one_cell, "b") is None
    for name in ("damaged", "old"):
        (tmp_path / f"{name}.json").write_text("{" if name == "damaged" else "{}")
    files = sorted(tmp_path.glob("*.json"))
    assert other_data(dict.fromkeys(files, "a")) is None
    assert other_data(dict.fromkeys(files, "b")) == tmp_path / f"{one_cell.name}.json"


def test_a_cell_whose_memory_was_changed_has_not_run(tmp_path: Path, one_cell: Cell) -> None:
    memory = tmp_path / f"{one_cell.name}.safetensors"
    memory.write_bytes(b"images")
    keep(tmp_path, one_cell, memory_sha256=hashlib.sha256(b"images").hexdigest())
    assert read_cell(tmp_path, one_cell) is not None
    memory.write_bytes(b"imagez")
    assert read_cell(tmp_path, one_cell) is None


def test_the_versions_of_the_cells_are_said(one_cell: Cell) -> None:
    def said(*versions: Any) -> list[str]:
        cells = [(one_cell, {"versions": version}) for version in versions]
        return remarks(Summary(one_cell.config, None, cells, [], {}), {})

    old, new = {"torch": "2.11.0", "iid-cl": "0.1.0"}, {"torch": "2.14.1", "iid-cl": "0.1.0"}
    assert said(new, new) == ["measured with torch 2.14.1, iid-cl 0.1.0"]
    assert said(new, old, new, None) == [
        "note: the cells ran on different versions: torch 2.14.1, iid-cl 0.1.0 (2 cells); torch 2.11.0, iid-cl 0.1.0 "
        "(1 cell); unknown versions (1 cell)"
    ]
    assert said() == []


def test_a_comparison_of_other_data_is_refused(in_tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        image_folder(Path(name), seed)
    stream = {"dataset": "image_folder", "classes": None, "experiences": 1}

    def compared(root: str, seeds: int) -> str:
        config = quick(stream=stream, compare={"methods": ["random"], "seeds": seeds})
        printed = io.StringIO()
        compare(config, Path(root), Path("out"), Console(file=printed, width=120))
        return printed.getvalue()

    versions = f"measured with torch {torch.__version__}, iid-cl {iid_cl.__version__}\n"
    assert versions in compared("a", 1)
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"out/cells/random-replay-ipc1-seed0\.json: ran on other data than 'image"):
        compared("b", 2)
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before
    assert "1 of them finished before" in compared("a", 2)


def test_a_comparison_that_was_killed_before_it_began_begins_again(tmp_path: Path) -> None:
    for name in (".lock", "log.txt", ".config.yaml.7.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "cells").mkdir()
    assert Compared(tmp_path, quick(compare={"methods": ["none"]})).failed == []
    assert not (tmp_path / ".config.yaml.7.tmp").exists()


def test_a_full_disk_says_how_a_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_results", full)
    with pytest.raises(UserError, match="out: the disk is full; free some space, then give the same command"):
        Compared(tmp_path / "out", quick(compare={"methods": ["none"]}))


@pytest.mark.parametrize(
    "content",
    [b"[" * 10**5, b"\xff\xfe", b"5", b"9" * 5000, b"", b"{}", b"null"],
    ids=["deep", "no text", "number", "digits", "empty", "no keys", "nothing"],
)
def test_a_damaged_cell_has_not_run(tmp_path: Path, one_cell: Cell, content: bytes) -> None:
    (tmp_path / f"{one_cell.name}.json").write_bytes(content)
    assert read_cell(tmp_path, one_cell) is None


@pytest.mark.parametrize(
    "change",
    [
        {"host": 5},
        {"seconds": "1 s"},
        {"seconds": float("nan")},
        {"result": {**RESULT, "final_accuracy": float("inf")}},
        {"result": {**RESULT, "memory_bytes": 10**30}},
        {"result": {**RESULT, "matrix": [[None]]}},
        {"result": [RESULT]},
        {"digest": "another"},
        *({key: None} for key in (*RECORD, "digest", "result")),
    ],
    ids=str,
)
def test_a_cell_with_useless_values_has_not_run(tmp_path: Path, one_cell: Cell, change: dict[str, Any]) -> None:
    keep(tmp_path, one_cell, **change)
    assert read_cell(tmp_path, one_cell) is None


def test_a_pipe_in_place_of_a_cell_has_not_run(tmp_path: Path, one_cell: Cell) -> None:
    os.mkfifo(tmp_path / f"{one_cell.name}.json")
    assert read_cell(tmp_path, one_cell) is None


def test_cells_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cells").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "config.yaml").write_text("")
    with pytest.raises(UserError, match="cells: is a link"):
        compare(miniature(), None, tmp_path / "out", Console(file=io.StringIO()))
    assert not list((tmp_path / "elsewhere").iterdir())
