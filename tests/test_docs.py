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


def test_pages_say_what_was_measured_and_not_what_was_meant_to_be() -> None:
    import re

    for page in ledger.PAGES:
        found = re.findall(r"\| target|\baim(?:s|ed)?\b.*", page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found}"


def test_published_figures_stand_beside_the_ledgers() -> None:
    """IDM + CC + CM: 52.91 % in methods_cifar10.json, with a deviation of 1.02; nothing on CIFAR-100."""
    assert "| 59.9 | 52.9\u00a0±\u00a01.0 | 300 iterations, width 64 |" in ledger.published("cifar10")
    assert "| 24.6 / 45.7 / 51.3 | not measured |  |" in ledger.published("others")
