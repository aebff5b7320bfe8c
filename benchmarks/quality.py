"""A study, measured for the ledger: accuracies, paired differences with their intervals, targets.

    python -m benchmarks.quality STUDY [--data DATA] [--set KEY=VALUE ...] [--seeds N] [--name NAME]

STUDY is a shipped study or a file; DATA the folder of the data sets (of the images for image_folder). Writes
``results/NAME.json`` (NAME: the study's), its rows as CSV and ``docs/images/study-NAME.png``. Differences are taken
between networks of the same seed; intervals are Student's, at 95 %.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from scipy.stats import t as student

from benchmarks import ledger
from iid_cl.compute.devices import resolve_device
from iid_cl.config.reading import read_override
from iid_cl.records.provenance import provenance
from iid_cl.studies.cases import load_study
from iid_cl.studies.rows import Row
from iid_cl.studies.run import run_study

# Differences of interest per study: (better, worse, points it should win by or None).
DIFFERENCES: dict[str, list[tuple[str, str, float | None]]] = {
    "methods_cifar10": [
        ("DM", "herding", 4.0),
        ("DM", "random", 9.0),
        ("IDM", "DM", 7.0),
        ("IDM", "half-size real", 6.0),
        ("IDM + CC + CM", "DM", 7.0),
        ("IDM + CC + CM", "half-size real", 6.0),
        ("DM + CC + CM", "DM", None),
        ("IDM + CC + CM", "IDM", None),
        ("NCFM + CC + CM", "IDM + CC + CM", 0.0),
    ],
    "jpeg_cifar10": [("real as JPEG", "half-size real", None)],
    "soft_labels": [("soft labels", "hard labels", None)],
    "ablation": [("DM + CC", "DM", None), ("DM + CM", "DM", None), ("DM + CC + CM", "DM", None)],
}


def ledger_rows(study: str, rows: list[Row]) -> list[dict[str, Any]]:
    """A row per variant, value and architecture; per wished difference; per drop against the first architecture."""
    seeds = f"seeds {min(row.seed for row in rows)} to {max(row.seed for row in rows)}"
    architectures = list(dict.fromkeys(row.architecture for row in rows))
    found = []
    for variant, x, architecture in dict.fromkeys((row.variant, row.x, row.architecture) for row in rows):
        values = [100 * value for value in _paired(rows, variant, x, architecture).values()]
        at = "" if x is None else f" at {x:g}"
        on = f", {architecture}" if len(architectures) > 1 else ""
        found.append(ledger.row(f"{variant}{at}{on}", values, "%", seeds=seeds))
    wished = next((pairs for name, pairs in DIFFERENCES.items() if study.startswith(name)), [])
    for better, worse, target in wished:
        first, second = (_paired(rows, variant, None, architectures[0]) for variant in (better, worse))
        if first and second:
            gain = [100 * (first[key] - second[key]) for key in first]
            goal = {} if target is None else {"target": target, "better": "higher"}
            found.append(ledger.row(f"{better} minus {worse}", gain, "%", seeds=seeds, **interval(gain), **goal))
    for architecture in architectures[1:]:
        for variant in dict.fromkeys(row.variant for row in rows):
            own, other = (_paired(rows, variant, None, one) for one in (architectures[0], architecture))
            drop = [100 * (own[key] - other[key]) for key in own]
            name = f"{variant}: lost on {architecture}"
            found.append(ledger.row(name, drop, "%", seeds=seeds, **interval(drop)))
    return found


def interval(values: list[float]) -> dict[str, float]:
    """Half the width of the mean's 95 % interval (Student); nothing for a single value."""
    if len(values) < 2:
        return {}
    return {"ci95": float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5}


def _paired(rows: list[Row], variant: str, x: float | None, architecture: str) -> dict[int, float]:
    """Mean accuracy of each seed."""
    chosen = [row for row in rows if (row.variant, row.x, row.architecture) == (variant, x, architecture)]
    return {seed: mean(row.accuracy for row in chosen if row.seed == seed) for seed in {row.seed for row in chosen}}


def main(source: str, data: Path | None, overrides: list[str], seeds: int | None, name: str | None) -> list[Any]:
    """Runs the study and writes its rows and its figure."""
    start = time.perf_counter()
    study = load_study(source, map(read_override, overrides), seeds)
    name = name or study.name
    with tempfile.TemporaryDirectory() as folder:
        rows = run_study(study, data, Path(folder) / "study", Console())
        images = ledger.ROOT / "docs" / "images"
        images.mkdir(exist_ok=True)
        shutil.copy(Path(folder) / "study" / "study.png", images / f"study-{name}.png")
        ledger.RESULTS.mkdir(exist_ok=True)
        shutil.copy(Path(folder) / "study" / "study.csv", ledger.RESULTS / f"{name}.csv")
    found = ledger_rows(study.name, rows)
    shown = [source, *(["--data DATA"] if data else []), *(f"--set {text}" for text in overrides)]
    shown += [f"--seeds {study.seeds}"]
    origin = provenance(resolve_device(str(study.base.get("device", "auto"))))
    ledger.write(name, found, origin, time.perf_counter() - start, " ".join(shown), module="quality")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--name")
    arguments = parser.parse_args()
    measured = main(arguments.study, arguments.data, arguments.set, arguments.seeds, arguments.name)
    missed = ledger.missed(measured)
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
