import subprocess
import sys
from pathlib import Path

from benchmarks import ledger

ROOT = Path(__file__).parents[1]


def test_the_configuration_reference_is_current() -> None:
    assert subprocess.run([sys.executable, ROOT / "docs" / "make_reference.py", "--check"], check=False).returncode == 0


def test_the_tables_are_those_of_the_ledger() -> None:
    for page in ledger.PAGES:
        text = page.read_text(encoding="utf-8")
        assert ledger.update(text) == text, f"run python -m benchmarks.ledger ({page.name} is stale)"


def test_links_between_pages_lead_somewhere() -> None:
    import re

    for page in ledger.PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
