"""What the tests of runs share."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="package")
def quick_reports() -> Iterator[None]:
    """Runs and comparisons name a report without making it, which takes seconds; test_reports.py makes them."""

    def name(directories: Sequence[Path]) -> Path:
        return directories[0] / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        for module in ("run", "compare"):
            patch.setattr(f"iid_cl.runs.{module}.report", name)
        yield
