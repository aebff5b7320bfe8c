"""Warnings are errors, and none gets past that rule."""

import warnings
from types import SimpleNamespace

import pytest
from avalanche._annotations import deprecated

from tests import conftest


def test_a_warning_is_an_error() -> None:
    with pytest.raises(DeprecationWarning, match="old"):
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_a_deprecated_call_in_avalanche_is_an_error_and_changes_no_filters() -> None:
    """Avalanche puts its filter "once" before all: the call passed, and so did all that came after it."""

    def old() -> None:
        raise AssertionError("it was called")

    filters = list(warnings.filters)
    with pytest.raises(DeprecationWarning, match="Call to deprecated function old"):
        deprecated(0.7, "there is a new one")(old)()
    assert warnings.filters == filters


@pytest.mark.parametrize(("escaped", "before", "after"), [([], 0, 0), (["one"], 0, 1), (["one"], 2, 2)])
def test_a_warning_that_gets_past_the_filters_fails_the_suite(
    escaped: list[str], before: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "ESCAPED", escaped)
    session = SimpleNamespace(exitstatus=before)
    conftest.pytest_sessionfinish(session)
    assert session.exitstatus == after


def test_such_a_warning_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "ESCAPED", [])
    record = warnings.WarningMessage("old", DeprecationWarning, "file.py", 1)
    conftest.pytest_warning_recorded(record, "runtest", "tests/test_x.py::test_y", None)
    assert conftest.ESCAPED == ["tests/test_x.py::test_y: DeprecationWarning: old"]
