"""The origin of a result: versions, commit, machine, command."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from iid_cl.records.nameless import argument_without_names

PACKAGES = (
    "iid-cl",
    "torchvision",
    "avalanche-lib",
    "numpy",
    "scikit-learn",
    "scipy",
    "pillow",
    "safetensors",
    "pydantic",
)
ONLY_READ_AND_WRITE = ("safetensors", "pydantic")  # results do not depend on their version


def provenance(device: torch.device) -> dict[str, Any]:
    """What produced a result, as plain JSON, without names of the host or the user, in paths either.

    ``changes`` is a digest of the checkout's uncommitted changes, or None.
    """
    commit, changes = _checkout()
    return {
        "command": shlex.join([_program(), *map(argument_without_names, sys.argv[1:])]),
        "commit": commit,
        "changes": changes,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,  # says which build, CPU or CUDA
            **{name: _version(name) for name in PACKAGES},
        },
        "machine": f"{_processor()}, {torch.get_num_threads()} threads",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "system": _system(device),
    }


def _program() -> str:
    """How the program was called, without its folder; ``python -m iid_cl`` is iid-cl."""
    path = Path(sys.argv[0])
    return "iid-cl" if (path.parent.name, path.name) == ("iid_cl", "__main__.py") else path.name


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each change between two provenances that could change a result.

    Facts that either record lacks, e.g. that of an older version, are skipped.

    Args:
        before: of the unfinished run.
        now: of the process that resumes it.
    """
    first, second = _facts(before), _facts(now)
    changed = [(name, first[name], second[name]) for name in first if name in second and first[name] != second[name]]
    return [f"{name} was {_text(old)} and is {_text(new)}." for name, old, new in changed]


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that results depend on, by their names for a person."""
    versions, system = _section(record, "versions"), _section(record, "system")
    facts = {name: release for name, release in versions.items() if name not in ONLY_READ_AND_WRITE}
    names = {
        "the device": "device",
        "the number of threads": "threads",
        "the commit": "commit",
        "the digest of uncommitted changes": "changes",
    }
    facts |= {name: record[key] for name, key in names.items() if key in record}
    names = {"the processor": "processor", "its instruction set": "instructions", "CUDA": "cuda", "cuDNN": "cudnn"}
    return facts | {name: system[key] for name, key in names.items() if key in system}


def _section(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A section of the record; empty if it is missing, as in an older file, or damaged."""
    section = record.get(key)
    return section if isinstance(section, Mapping) else {}


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def _system(device: torch.device) -> dict[str, Any]:
    """Further facts about the machine that speed and last digits depend on."""
    facts: dict[str, Any] = {
        "os": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "gpu_capability": f"{properties.major}.{properties.minor}",
            "gpu_bytes": properties.total_memory,
        }
    return facts


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # installed without metadata
        return None


def _checkout() -> tuple[str | None, str | None]:
    """The checkout's commit, with a plus sign if there are uncommitted changes, and their digest; None outside git."""
    file = Path(__file__).resolve()
    folder = file.parent
    try:
        _git(folder, "ls-files", "--error-unmatch", file.name)  # fails if installed inside another project's checkout
        commit = _git(folder, "rev-parse", "--short=12", "HEAD").decode().strip()
        if not _git(folder, "status", "--porcelain", "--untracked-files=no").strip():
            return commit, None
        changes = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--binary")
        return f"{commit}+", hashlib.sha256(changes).hexdigest()[:12]
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True).stdout


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
