"""SHA-256 digests of memories and metrics of many short runs: a refactoring that changes no byte leaves them equal.

``python -m benchmarks.digests --write`` records them, ``python -m benchmarks.digests`` compares. Only the command line
and ``iid_cl.strategies``' public names are used, so that modules may move. MNIST is used where ``--mnist`` names its
folder. Digests belong to one make of processor and one version of PyTorch.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

FILE = Path(__file__).with_name("digests.json")
NET = {"width": 8, "depth": 2}
TIMES = {"condense_seconds", "train_seconds", "total_seconds", "seconds", "evaluate_seconds", "host"}


def base(**changes: Any) -> dict[str, Any]:
    """A run of a second on four digits."""
    values: dict[str, Any] = {
        "name": "mini",
        "stream": {"dataset": "digits", "classes": [[3, 1], [0, 7]]},
        "model": NET,
        "train": {"epochs": 2, "memory_epochs": 3, "batch_size": 64},
        "memory": {"method": "distilled", "ipc": 2},
        "distill": {
            "iterations": 4,
            "real_batch": 8,
            "embedder": NET,
            "cc": {"network": NET, "trainings": 1, "epochs": 1, "snapshots": 1},
        },
        "device": "cpu",
    }
    for key, change in changes.items():
        values[key] = {**values.get(key, {}), **change} if isinstance(change, dict) else change
    return values


ALL = ["distilled", "random", "herding", "k_centre", "closest", "hybrid", "none", "cumulative"]
MNIST = {"dataset": "mnist", "classes": [[3, 1], [0, 7]], "train_limit": 40, "test_limit": 20}
DEEP = {"width": 8, "depth": None}

RUNS: dict[str, dict[str, Any]] = {
    "replay": base(baselines=[*ALL[1:], "joint"]),
    "memory_only": base(baselines=ALL[1:-2], train={"mode": "memory_only", "networks": 2}),
    "mem_size": base(baselines=ALL[1:6], memory={"ipc": None, "mem_size": 11}),
    "mem_bytes": base(
        baselines=ALL[1:6], train={"mode": "memory_only"}, memory={"ipc": None, "mem_bytes": 1500, "shrink": "cut"}
    ),
    "class_bytes": base(baselines=ALL[1:6], memory={"ipc": None, "class_bytes": 300}),
    "reservoir": base(memory={"method": "reservoir", "ipc": None, "mem_size": 60}),
    "auto": base(memory={"method": "auto"}),
    "auto_fixed": base(memory={"method": "auto", "ipc": None, "mem_size": 10}, train={"mode": "memory_only"}),
    "soft": base(memory={"soft_labels": True, "method": "distilled"}),
    "soft_hybrid": base(memory={"soft_labels": True, "method": "hybrid", "ipc": None, "mem_bytes": 900}),
    "jpeg": base(memory={"jpeg": 30, "ipc": None, "class_bytes": 900}, baselines=["hybrid", "random", "herding"]),
    "jpeg_fixed": base(memory={"jpeg": 30, "ipc": None, "mem_bytes": 2600}, baselines=["hybrid", "closest"]),
    "jpeg_soft": base(memory={"jpeg": 30, "soft_labels": True, "ipc": None, "class_bytes": 1200}),
    "half": base(memory={"method": "herding", "downscale": 2}, baselines=["random", "k_centre"]),
    "hybrid_share": base(memory={"method": "hybrid", "share": 0.3, "ipc": 4}),
    "idm": base(distill={"objective": "idm", "cc": {"weight": 0.01, "network": NET, "trainings": 1, "epochs": 2}}),
    "ncfm": base(distill={"objective": "ncfm", "partition": 1}),
    "published": base(distill={"scale": "published", "lr": 1.0, "lr_schedule": "constant", "cm": {"weight": 0.01}}),
    "exponential": base(distill={"cc": {"weight": 0.01, "form": "exponential", "network": NET, "epochs": 1}}),
    "partition": base(distill={"partition": 2}, baselines=["hybrid"]),
    "resnet": base(model={"name": "resnet18", "norm": "batch", "width": 128, "depth": None}, memory={"ipc": 1}),
    "mnist_auto": base(stream=MNIST, model=DEEP, memory={"method": "auto"}, distill={"embedder": DEEP}),
    "mnist_auto_one": base(
        stream=MNIST, model=DEEP, memory={"method": "auto", "ipc": 1}, distill={"embedder": DEEP},
        train={"mode": "memory_only"},
    ),
    "mnist_distilled": base(stream=MNIST, model=DEEP, memory={"ipc": 3}, distill={"embedder": DEEP}),
}  # fmt: skip
DISTILLED: dict[str, tuple[str, ...]] = {
    "distill": (),
    "distill_random": ("--method", "random"),
    "distill_herding": ("--method", "herding"),
    "distill_closest": ("--method", "closest"),
    "distill_k_centre": ("--method", "k_centre", "--set", "memory.downscale=2"),
    "distill_soft": ("--set", "memory.soft_labels=true"),
    "distill_jpeg": ("--set", "memory.jpeg=40", "--set", "memory.class_bytes=900", "--set", "memory.ipc=null"),
    "distill_partition": ("--set", "distill.partition=2"),
    "distill_workers": ("--workers", "2", "--threads", "1"),
}


def main() -> None:
    """Records or compares."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--write", action="store_true", help="record the digests")
    arguments.add_argument("--mnist", type=Path, default=None, help="folder that holds MNIST/raw")
    arguments.add_argument("--only", default="", help="runs whose names hold this")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {}
    if not chosen.write and kept.get("machine") != machine():
        print(f"not compared: recorded on {kept.get('machine')}, this is {machine()}")
        return
    found, different = {}, []
    for name, digest in digests(chosen.mnist, chosen.only):
        found[name] = digest
        same = kept.get("digests", {}).get(name) == digest
        print(f"{name}: {'recorded' if chosen.write else 'equal' if same else 'DIFFERENT'}", flush=True)
        different += [] if same else [name]
    if chosen.write:
        FILE.write_text(json.dumps({"machine": machine(), "digests": {**kept.get("digests", {}), **found}}, indent=1))
    elif different:
        sys.exit(f"{len(different)} of {len(found)} differ: {', '.join(different)}")


