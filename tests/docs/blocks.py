"""The fenced blocks of README and docs, each with the mark that an HTML comment before it may carry.

A mark is ``<!-- test: PART; PART; ... -->`` on the lines before a fence. A part is ``setup NAME`` (names that a Python
block takes for granted come from :mod:`tests.docs.setups`) or ``THIS => THAT`` (the block is run with THAT in place of
THIS, which must be in it: a smaller number, another device).
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- test: (?P<mark>[^\n]*?) -->\n\s*)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
LANGUAGES = {"python", "bash", "yaml", "text"}  # text is what a command prints: nothing to run


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str
    setups: list[str] = field(default_factory=list)
    changes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def tested(self) -> str:
        """The text as it is run."""
        text = self.text
        for old, new in self.changes:
            assert old in text, f"{self.where}: the mark replaces {old!r}, which is not in the block"
            text = text.replace(old, new)
        return text


def blocks(page: Path) -> list[Block]:
    """A page's blocks in order."""
    source = page.read_text(encoding="utf-8")
    return [_block(page, source, match) for match in FENCE.finditer(source)]


def _block(page: Path, source: str, match: re.Match[str]) -> Block:
    setups, changes = [], []
    for part in (match["mark"] or "").split("; "):
        if " => " in part:
            old, new = part.split(" => ")
            changes.append((old, new))
        elif part:
            assert part.startswith("setup "), f"{page.name}: {part!r} is no part of a mark"
            setups.append(part.removeprefix("setup "))
    line = source[: match.start("language")].count("\n") + 1
    indent = match["indent"]
    text = "".join(row.removeprefix(indent) for row in match["text"].splitlines(keepends=True))
    return Block(page, line, match["language"].strip(), text, setups, changes)


def commands(block: Block) -> list[str]:
    """The commands of a ``bash`` block, one a line: continuations joined, comments and prompts gone."""
    found = []
    for row in block.tested.replace("\\\n", " ").splitlines():
        words = shlex.split(row, comments=True)
        for command in re.split(r"\s(?:&&|;)\s", shlex.join(words).replace("'&&'", "&&").replace("';'", ";")):
            if command.strip():
                found.append(command.strip())
    return found


def inline_commands(page: Path) -> list[str]:
    """What stands between single backticks and begins with ``iid-cl`` or ``python -m benchmarks``."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"`((?:iid-cl [a-z]|python -m benchmarks)[^`]*)`", " ".join(text.split()))
