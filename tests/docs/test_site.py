"""The site builds without a warning or a broken link or anchor, and its pages ask no other server for anything."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import iid_cl
from iid_cl import strategies
from tests.browser import Browser, opened

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


def test_every_public_name_is_in_the_api(site: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    headings = set(re.findall(r'<h[2-4] id="([\w.-]+)"', text))
    shown = {name.rpartition(".")[2].lower() for name in headings}
    assert not {name for name in (*iid_cl.__all__, *strategies.__all__) if name.lower() not in shown}


def test_sections_of_the_configuration_have_headings(site: Path) -> None:
    page = (site / "configuration.html").read_text(encoding="utf-8")
    assert re.findall(r'<h2 id="(\w+)"', page)[:5] == ["stream", "model", "train", "memory", "distill"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.browser
def test_the_search_works_from_disk(site: Path, browser: Browser) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    results = "document.querySelectorAll('.md-search-result__item').length"
    for page in ("index.html", "api/memory.html"):
        browser.open(site / page)
        browser.driver.execute_script("document.querySelector('[for=__search]').click()")
        browser.find(".md-search__input").send_keys("covariance matching")
        WebDriverWait(browser.driver, 20).until(lambda _: browser.ask(results) > 0)


@pytest.mark.browser
def test_keys_are_not_broken(site: Path, browser: Browser) -> None:
    browser.open(site / "configuration.html", width=390)
    height = (
        "Math.max(...[...document.querySelectorAll('td:first-child code')].map((one) => one.getClientRects().length))"
    )
    assert browser.ask(height) == 1
    assert browser.ask("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_pages_are_accessible(site: Path, browser: Browser, scheme: str, width: int) -> None:
    for page in ("index.html", "configuration.html", "paper.html", "api/strategies.html"):
        browser.open(site / page, scheme, width)
        assert browser.ask("document.documentElement.scrollWidth") <= width, page
        assert browser.serious() == [], page
