"""Split digits, one image per class: distilled against herding, random and the bounds, in both modes.

python -m benchmarks.split_digits [--seeds 5]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import ledger
from iid_cl.compare.compare import compare
from iid_cl.compute.devices import resolve_device
from iid_cl.config.reading import load_config
from iid_cl.records.provenance import provenance

METHODS = ["none", "random", "herding", "distilled", "joint"]
MEMORIES = METHODS[1:4]  # the bounds don't depend on the mode
GAINS = {"memory_only": {"herding": 3.0, "random": 15.0}, "replay": {"herding": 0.0}}  # points to reach


def main(seeds: int = 5, overrides: tuple[str, ...] = (), name: str | None = "split_digits") -> list[dict[str, Any]]:
    """Runs both modes and writes ``results/NAME.json``; ``overrides`` shrink it for a test."""
    start = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for mode in ("memory_only", "replay"):
        wanted = METHODS if mode == "replay" else MEMORIES
        compared = [f"compare.methods=[{', '.join(wanted)}]", f"compare.seeds={seeds}"]
        config = load_config("split_digits.yaml", [f"train.mode={mode}", *compared, *overrides])
        with tempfile.TemporaryDirectory() as folder:
            out, _ = compare(config, None, Path(folder) / "out", Console())
            cells = json.loads((out / "results.json").read_text(encoding="utf-8"))["cells"]
        results = [cell["result"] for cell in cells]
        accuracy = {m: [100 * r["final_accuracy"] for r in results if r["method"] == m] for m in METHODS}
        label = mode.replace("_", " ")
        described = f"{seeds} seeds from {config.seed}"
        for method, values in accuracy.items():
            if values:
                goal = {"target": 92.0 if mode == "memory_only" else 90.0, "better": "higher"}
                target = goal if method == "distilled" else {}
                rows.append(ledger.row(f"{label}: {method}, final accuracy", values, "%", seeds=described, **target))
        for rival, target in GAINS[mode].items():
            gain = [a - b for a, b in zip(accuracy["distilled"], accuracy[rival], strict=True)]
            rows.append(
                ledger.row(
                    f"{label}: distilled minus {rival}", gain, "%", target=target, better="higher", seeds=described
                )
            )
    if name is not None:
        seconds = time.perf_counter() - start
        ledger.write(name, rows, provenance(resolve_device("cpu")), seconds, f"--seeds {seeds}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    missed = ledger.missed(main(parser.parse_args().seeds))
    print("\n".join(missed) or "all targets reached")
    sys.exit(bool(missed))