def machine() -> str:
    """What digests depend on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return f"{model.partition(':')[2].strip()}, {platform.machine()}, torch {torch.__version__}"


def digests(mnist: Path | None, only: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each run's name and the digests of what it made."""
    with tempfile.TemporaryDirectory() as folder:
        for name, work in _jobs(mnist, Path(folder)):
            if only in name:
                started = time.perf_counter()
                found = work()
                print(f"  {time.perf_counter() - started:.1f} s", end=" ")
                yield name, found


def _jobs(mnist: Path | None, folder: Path) -> Iterator[tuple[str, Callable[[], dict[str, str]]]]:
    for name, values in RUNS.items():
        if mnist is not None or not name.startswith("mnist"):
            yield name, lambda n=name, v=values: _run(n, v, mnist, folder)  # type: ignore[misc]
    yield "resume", lambda: _resumed(folder)
    yield "compare", lambda: _compared(folder)
    for name, options in DISTILLED.items():
        yield name, lambda n=name, o=options: _distilled(n, o, folder)  # type: ignore[misc]
    yield "evaluate", lambda: _evaluated(folder)
    yield "study", lambda: _studied(folder)
    for name in ("returning", "shrinking", "buffers"):
        yield name, lambda n=name: RETURNING[n]()  # type: ignore[misc]


def _command(*arguments: str) -> str:
    """The command line in this process; what it prints."""
    from iid_cl.cli import app

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        app(list(arguments), standalone_mode=False)
    return said.getvalue()


def _config(folder: Path, name: str, values: Mapping[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(values)))
    return path


def _run(name: str, values: Mapping[str, Any], mnist: Path | None, folder: Path) -> dict[str, str]:
    out = folder / name
    root = () if mnist is None or not name.startswith("mnist") else ("--data-root", str(mnist))
    _command("run", str(_config(folder, name, values)), "--out", str(out), "-q", *root)
    return _of_run(out)


def _of_run(out: Path) -> dict[str, str]:
    found = {path.name: _memory(path) for path in sorted(out.glob("memory*.safetensors"))}
    found["history"] = _memory(out / "history.safetensors") if (out / "history.safetensors").is_file() else ""
    for name in ("metrics.jsonl", "losses.jsonl", "sources.json"):
        found[name] = _sha((out / name).read_bytes()) if (out / name).is_file() else ""
    run = json.loads((out / "run.json").read_text())
    found["results"] = _sha(_plain([run["results"], run["checks"]]))
    return found


def _resumed(folder: Path) -> dict[str, str]:
    """Stopped by a signal again and again, wherever it is by then."""
    values = base(baselines=["herding"], checkpoint={"every": 0.0}, distill={"iterations": 60})
    path, out = _config(folder, "resume", values), folder / "resume"
    program = "import sys; from iid_cl.cli import main; main()"
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program, "run", str(path), "--out", str(out), "-q"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not any(out.glob("state*/*")) and not any(out.glob(".state*/*")):
            time.sleep(0.05)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        process.wait()
        if (out / "run.json").is_file():
            break
    if not (out / "run.json").is_file():
        _command("resume", str(out), "-q")
    return _of_run(out)


def _compared(folder: Path) -> dict[str, str]:
    section = {"methods": ["none", "herding", "distilled", "hybrid", "random_half"], "seeds": 2,
               "modes": ["replay", "memory_only"], "budgets": {"ipc": [1, 2]}}  # fmt: skip
    path, out = _config(folder, "compare", base(compare=section)), folder / "compare"
    _command("compare", str(path), "--out", str(out), "--workers", "2", "--threads", "1", "-q")
    found = {file.name: _memory(file) for file in sorted((out / "cells").glob("*.safetensors"))}
    results = json.loads((out / "results.json").read_text())
    cells = [
        {key: value for key, value in cell.items() if key not in ("digest", "threads")} for cell in results["cells"]
    ]
    return {**found, "cells": _sha(_plain(cells)), "summary": _sha(_plain(results["summary"]))}


