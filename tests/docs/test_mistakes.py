"""The page of mistakes says what the program prints today."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "make_mistakes.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/make_mistakes.py."""
    spec = importlib.util.spec_from_file_location("make_mistakes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_mistakes"] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_program_prints(script: ModuleType) -> None:
    text = script.page()
    assert text == SCRIPT.with_name("mistakes.md").read_text(encoding="utf-8"), "run python docs/make_mistakes.py"
    rows = re.findall(r"^\| .+ \| `(iid-cl .+)`<br>`` (.+) `` \|$", text, re.MULTILINE)
    assert len(rows) == 20
    assert all(re.fullmatch(r"iid-cl: .+[.?]", said) for _, said in rows)
    assert len({said for _, said in rows}) == 20  # each says something else


def test_a_command_that_is_no_mistake_is_noticed(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="iid-cl configs: ends with 0"):
        script.printed(script.Mistake("None", "iid-cl configs"))
