"""What is handed on: the source distribution is complete, its page on an index works, and versions agree."""

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

import iid_cl

ROOT = Path(__file__).parents[1]
LINKS = ("iid_cl/configs", "iid_cl/strategies")  # ordinary folders in a distribution


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    return [file for file in listed.stdout.splitlines() if (ROOT / file).exists()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> tarfile.TarFile:
    """Built from a copy, as building writes into the folder."""
    folder = tmp_path_factory.mktemp("sdist")
    for file in tracked():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, folder / file, follow_symlinks=False)
    build = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    built = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert not re.findall(r".*(?:Warning|Deprecat|warning: no ).*", built.stdout + built.stderr)
    (file,) = (folder / "dist").iterdir()
    return tarfile.open(file)


def test_the_source_distribution_holds_the_repository(sdist: tarfile.TarFile) -> None:
    held = {name.partition("/")[2] for name in sdist.getnames()}
    assert sorted({*tracked()} - {*LINKS} - held) == []
    assert {"iid_cl/strategies/buffers.py", "iid_cl/configs/studies/schema.json", "strategies/buffers.py"} <= held
    assert not [name for name in held if name.endswith(".pyc")]


def test_its_metadata(sdist: tarfile.TarFile) -> None:
    file = sdist.extractfile(f"iid_cl-{iid_cl.__version__}/PKG-INFO")
    assert file is not None
    metadata = message_from_bytes(file.read())
    assert metadata["Version"] == iid_cl.__version__
    assert metadata["License-Expression"] == "MIT"
    assert "Paper, https://arxiv.org/abs/2404.00563" in metadata.get_all("Project-URL", [])
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# iid-cl\n")  # type: ignore[union-attr]


def test_links_of_the_readme_are_absolute_on_an_index() -> None:
    absolute = runpy.run_path(str(ROOT / "setup.py"))["absolute"]
    assert absolute("![a](docs/a.png) [b](docs/b.md#c)", "https://h.org/i") == (
        "![a](https://h.org/i/raw/main/docs/a.png) [b](https://h.org/i/blob/main/docs/b.md#c)"
    )
    assert absolute("[a](https://e.org) [b](#c)", "https://h.org/i") == "[a](https://e.org) [b](#c)"
    readme = absolute((ROOT / "README.md").read_text(encoding="utf-8"), "https://h.org/i")
    assert not re.findall(r"\]\((?!https://|#)[^)]*\)", readme)


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == iid_cl.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["references"][0]["url"] == "https://arxiv.org/abs/2404.00563"


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == iid_cl.__version__
