"""The fuzzer in miniature: it sees every kind of failure, and a few cases of each category."""

import io
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from iid_cl.errors import UserError
from tests.hardening import fuzz

QUIET = Console(file=io.StringIO())


def category(read: Callable[[Path], object], make: Callable[[Path], object] = lambda folder: None) -> object:
    """A category of one input."""

    def made(generator: random.Random, folder: Path) -> Callable[[], object]:
        make(folder)
        return lambda: read(folder)

    return made


def refuse(folder: Path) -> None:
    raise UserError(f"{folder}: is bad; use another.")


def crash(folder: Path) -> None:
    raise KeyError("oops")


def hang(folder: Path) -> None:
    try:
        while True:
            time.sleep(0.01)
    except Exception:
        pass


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda folder: None, "accepted"),
        (refuse, "refused"),
        (crash, "crash"),
        (hang, "hang"),
        (lambda folder: (folder / "left").touch(), "touched"),
        (lambda folder: (folder.parent / "outside" / "kept.txt").write_text("mine now"), "touched"),
        (lambda folder: Path("new").touch(), "touched"),
    ],
    ids=["accepted", "refused", "crash", "hang", "left behind", "changed outside", "made in the working directory"],
)
def test_every_outcome_is_told(
    read: Callable[[Path], object], outcome: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(fuzz.CATEGORIES, "one", category(read, lambda folder: (folder / "in.yaml").write_text("x: 1")))
    monkeypatch.setattr(fuzz, "CPU_SECONDS", 0.05 if outcome == "hang" else 10)
    monkeypatch.setattr(fuzz, "WALL_SECONDS", 0.3 if outcome == "hang" else 60)
    with fuzz.sandbox() as folder:
        tally = fuzz.run_category("one", range(1), 5, folder, tmp_path, QUIET)
    assert dict(tally.outcomes) == {outcome: 1}
    kept = tmp_path / "one-0-seed5"
    if outcome in ("accepted", "refused"):
        assert not tally.failures
        assert not kept.exists()
    else:
        assert "one 0 (seed 5)" in tally.failures[0]
        assert (kept / "in.yaml").read_text() == "x: 1"
        assert outcome in (kept / "FAILURE.txt").read_text()


@pytest.mark.parametrize("name", sorted(set(fuzz.CATEGORIES) - {"commands"}))
def test_a_few_cases_of_each_category(name: str, tmp_path: Path) -> None:
    with fuzz.sandbox() as folder:
        tally = fuzz.run_category(name, range(12), 3, folder, tmp_path, QUIET)
    assert tally.failures == []
    assert tally.outcomes.total() == 12


def test_a_case_is_the_same_each_time() -> None:
    def content(number: int) -> bytes:
        with fuzz.sandbox() as folder:
            fuzz.run_case("configurations", number, 0, folder)
            return (folder / "case" / "config.yaml").read_bytes()

    assert content(4) == content(4)
    assert content(4) != content(5)


def test_the_ledger_counts_what_the_issue_asks_for() -> None:
    tally = fuzz.Tally()
    tally.outcomes.update(accepted=7000, refused=12_990, crash=10)
    rows = {row["name"]: row for row in fuzz.rows({"configurations": tally})}
    assert (rows["fuzzed inputs"]["value"], rows["fuzzed inputs"]["target"]) == (20_000, 20_000)
    assert fuzz.ledger.missed([rows["tracebacks"]]) == ["tracebacks: 10, target 0"]
    assert fuzz.ledger.missed([rows["fuzzed inputs"], rows["hangs"]]) == []


def test_shares_reach_what_is_asked() -> None:
    shares = fuzz.shares(20_000, 60)
    assert set(shares) == set(fuzz.CATEGORIES)
    assert sum(shares.values()) >= 20_060
    assert shares["commands"] == 60
