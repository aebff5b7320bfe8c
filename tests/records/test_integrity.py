"""Files are those that were written."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from iid_cl.errors import UserError
from iid_cl.records.integrity import check_file, check_memories, sha256_of

DIGEST = hashlib.sha256(b"images").hexdigest()


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"images")
    assert sha256_of(tmp_path / "m") == DIGEST


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    checks = {"random": {"file": "a", "sha256": DIGEST}, "herding": {"file": "b", "sha256": DIGEST}}
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"images")
    check_memories(tmp_path, checks)
    (tmp_path / "b").write_bytes(b"imagez")
    with pytest.raises(UserError, match=r"b: is not the file that was written there, its SHA-256 differs; restore it"):
        check_memories(tmp_path, checks)


@pytest.mark.parametrize(
    "checks",
    [
        None,
        [],
        {"random": None},
        {"random": {"sha256": "0" * 64}},
        {"random": {"file": "m"}},
        {"random": {"file": "m", "sha256": 5}},
        {"random": {"file": "../run/m", "sha256": "0" * 64}},
        {"random": {"file": "gone", "sha256": "0" * 64}},
    ],
    ids=str,
)
def test_what_is_not_recorded_is_passed_over(tmp_path: Path, checks: Any) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "m").write_bytes(b"images")
    check_memories(tmp_path / "run", checks)
    check_file(tmp_path / "run" / "m", None)
