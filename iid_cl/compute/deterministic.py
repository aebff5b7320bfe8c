"""Repeatable arithmetic: PyTorch's settings for it, switched on for a while."""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED = ":4096:8"  # cuBLAS repeats with two sizes, says NVIDIA; this is the faster one
_MEMORY: Any = torch.utils.deterministic  # a module of properties, which type checkers take for an empty one
_COMPLAINT = re.compile(r"(?P<operation>\S+) does not have a deterministic implementation")


@contextmanager
def deterministic(wanted: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Inside this context PyTorch uses repeatable algorithms; afterwards its settings are restored.

    An operation without a repeatable algorithm runs as usual, and ``say`` gets a line about it, once. A CPU repeats in
    any case. Enter the context before anything runs on a GPU: cuBLAS reads its setting when it starts.

    Args:
        wanted: if False, the context does nothing.
        say: takes lines for a person to read.
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
        _MEMORY.fill_uninitialized_memory = False  # helps only programs that read uninitialized memory
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
    """Hands PyTorch's warnings about determinism to ``tell``, whatever filters are in force; other warnings pass."""
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
    match = _COMPLAINT.search(text)
    key = match["operation"] if match else text
    if key not in said:
        said.add(key)
        say(
            f"deterministic: {key} has no repeatable algorithm here; figures may differ from run to run."
            if match
            else f"deterministic: {' '.join(text.split())}"
        )
