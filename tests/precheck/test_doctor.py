"""``iid-cl doctor``."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from iid_cl.config.datasets import DATASETS
from iid_cl.data.available import missing_files
from iid_cl.precheck import doctor
from iid_cl.terminal.screen import Mode, Screen


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying it takes half a minute."""
    monkeypatch.setattr("iid_cl.compute.arithmetic.compiler_problem", lambda kind: "no g++")


def answer(data_root: Path | None = None, *, thorough: bool = False) -> tuple[bool, str]:
    out = io.StringIO()
    well = doctor.examine(data_root, Console(file=out, width=100), thorough=thorough)
    return well, out.getvalue()


def test_a_sound_machine(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    for name in ("train", "test", "meta"):
        (tmp_path / "cifar-100-python" / name).touch()
    well, text = answer(tmp_path)
    assert well
    assert "ok     cpu: " in text
    assert "compiler" not in text
    assert "ok     digits: comes with scikit-learn" in text
    assert "ok     cifar100: there" in text
    assert "note   cifar10: not there; downloaded when it is first used" in text
    assert text.endswith("Everything that a run needs is there; iid-cl doctor --thorough tries all of it.\n")


def test_a_thorough_examination_imports_everything_and_tries_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(doctor.importlib, "import_module", imported.append)
    well, text = answer(thorough=True)
    assert well
    assert imported == ["torch", "torchvision", "sklearn", "matplotlib", "avalanche"]
    assert "note   compiler: no g++; runs go on without it" in text
    assert text.endswith("Everything that a run needs works.\n")


def test_packages_that_do_not_fit_each_other_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"torchvision": ["torch==1.0", "numpy", "pillow>=99; extra == 'all'"]}
    monkeypatch.setattr(doctor, "requires", lambda name: needs.get(name))
    monkeypatch.setattr(doctor, "_version", lambda name: {"torch": "2.15.0+cu132"}.get(name, "1.0"))
    well, text = answer()
    assert not well
    assert text.count("failed") == 2  # and in the last line
    told = "failed torchvision: needs torch==1.0, but 2.15.0+cu132 is installed; pip install 'torch==1.0'"
    assert told in text.replace("\n", " ")


def test_a_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED", ("torch", "no-such-package"))
    well, text = answer()
    assert not well
    assert "failed no-such-package: not installed; pip install no-such-package" in text


def test_a_package_that_does_not_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "IMPORTED", ("no_such_module",))
    well, text = answer(thorough=True)
    assert not well
    assert "failed import no_such_module: ModuleNotFoundError" in text
    assert "cpu:" not in text


def test_an_optional_package_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-package": "does much; pip install it"})
    well, text = answer()
    assert well
    assert "note   no-such-package: not installed; does much; pip install it" in text


def test_without_avalanche_all_works_but_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "avalanche-lib" else version(name))
    well, text = answer()
    assert well
    assert "note   avalanche-lib: not installed; run, resume and compare need it" in text
    assert text.endswith("What is installed works; for runs, pip install 'iid-cl[avalanche]'.\n")


def test_a_device_that_computes_wrongly_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(device: str) -> None:
        raise ArithmeticError("a convolution of ones gives 26.0")

    monkeypatch.setattr(doctor, "_compute", wrong)
    well, text = answer()
    assert not well
    assert "failed cpu: ArithmeticError: a convolution of ones gives 26.0" in text


def test_the_computation_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    doctor._compute("cpu")
    original = torch.nn.functional.conv2d
    monkeypatch.setattr("torch.nn.functional.conv2d", lambda *arguments: original(*arguments) * 1.001)
    with pytest.raises(ArithmeticError):
        doctor._compute("cpu")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine(None, Screen(Mode.json))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"finding"}
    assert {event["state"] for event in events[:-1]} <= {"ok", "note"}
    assert (events[-1]["event"], events[-1]["well"]) == ("finished", True)


def test_every_data_set_is_known() -> None:
    _, text = answer()
    for name, info in DATASETS.items():
        assert f" {name}: {info.how}" in text or f" {name}: not there; {info.how}" in text


def test_files_are_looked_for_where_loaders_read_them(tmp_path: Path) -> None:
    assert missing_files("digits", tmp_path) == []
    assert missing_files("image_folder", tmp_path) == ["train", "test"]
    (tmp_path / "train").mkdir()
    assert missing_files("image_folder", tmp_path) == ["test"]


def test_nothing_is_written(tmp_path: Path) -> None:
    answer(tmp_path / "no" / "such" / "folder")
    assert list(tmp_path.iterdir()) == []
