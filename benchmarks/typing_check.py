"""What type checkers see of the installed package in a user's script."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

CHECKERS = {"mypy": ["mypy", "--strict", "--no-incremental"], "pyright": ["pyright", "--pythonpath", sys.executable]}
SCRIPT = '''"""A user's script."""

from iid_cl.config.distill import DistillConfig
from iid_cl.data.images import Normalization
from iid_cl.strategies import RealBuffer

config = DistillConfig(iterations=100)
iterations: int = config.iterations
RealBuffer(rule="herding", normalization=Normalization((0.5,), (0.25,)))
'''
MISTAKE = "rool"


def checkers() -> Iterator[tuple[str, str, str]]:
    """For each checker what it says of a sound script, and of one with a keyword that RealBuffer doesn't have."""
    for name, command in CHECKERS.items():
        sound = f"errors of {name} in a user's script"
        planted = f"{name} on RealBuffer({MISTAKE}=...)"
        if find_spec(name) is None:
            yield sound, "not installed", "0"
            continue
        yield sound, str(len(errors(command, SCRIPT))), "0"
        seen = any(MISTAKE in line for line in errors(command, SCRIPT.replace("rule=", f"{MISTAKE}=")))
        yield planted, "seen" if seen else "not seen", "seen"


def errors(command: list[str], script: str) -> list[str]:
    """A checker's errors in a script that lies in a folder of its own, as a user's does."""
    clean = {key: value for key, value in os.environ.items() if key not in ("MYPYPATH", "PYTHONPATH")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.py"
        file.write_text(script, encoding="utf-8")
        told = subprocess.run(
            [sys.executable, "-m", *command, file.name], cwd=folder, env=clean, capture_output=True, text=True
        )
    return [line for line in told.stdout.splitlines() if "error:" in line]
