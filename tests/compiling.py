"""A mark for tests that compile."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from iid_cl.compute.arithmetic import COMPILER_WARNINGS

F = TypeVar("F", bound=Callable[..., Any])


def quiet_compiler(test: F) -> F:
    """PyTorch's compiler may say what it says of itself."""
    for pattern in COMPILER_WARNINGS:
        test = pytest.mark.filterwarnings(f"ignore:{pattern}:UserWarning")(test)
    return test
