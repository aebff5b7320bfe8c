"""Avalanche's loggers on a run; nothing leaves the machine."""

import csv
import json
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from iid_cl.config.reading import parse_config
from iid_cl.errors import UserError
from iid_cl.runs.loggers import _keep_last, check_loggers
from iid_cl.runs.run import run
from tests.runs.helpers import miniature
from tests.runs.test_resume import Killer, always, timeless

FROM_OTHERS = [
    "ignore:.*tensorboard.*:DeprecationWarning",
    "ignore:.*:DeprecationWarning:wandb.*",
    "ignore:.*:DeprecationWarning:google.*",
]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects beyond this machine hears that there is no network."""
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError("no network here")
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def results(folder: Path) -> list[dict[str, Any]]:
    found = json.loads((folder / "run.json").read_text())["results"]
    return [{k: v for k, v in result.items() if not k.endswith("seconds")} for result in found]


def test_without_loggers_nothing_is_logged(in_tmp_path: Path) -> None:
    folder = run(miniature(), None, None, Console(quiet=True))
    assert not {"tensorboard", "csv", "wandb"} & {path.name for path in folder.iterdir()}
    assert miniature().loggers == []


def test_loggers_change_no_result(in_tmp_path: Path) -> None:
    plain = run(miniature(baselines=["none"]), None, Path("plain"), Console(quiet=True))
    logged = run(miniature(baselines=["none"], loggers=["csv", "tensorboard"]), None, Path("log"), Console(quiet=True))
    assert results(plain) == results(logged)
    assert {path.name for path in (logged / "csv").iterdir()} == {"distilled", "none"}
    assert {path.name for path in (logged / "tensorboard").iterdir()} == {"distilled", "none"}
    events = [path.name for path in (logged / "tensorboard").rglob("events.out.tfevents.*")]
    assert len(events) == 2
    assert all(".host." in name and socket.gethostname() not in name for name in events)


def test_csv_holds_training_evaluation_and_distillation(in_tmp_path: Path) -> None:
    folder = run(miniature(loggers=["csv"]), None, None, Console(quiet=True))
    (result,) = results(folder)
    head, *rows = table(folder / "csv/distilled/eval_results.csv")
    assert head == ["eval_exp", "training_exp", "eval_accuracy", "eval_loss", "forgetting"]
    found = {(int(row[1]), int(row[0])): float(row[2]) for row in rows}
    expected = {(i, j): value for i, row in enumerate(result["matrix"]) for j, value in enumerate(row)}
    assert found == pytest.approx(expected, abs=1e-4)
    head, *rows = table(folder / "csv/distilled/training_results.csv")
    assert [(row[0], row[1]) for row in rows] == [(str(exp), str(epoch)) for exp in (0, 1) for epoch in (0, 1)]
    assert all(0 < float(row[2]) <= 1 and float(row[4]) > 0 for row in rows)
    head, *rows = table(folder / "csv/distilled/distillation.csv")
    assert head == ["training_exp", "iteration", "loss", "value"]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (str(exp), str(i), "match") for exp in (0, 1) for i in (1, 2, 3)
    ]


@pytest.mark.filterwarnings(*FROM_OTHERS)
def test_tensorboard_holds_curves_and_pictures(in_tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = miniature(loggers=["tensorboard"], train={"mode": "memory_only", "networks": 2})
    folder = run(config, None, None, Console(quiet=True))
    found = EventAccumulator(str(folder / "tensorboard/distilled"))
    found.Reload()
    scalars = found.Tags()["scalars"]
    for experience in range(2):
        curve = found.Scalars(f"Distillation/match/Exp{experience:03d}")
        assert [event.step for event in curve] == [1, 2, 3]
        assert f"Top1_Acc_Exp/eval_phase/test_stream/Exp{experience:03d}" in scalars
    assert [event.value for event in found.Scalars("Memory_bytes")] == [132, 264]
    assert len(found.Images("Memory")) == 2
    assert found.Images("Memory")[1].encoded_image_string.startswith(b"\x89PNG")


@pytest.mark.filterwarnings(*FROM_OTHERS)
def test_wandb_works_offline(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = run(miniature(loggers=["wandb"]), None, None, Console(quiet=True))
    (kept,) = (folder / "wandb").glob("offline-run-*")
    assert list(kept.glob("*.wandb"))
    assert len(list(kept.glob("files/media/images/Memory_*.png"))) == 2
    tables = sorted(kept.glob("files/media/table/Distillation/*.json"))
    assert [path.name[:6] for path in tables] == ["Exp000", "Exp001"]
    rows = json.loads(tables[0].read_text())["data"]
    assert [row[0] for row in rows] == [1, 2, 3]
    assert not list(in_tmp_path.glob("wandb"))


def test_wandb_without_a_login_is_a_mistake(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(in_tmp_path / "netrc"))
    monkeypatch.setattr(Path, "home", lambda: in_tmp_path)
    monkeypatch.setenv("HOME", str(in_tmp_path))
    with pytest.raises(UserError, match="loggers: 'wandb' has no login here; run `wandb login`"):
        run(miniature(loggers=["wandb"]), None, None, Console(quiet=True))
    assert list(in_tmp_path.iterdir()) == []
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    check_loggers(miniature(loggers=["wandb"]))


def test_a_run_that_goes_on_keeps_its_rows(in_tmp_path: Path) -> None:
    from iid_cl.runs.loggers import Loggers

    folder = run(miniature(loggers=["csv"]), None, None, Console(quiet=True))
    before = {path.name: path.read_text() for path in (folder / "csv/distilled").iterdir()}
    with Loggers(miniature(loggers=["csv"]), "distilled", folder, ["0"]):
        pass
    assert {path.name: path.read_text() for path in (folder / "csv/distilled").iterdir()} == before


def test_of_rows_measured_twice_the_later_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("exp,epoch,accuracy\n0,0,0.1\n0,1,0.2\n0,1,0.3\n1,0,0.4\n")
    _keep_last(file, 2)
    assert file.read_text() == "exp,epoch,accuracy\n0,0,0.1\n0,1,0.3\n1,0,0.4\n"


def test_an_unknown_logger_is_a_mistake() -> None:
    with pytest.raises(UserError, match="loggers"):
        parse_config({"loggers": ["mlflow"]}, "mine.yaml")


def test_cells_of_a_comparison_do_not_depend_on_them() -> None:
    from iid_cl.config.grid import cells

    plain, logged = (cells(miniature(loggers=names), (1, 8, 8), 4) for names in ([], ["csv"]))
    assert [cell.digest for cell in plain] == [cell.digest for cell in logged]
    assert all(cell.config.loggers == [] for cell in logged)
    assert asdict(plain[0])["label"] == "none"


def test_a_run_killed_at_any_save_logs_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(monkeypatch)
    config = always(loggers=["csv", "tensorboard"], baselines=["random"])
    assert not killer(config, tmp_path / "whole")
    whole, saves = logged(tmp_path / "whole"), killer.saves
    for kill_at in sorted({1, (1 + saves) // 2, saves}):
        path = tmp_path / str(kill_at)
        assert killer(config, path, kill_at)
        while killer(config, path, kill_at=max(2, saves // 3)):
            pass
        assert timeless(path) == timeless(tmp_path / "whole")
        assert logged(path) == whole


def logged(folder: Path) -> dict[str, Any]:
    """What CSV files hold, but for means over an epoch or a stream that was interrupted: which rows, accuracies."""
    found: dict[str, Any] = {}
    for method in ("distilled", "random"):
        files = folder / "csv" / method
        found[method] = (
            sorted((row[1], row[0], row[2]) for row in table(files / "eval_results.csv")),
            sorted(row[:2] for row in table(files / "training_results.csv")),
            sorted(table(files / "distillation.csv")),
        )
    return found
