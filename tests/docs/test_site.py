"""The site builds without a warning or a broken link or anchor, and its pages ask no other server for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import ROOT

LOADED = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["']?(https?:|//)[^"'\s>]*""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_pages_load_nothing_from_other_servers(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = [match[0] for match in LOADED.finditer(page.read_text(encoding="utf-8"))]
        assert not [tag for tag in found if 'rel="canonical"' not in tag], page.name
    assert not re.findall(
        r"url\((?:https?:)?//", (site / "assets" / "katex" / "katex.min.css").read_text(encoding="utf-8")
    )


def test_every_page_is_in_the_menu(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    pages = [
        page.relative_to(site).as_posix()
        for page in site.rglob("*.html")
        if page.name not in ("404.html", "index.html")
    ]
    assert not [page for page in pages if f'href="{page}"' not in home]


def test_docstrings_show_no_roles(site: Path) -> None:
    for page in (site / "api").glob("*.html"):
        assert not re.findall(r":(?:class|func|mod|data|meth):", page.read_text(encoding="utf-8")), page.name
