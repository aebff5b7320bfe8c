"""What Avalanche imports and seldom uses."""

import sys
from pathlib import Path

import pytest

from iid_cl.strategies.installed import load_later


def test_a_package_loads_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "used_seldom"
    package.mkdir()
    (package / "__init__.py").write_text("from used_seldom.part import VALUE\n")
    (package / "part.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    load_later("used_seldom")
    try:
        import used_seldom

        assert used_seldom.__file__ == str(package / "__init__.py")  # PyTorch asks every module for it
        assert "used_seldom.part" not in sys.modules
        assert used_seldom.VALUE == 7
        assert "used_seldom.part" in sys.modules
        with pytest.raises(AttributeError):
            _ = used_seldom.nothing
    finally:
        for name in ("used_seldom", "used_seldom.part"):
            sys.modules.pop(name, None)


def test_a_package_that_is_loaded_or_missing_stays_so() -> None:
    loaded = sys.modules["pytest"]
    load_later("pytest")
    load_later("no_such_package")
    assert sys.modules["pytest"] is loaded
    assert "no_such_package" not in sys.modules
