"""A comparison at equal bytes, measured for the ledger: accuracies, and paired differences with their intervals.

    python -m benchmarks.comparison CONFIG --out DIR [--data DATA] [--set KEY=VALUE ...] [--seeds N] [--workers N]

CONFIG has a ``compare`` section whose first method is the memory in question. DIR keeps finished cells: the same
command goes on where it stopped. Writes ``results/NAME.json``, its cells as CSV and ``docs/images/NAME.png``. Each
worker has one thread. With ``--target`` the first method has to be level with every other one, and ahead by more than
the interval at up to 5 images per class.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import ledger
from iid_cl.compare.compare import compare
from iid_cl.compute.devices import resolve_device
from iid_cl.config.experiment import Config
from iid_cl.config.reading import load_config
from iid_cl.launch.jobs import Launch
from iid_cl.records.provenance import provenance
from iid_cl.report.statistics import interval, paired_difference

AHEAD_AT = [f"ipc {count}" for count in range(1, 6)]


def ledger_rows(cells: list[dict[str, Any]], target: bool) -> list[dict[str, Any]]:
    """A row per method, mode and budget, and one per difference of the first memory to another, in percent."""
    finals: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    weights: dict[tuple[str, str], dict[str, set[int]]] = {}
    for cell in cells:
        budget = " ".join(str(part) for item in (cell["budget"] or {}).items() for part in item)
        place = (cell["mode"] or "", budget)
        finals.setdefault(place, {}).setdefault(cell["label"], {})[cell["seed"]] = cell["result"]["final_accuracy"]
        weights.setdefault(place, {}).setdefault(cell["label"], set()).add(cell["result"]["memory_bytes"])
    seeds = sorted({cell["seed"] for cell in cells})
    shown = f"seeds {seeds[0]} to {seeds[-1]}"
    rows = []
    for (mode, budget), methods in finals.items():
        first = next(iter(methods))
        where = ", ".join(part for part in (mode.replace("_", " "), budget) if part)
        for label, values in methods.items():
            mean, half = interval(list(values.values()))
            common: dict[str, Any] = {"unit": "%", "seeds": shown, "mode": mode, "budget": budget, "label": label}
            weight = max(weights[mode, budget][label])
            name = f"{where}: {label}" if where else label
            rows.append({"name": name, "value": 100 * mean, **_half(half), "bytes": weight, **common})
            gain = paired_difference(methods[first], values) if label != first and mode else None
            if gain is not None:
                ahead = 100 * (gain[1] or 0.0) if budget in AHEAD_AT else 0.0
                goal = {"target": ahead, "better": "higher"} if target else {}
                name = f"{where}: {first} minus {label}"
                rows.append(
                    {"name": name, "value": 100 * gain[0], **_half(gain[1]), **common, **goal, "against": label}
                )
    return rows


def _half(value: float | None) -> dict[str, float]:
    return {} if value is None else {"ci95": 100 * value}


def main(config: Config, data: Path | None, out: Path, workers: int, target: bool, command: str) -> list[Any]:
    """Runs what is missing of the comparison and writes its rows and its figure."""
    start = time.perf_counter()
    path, failed = compare(config, data, out, Console(), Launch(workers=workers, threads=1))
    if failed:
        raise SystemExit(f"{len(failed)} cells failed; nothing was written")
    cells = json.loads((path / "results.json").read_text(encoding="utf-8"))["cells"]
    rows = ledger_rows(cells, target)
    origin = {**provenance(resolve_device(config.device)), "workers": workers}  # before files of the checkout change
    images = ledger.ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    shutil.copy(path / "comparison.png", images / f"{config.name}.png")
    ledger.RESULTS.mkdir(exist_ok=True)
    shutil.copy(path / "results.csv", ledger.RESULTS / f"{config.name}.csv")
    spent = max(time.perf_counter() - start, sum(cell["seconds"] for cell in cells) / workers)  # cells kept from before
    ledger.write(config.name, rows, origin, spent, command, module="comparison")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--target", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    overrides = [*given.set, *([] if given.seeds is None else [f"compare.seeds={given.seeds}"])]
    words = [given.config, "--out DIR", *(["--data DATA"] if given.data else []), f"--workers {given.workers}"]
    words += [f"--set {text}" for text in overrides] + (["--target"] if given.target else [])
    chosen = load_config(given.config, overrides)
    found = main(chosen, given.data, given.out, given.workers, given.target, " ".join(words))
    missing = ledger.missed(found)
    print("\n".join(missing) or "all targets reached")
    sys.exit(bool(missing))