def _distilled(name: str, options: tuple[str, ...], folder: Path) -> dict[str, str]:
    out = folder / f"{name}.safetensors"
    path = _config(folder, "whole", base(stream={"dataset": "digits", "classes": None}))
    _command("distill", "digits", "-o", str(out), "--config", str(path), "-q", *options)
    return {"memory": _memory(out)}


def _evaluated(folder: Path) -> dict[str, str]:
    memory = folder / "for_evaluation.safetensors"
    path = _config(folder, "whole", base(stream={"dataset": "digits", "classes": None}))
    _command("distill", "digits", "-o", str(memory), "--config", str(path), "-q")
    sets = [f"evaluate.{key}" for key in ("epochs=3", "networks=2", "network.width=8", "network.depth=2")]
    said = _command("evaluate", str(memory), "--json", *(part for one in sets for part in ("--set", one)))
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {"accuracies": _sha(_plain([e["accuracies"] for e in events if "accuracies" in e]))}


def _studied(folder: Path) -> dict[str, str]:
    values = {
        "name": "small",
        "title": "A small study",
        "base": {
            **{
                key: value
                for key, value in base(stream={"dataset": "digits", "classes": None}).items()
                if key != "name"
            },
            "evaluate": {"epochs": 3, "networks": 2, "network": NET},
        },
        "variants": [{"name": "plain"}, {"name": "cc", "set": {"distill.cc.weight": 0.01}}],
        "iterations": [0, 2, 4],
        "seeds": 2,
    }
    path, out = _config(folder, "study", values), folder / "study"
    with contextlib.redirect_stdout(io.StringIO()):
        _command("study", str(path), "--out", str(out))
    rows = json.loads((out / "study.json").read_text())["rows"]
    return {"rows": _sha(_plain(rows))}


# --- the buffers themselves


def _experience(groups: Mapping[int, int], seed: int) -> Any:
    from avalanche.benchmarks.utils import as_classification_dataset
    from torch.utils.data import TensorDataset

    generator = torch.Generator().manual_seed(seed)
    count = sum(groups.values())
    images = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([label for label, number in groups.items() for _ in range(number)])
    data = TensorDataset(images, labels)
    data.targets = labels.tolist()  # type: ignore[attr-defined]
    return SimpleNamespace(dataset=as_classification_dataset(data))


def _buffers(budget: Mapping[str, int]) -> dict[str, Any]:
    from iid_cl import strategies

    try:
        from iid_cl.config.distill import DistillConfig, EmbedderConfig
    except ImportError:
        from iid_cl.config.distill import DistillConfig, EmbedderConfig  # type: ignore[no-redef,import-not-found]
    config = DistillConfig(iterations=3, real_batch=8, embedder=EmbedderConfig(**NET))
    pixels = {"features": lambda images, strategy, generator: lambda x: x.flatten(1)}
    return {
        "distilled": strategies.DistilledBuffer(distill=config, **budget),
        "hybrid": strategies.HybridBuffer(distill=config, **pixels, **budget),
        "auto": strategies.AutoBuffer(distill=config, **pixels, **budget),
        "random": strategies.RandomBuffer(**budget),
        "herding": strategies.HerdingBuffer(**pixels, **budget),
        "reservoir": strategies.ReservoirBuffer(**budget),
    }


def _returning() -> dict[str, str]:
    """Classes that come back, of unequal size."""
    return _through(
        {"ipc": 3}, [({0: 30, 1: 25}, 0), ({1: 20, 2: 24}, 1), ({0: 2, 3: 22, 4: 1}, 2), ({2: 9, 5: 21}, 3)]
    )


def _shrinking() -> dict[str, str]:
    """A fixed total, with classes that come back."""
    return _through({"mem_bytes": 1900}, [({0: 30, 1: 25}, 0), ({2: 24, 3: 22}, 1), ({1: 20, 4: 22}, 2)])


def _plain_buffers() -> dict[str, str]:
    """A growing one of bytes."""
    return _through({"class_bytes": 270}, [({4: 30, 1: 25}, 0), ({0: 24}, 1), ({7: 2, 3: 22}, 2)])


RETURNING: dict[str, Callable[[], dict[str, str]]] = {
    "returning": _returning,
    "shrinking": _shrinking,
    "buffers": _plain_buffers,
}


def _through(budget: Mapping[str, int], stream: list[tuple[dict[int, int], int]]) -> dict[str, str]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, memory in _buffers(budget).items():
            for groups, seed in stream:
                memory.post_adapt(SimpleNamespace(device="cpu"), _experience(groups, seed))
            path = Path(folder) / f"{name}.safetensors"
            memory.save(path)
            found[name] = _memory(path)
    return found


def _memory(path: Path) -> str:
    """Of the tensors of a file."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return hashed.hexdigest()[:16]


def _plain(values: Any) -> bytes:
    """JSON without the times."""
    return json.dumps(_timeless(values), sort_keys=True).encode()


def _timeless(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _timeless(value) for key, value in values.items() if key not in TIMES}
    return [_timeless(value) for value in values] if isinstance(values, list) else values


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    main()
