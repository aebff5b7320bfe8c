"""What all tests share."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

# the same examples in every run, and no limit on the time of each: machines differ
settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("suite")
torch.set_num_threads(1)  # the runner uses a process per core


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` run where there is one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _own_data_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's data sets and cache."""
    monkeypatch.setenv("IID_CL_DATA", str(tmp_path_factory.mktemp("data-root")))


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs the test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` judges its memories by networks that are trained for a few updates: their choice does not matter here."""
    monkeypatch.setattr("iid_cl.methods.judging.UPDATES", 4)
