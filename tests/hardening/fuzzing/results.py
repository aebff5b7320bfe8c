"""Cells of comparisons, and what ``iid-cl list`` reads."""

import contextlib
import io
import json
import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from iid_cl.budget import Budget
from iid_cl.compare.cell_files import read_cell, result_of
from iid_cl.config.experiment import Config
from iid_cl.config.grid import Cell, cells
from iid_cl.config.reading import dump_config, parse_config
from iid_cl.errors import is_printable
from iid_cl.files import MOST_BYTES
from iid_cl.records.cells import LARGEST_CELL
from iid_cl.report.comparison import Measured, comparison_table, summarise
from iid_cl.report.listing import list_runs
from iid_cl.terminal.screen import Screen
from tests.hardening.fuzzing.mutations import Refused, altered, damaged, endless
from tests.hardening.fuzzing.texts import mutated_yaml

RESULT = {
    "method": "random", "mode": "replay", "seed": 0, "class_order": [[0, 1], [2, 3]],
    "matrix": [[0.9, 0.0], [0.5, 0.8]],
    "final_accuracy": 0.65, "average_accuracy": 0.7, "forgetting": 0.4, "memory_images": 40, "memory_bytes": 2640,
    "condense_seconds": 0.1, "train_seconds": 1.5, "total_seconds": 2.0, "final_task_accuracy": 0.9,
    "backward_transfer": -0.4, "class_accuracies": [{"0": 0.9, "1": 0.9}],
    "network_matrices": [[[0.9, 0.0], [0.5, 0.8]]], "test_sizes": [10, 10], "updates": 100,
}  # fmt: skip


@cache
def _cell() -> Cell:
    return cells(parse_config({"compare": {"methods": ["random"], "seeds": 1}}, "cells"), (1, 8, 8), 4)[0]


def comparison_cells(random_: random.Random, folder: Path) -> Callable[[], object]:
    """A comparison's kept cell, changed; what is read again goes into the table."""
    cell = _cell()
    record: Any = {
        "label": cell.label, "mode": cell.mode, "budget": dict([(cell.budget or Budget(ipc=1)).pair]), "seed": 0,
        "digest": cell.digest, "host": "here", "threads": 1, "seconds": 2.5, "result": RESULT,
    }  # fmt: skip
    kind, file = random_.randrange(10), folder / f"{cell.name}.json"
    if kind == 0 and random_.random() < 0.1:
        file.write_bytes(endless(random_, LARGEST_CELL))
    elif kind == 0:
        file.write_bytes(random_.choice((b"[" * 100_000, b'{"result": ' * 5000, b"1" * 10_000, b"\xff\xfe", b"")))
    elif kind <= 3:
        file.write_bytes(damaged(random_, json.dumps(record).encode()))
    elif kind == 4:
        os.mkfifo(file)
    else:
        for _ in range(random_.choice((0, 1, 1, 2))):
            if isinstance(record, dict) and random_.random() < 0.8 and isinstance(record.get("result"), dict):
                record = {**record, "result": altered(random_, record["result"])}
            else:
                record = altered(random_, record)
        file.write_text(json.dumps(record))

    def read() -> None:
        found = read_cell(folder, cell)
        if found is None:
            raise Refused
        result = result_of(found)
        rows = summarise([Measured(cell.label, cell.mode, cell.budget, result)], None)
        Console(file=io.StringIO()).print(comparison_table(rows, None, {}, "cells"))
        json.dumps(found)

    return read


def listed_runs(random_: random.Random, folder: Path) -> Callable[[], object]:
    """The files of a run or a comparison, changed; damaged ones are listed as such."""
    run = folder / "run"
    run.mkdir()
    (run / "config.yaml").write_bytes(mutated_yaml(random_, dump_config(Config())))
    result: Any = {"results": [RESULT]}
    record: Any = {"method": "random", "accuracy_seen": 0.5, "memory_bytes": 660}
    row = {
        "label": "random",
        "mode": "replay",
        "budget": ["ipc", 5],
        "seeds": [0, 1],
        "final": [0.5, 0.1],
        "bytes": [1, 2],
    }
    kind = random_.randrange(4)
    name, value = (("run.json", result), ("metrics.jsonl", record), ("results.json", {"summary": [row]}))[min(kind, 2)]
    for _ in range(random_.choice((1, 1, 2))):
        value = altered(random_, value)
    text = json.dumps(value).encode()
    (run / name).write_bytes(damaged(random_, text) if random_.random() < 0.3 else text)
    if random_.random() < 1 / 80:
        (run / name).write_bytes(endless(random_, MOST_BYTES))

    def read() -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            list_runs(folder, Screen())
        assert is_printable(printed.getvalue().replace("\n", "")), "a control character got through"
        if "damaged" in printed.getvalue():
            raise Refused

    return read
