"""What all tests share."""

import copy
import functools
import gc
import itertools
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

os.environ["OMP_NUM_THREADS"] = "1"  # the runner uses a process per core; heard by what is imported from here on

import pytest
import sklearn.datasets
import torch
from hypothesis import settings

from tests.processes import forked_workers

__all__ = ["forked_workers"]

# the same examples in every run, and no limit on the time of each: machines differ
settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("suite")
gc.set_threshold(20_000)  # as in the command line: imports leave a million objects, which stay
torch.set_num_threads(1)  # the runner uses a process per core

_parsed_digits = functools.cache(sklearn.datasets.load_digits)
# scikit-learn parses its text anew each time, which takes 20 ms; a copy, as tests may write to it
sklearn.datasets.load_digits = lambda: copy.deepcopy(_parsed_digits())
_NUMBERS = itertools.count()
ESCAPED: list[str] = []  # warnings that were no errors


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` run where there is one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_warning_recorded(warning_message: warnings.WarningMessage, when: str, nodeid: str, location: object) -> None:
    """Notes a warning that was no error: a library has put filters of its own before those of the suite."""
    ESCAPED.append(f"{nodeid or when}: {warning_message.category.__name__}: {warning_message.message}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Such a warning fails the suite, like any other."""
    if ESCAPED and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the warnings that fail the suite."""
    if ESCAPED:
        terminalreporter.section("warnings that got past the filters, and fail the suite")
        for line in ESCAPED:
            terminalreporter.line(line)


@pytest.fixture(autouse=True)
def _avalanche_changes_no_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deprecated call in Avalanche puts "once" before all filters, for the rest of the test."""
    if "avalanche._annotations" in sys.modules:
        kept = SimpleNamespace(warn=warnings.warn, simplefilter=lambda *arguments: None)
        monkeypatch.setattr("avalanche._annotations.warnings", kept)


@pytest.fixture(autouse=True)
def _own_data_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's data sets and cache. The folder is made by whoever first writes there."""
    for name in ("IID_CL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IID_CL_DATA", str(tmp_path_factory.getbasetemp() / f"data-root-{next(_NUMBERS)}"))


@pytest.fixture
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and comparisons leave no report, which takes seconds; tests/runs/test_reports.py sees that they do."""
    for module in ("runs.run", "compare.compare"):
        monkeypatch.setattr(f"iid_cl.{module}.report", lambda directories: directories[0] / "report.html")


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs the test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
