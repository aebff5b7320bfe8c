"""The table of docs/avalanche.md says what the tests do."""

import re
from pathlib import Path

import pytest

from . import test_plugins
from .hosts import HOSTS

HERE = Path(__file__).parent
PAGE = (Path(__file__).parents[3] / "docs" / "avalanche.md").read_text(encoding="utf-8")


def rows() -> dict[str, list[str]]:
    """The cells beside each host's name."""
    table = PAGE.split("<!-- compatibility -->")[1].split("<!-- end -->")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    return {name.strip("`"): rest for name, *rest in cells}


def test_every_test_it_names_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 20
    missing = [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in (HERE / file).read_text(encoding="utf-8")
    ]
    assert not missing


def test_every_host_has_its_row() -> None:
    assert list(rows()) == list(HOSTS)


@pytest.mark.parametrize("host", HOSTS)
def test_a_hosts_row_says_what_was_tried(host: str) -> None:
    for kind, cell in zip(("task-aware", "plain"), rows()[host][1:], strict=True):
        pair = (host, kind)
        assert cell.startswith("yes") == (pair in test_plugins.SERVED), cell
        assert ("TaskLabelled" in cell) == (pair in test_plugins.WANT_TASK_LABELS), cell
        assert ("Avalanche fails" in cell) == (pair in test_plugins.STOCK_FAILS), cell
