"""``iid-cl doctor``: what is installed, what works, and what is missing."""

import importlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from rich.console import Console
from rich.text import Text

from iid_cl import __version__
from iid_cl.config.datasets import DATASETS
from iid_cl.errors import printable
from iid_cl.terminal.screen import emit

NEEDED = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "matplotlib", "pillow",
          "safetensors", "pydantic", "pyyaml", "rich", "typer")  # fmt: skip
IMPORTED = ("torch", "torchvision", "sklearn", "matplotlib")
RUNS_NEED = "avalanche-lib"
OPTIONAL = {
    RUNS_NEED: "run, resume and compare need it; pip install 'iid-cl[avalanche]'",
    "datasets": "reads data sets of the Hugging Face hub, and parquet; pip install 'iid-cl[hf]'",
    "timm": "pretrained networks, timm:NAME; pip install 'iid-cl[timm]'",
    "ray": "runs comparisons on a cluster; pip install 'iid-cl[ray]'",
    "submitit": "runs comparisons as jobs of Slurm; pip install 'iid-cl[slurm]'",
    "optuna": "searches for settings; pip install 'iid-cl[search]'",
    "nvidia-ml-py": "shows how busy a GPU is; pip install nvidia-ml-py",
    "tensorboard": "a logger; pip install tensorboard",
    "wandb": "a logger; pip install wandb",
}
STATES = {"ok": "green", "note": "yellow", "failed": "bold red"}


@dataclass(frozen=True)
class Finding:
    """Result of one check: ``failed`` stops runs, a ``note`` does not."""

    state: Literal["ok", "note", "failed"]
    what: str
    said: str


def examine(data_root: Path | None, console: Console, *, thorough: bool = False) -> bool:
    """Prints each finding at once; returns whether what is installed can be expected to work.

    Args:
        data_root: folder of the data sets; None: the default one.
        console: where to print.
        thorough: also import every package and try the compiler, which takes half a minute.
    """
    well = True
    for finding in _findings(data_root, thorough):
        well = well and finding.state != "failed"
        text = Text.assemble((f"{finding.state:6}", STATES[finding.state]), " ", (finding.what, "bold"), ": ")
        console.print(text.append(printable(finding.said)), soft_wrap=not console.is_terminal)
        emit(console, "finding", **asdict(finding))
    if not well:
        console.print("Runs will fail: see the lines marked as failed.")
    elif _version(RUNS_NEED) is None:
        console.print(f"What is installed works; for runs, {OPTIONAL[RUNS_NEED].partition('; ')[2]}.", markup=False)
    elif thorough:
        console.print("Everything that a run needs works.")
    else:
        console.print("Everything that a run needs is there; iid-cl doctor --thorough tries all of it.")
    emit(console, "finished", well=well)
    return well


def _findings(data_root: Path | None, thorough: bool) -> Iterator[Finding]:
    yield Finding("ok", "iid-cl", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from map(_package, NEEDED)
    for name in ("iid-cl", *NEEDED, RUNS_NEED):
        yield from _misfits(name)
    broken = False
    for name in _imported() if thorough else ("torch",):
        problem = _attempt(lambda name=name: importlib.import_module(name))  # type: ignore[misc]
        if problem is not None:
            broken = True
            yield Finding("failed", f"import {name}", problem)
    for name, use in OPTIONAL.items():
        installed = _version(name)
        yield Finding("ok" if installed else "note", name, installed or f"not installed; {use}")
    if not broken:
        yield from _devices(thorough)
    yield from _data(data_root)


def _imported() -> tuple[str, ...]:
    return (*IMPORTED, *(["avalanche"] if _version(RUNS_NEED) else []))


def _misfits(name: str) -> Iterator[Finding]:
    """Installed packages that are not of a version that this one needs, such as torch for torchvision."""
    try:
        needed = [Requirement(line) for line in requires(name) or ()]
    except PackageNotFoundError:
        return
    for requirement in needed:
        installed = _version(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if installed and applies and not requirement.specifier.contains(installed, prereleases=True):
            yield Finding("failed", name, f"needs {requirement.name}{requirement.specifier}, but {installed} is "
                          f"installed; pip install '{requirement.name}{requirement.specifier}'")  # fmt: skip


def _package(name: str) -> Finding:
    installed = _version(name)
    return Finding("ok" if installed else "failed", name, installed or f"not installed; pip install {name}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices(thorough: bool) -> Iterator[Finding]:
    """Tries a small computation on each device; if ``thorough``, also the compiler on the kind that runs would use."""
    import torch

    yield _device("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        gpu = torch.cuda.get_device_properties(index)
        yield _device(f"cuda:{index}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
    if not count:
        built = f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "PyTorch is built for CPUs"
        yield Finding("note", "cuda", f"no GPU is usable; {built}")
    if thorough:
        yield _compiler("cuda" if count else "cpu")


def _compiler(kind: str) -> Finding:
    from iid_cl.compute.arithmetic import compiler_problem

    start = time.perf_counter()
    problem = compiler_problem(kind)
    text = problem or f"works on {kind}, {time.perf_counter() - start:.0f} s for a first function"
    return Finding("note" if problem else "ok", "compiler", f"{text}{'; runs go on without it' if problem else ''}")


def _device(name: str, description: str) -> Finding:
    problem = _attempt(lambda: _compute(name))
    return Finding("failed" if problem else "ok", name, problem or f"{description}; computes correctly")


def _compute(device: str) -> None:
    """Convolves ones and differentiates, which has a known result.

    Raises:
        ArithmeticError: the result differs.
    """
    import torch

    images = torch.ones(2, 3, 8, 8, device=device, requires_grad=True)
    weights = torch.ones(4, 3, 3, 3, device=device)
    out = torch.nn.functional.conv2d(images, weights)  # 27 ones in each of 6 x 6 places
    out.sum().backward()
    assert images.grad is not None  # after a backward pass
    inner, corner = float(images.grad[0, 0, 4, 4]), float(images.grad[0, 0, 0, 0])
    if not (bool((out == 27).all()) and inner == 9 * 4 and corner == 4):
        raise ArithmeticError(
            f"a convolution of ones gives {float(out.detach().max())} and gradients of {inner} and {corner}"
        )


def _data(data_root: Path | None) -> Iterator[Finding]:
    from iid_cl.data.available import missing_files
    from iid_cl.data.places import default_data_root

    root = data_root if data_root is not None else default_data_root()
    existing = next(path for path in (root, *root.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    yield Finding("ok" if free >= 1 else "note", "data root", f"{root}{'' if root.is_dir() else ' (not there yet)'}, "
                  f"{free:.1f} GiB free")  # fmt: skip
    for name, info in DATASETS.items():
        missing = missing_files(name, data_root)
        text = f"not there; {info.how}" if missing else "there" if info.files else info.how
        yield Finding("note" if missing else "ok", name, text)


def _attempt(action: Callable[[], object]) -> str | None:
    """The error in one line, or None."""
    try:
        action()
    except Exception as error:  # report whatever is broken on this machine
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None
