"""Which versions are allowed, and which are tested: pyproject.toml and the two constraints files say the same."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines if not line.startswith("iid-cl[")]
    return {canonicalize_name(each.name): each for each in found}


def pins(file: str) -> dict[str, Version]:
    """Every line pins one version exactly."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert canonicalize_name(name) not in found
            found[canonicalize_name(name)] = Version(version)
    return found


def bound(requirement: Requirement, operator: str) -> Version:
    (version,) = [Version(each.version) for each in requirement.specifier if each.operator == operator]
    return version


EXTRAS = PROJECT["optional-dependencies"]
OF_USERS = [line for name, lines in EXTRAS.items() if name not in ("dev", "docs", "test") for line in lines]
IMPORTED = requirements([*PROJECT["dependencies"], *OF_USERS])
ALL = requirements([*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)])


@pytest.mark.parametrize("name", ALL)
def test_every_dependency_is_bounded_on_both_sides(name: str) -> None:
    assert bound(ALL[name], ">=") < bound(ALL[name], "<")


@pytest.mark.parametrize("name", ALL)
def test_the_tested_version_is_an_allowed_one(name: str) -> None:
    assert pins("constraints.txt")[name] in ALL[name].specifier


@pytest.mark.parametrize("name", ALL)
def test_no_major_version_beyond_the_tested_one_is_allowed(name: str) -> None:
    tested, first_refused = pins("constraints.txt")[name], bound(ALL[name], "<")
    assert first_refused <= Version(f"{tested.major + 1}")


@pytest.mark.parametrize("name", IMPORTED)
def test_the_oldest_tested_version_is_the_oldest_allowed_one(name: str) -> None:
    assert pins("constraints-oldest.txt")[name] == bound(IMPORTED[name], ">=")
