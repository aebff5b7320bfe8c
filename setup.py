"""README as a package index shows it: links and pictures lead to the repository that pyproject.toml names."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def absolute(text: str, repository: str) -> str:
    """The same Markdown with the repository's address before each relative link and picture.

    >>> absolute("![a](docs/a.png) [b](docs/b.md#c) [d](https://e.org) [f](#g)", "https://h.org/i")
    '![a](https://h.org/i/raw/main/docs/a.png) [b](https://h.org/i/blob/main/docs/b.md#c) [d](https://e.org) [f](#g)'
    """
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?:)", rf"\g<1>{repository}/raw/main/", text)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{repository}/blob/main/", text)


def readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = project["urls"].get("Repository")
    return absolute(text, repository) if repository else text


if __name__ == "__main__":
    setup(long_description=readme(), long_description_content_type="text/markdown")
