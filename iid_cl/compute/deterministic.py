"""Repeatable arithmetic: what PyTorch can do for it, switched on for a while."""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED = ":4096:8"  # one of the two sizes with which NVIDIA says that cuBLAS repeats; the other one is slower
_MEMORY: Any = torch.utils.deterministic  # a module of properties, which type checkers take for an empty one
_COMPLAINT = re.compile(r"(?P<operation>\S+) does not have a deterministic implementation")


@contextmanager
def deterministic(wanted: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Within it, PyTorch computes with algorithms that repeat; everything is as before afterwards.

    Where there is no such algorithm the usual one is used, and ``say`` gets a line per operation, once. A CPU repeats
    in any case. Enter it before anything runs on a GPU: cuBLAS reads its setting when it starts.

    Args:
        wanted: without it, nothing happens.
        say: takes lines for a person.
    """
    if not wanted:
        yield
        return
    mode, workspace = _mode(), os.environ.get(WORKSPACE)
    if workspace is None:
        if torch.cuda.is_initialized():
            say(
                f"deterministic: CUDA was in use before, so matrix products may not repeat; set {WORKSPACE}={FIXED} "
                "in the environment."
            )
        os.environ[WORKSPACE] = FIXED
    said: set[str] = set()
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        _MEMORY.fill_uninitialized_memory = False  # it is for programs that read what none wrote
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        with _complaints(lambda text: _tell(text, said, say)):
            yield
    finally:
        _restore(*mode)
        if workspace is None:
            os.environ.pop(WORKSPACE, None)


def _mode() -> tuple[bool, bool, bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        _MEMORY.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    )


def _restore(algorithms: bool, warn_only: bool, fill: bool, benchmark: bool, cudnn: bool) -> None:
    torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
    _MEMORY.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.deterministic = cudnn


@contextmanager
def _complaints(tell: Callable[[str], None]) -> Iterator[None]:
    """Hands PyTorch's warnings of this kind to ``tell``, whatever filters are in force; the others pass."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def sort(message: Warning | str, *where: Any, **more: Any) -> None:
            if "eterministic" in str(message):
                tell(str(message))
            else:
                show(message, *where, **more)

        warnings.filterwarnings("always", message=".*[Dd]eterministic", category=UserWarning)
        warnings.showwarning = sort
        yield


def _tell(text: str, said: set[str], say: Callable[[str], None]) -> None:
    found = _COMPLAINT.search(text)
    key = found["operation"] if found else text
    if key not in said:
        said.add(key)
        say(
            f"deterministic: {key} has no repeatable algorithm here; figures may differ from run to run."
            if found
            else f"deterministic: {' '.join(text.split())}"
        )
