"""Every block of README and docs runs, or says why not: a new one without a test or an entry here fails."""

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

import iid_cl.report.page as page_module
from iid_cl.cli import app, main
from iid_cl.config.reading import load_config, parse_section
from iid_cl.config.study import StudyConfig
from iid_cl.studies.cases import cases

from . import hosts
from .blocks import LANGUAGES, PAGES, ROOT, Block, blocks, commands, inline_commands
from .setups import SETUPS

# Appended to a command so that it runs in a second or two: settings, not a different path through the program.
SMALL_STREAM = ["stream.first_classes=4", "stream.experiences=2", "stream.train_limit=12", "stream.test_limit=4"]
SMALL_DISTILLATION = ["distill.iterations=1", "distill.real_batch=4", "distill.embedder.width=4"]
SMALL_TRAINING = ["train.epochs=1", "train.memory_updates=1", "model.width=4"]
SMALL_EVALUATION = ["evaluate.epochs=1", "evaluate.networks=1", "evaluate.network.width=4"]
SMALL_QUEUE = ["distill.queue.batch_size=4"]
MINIATURE = {
    "run": [*SMALL_STREAM, *SMALL_DISTILLATION, *SMALL_TRAINING],
    "compare": [*SMALL_STREAM, *SMALL_DISTILLATION, *SMALL_TRAINING],
    "check": [*SMALL_STREAM, *SMALL_DISTILLATION, *SMALL_TRAINING],
    "distill": [*SMALL_STREAM, *SMALL_DISTILLATION, *SMALL_QUEUE],
    "evaluate": [*SMALL_EVALUATION, "stream.test_limit=4"],
    "study": [*SMALL_STREAM, *SMALL_DISTILLATION, *SMALL_EVALUATION],
}
FEWER = {
    "compare": ["--seeds", "1", "--ipc", "1", "--workers", "1", "--threads", "1"],
    "study": ["--seeds", "1"],
    "search_digits": ["--trials", "1"],
    "compare_digits.yaml": ["--memories", "herding,random"],  # auto's trials are of a fixed length
}

# Only parsed (command, options and their types exist), and why.
NOT_RUN = {
    "iid-cl distill cifar10 --ipc 10 -o cifar10.safetensors": "a download",
    "iid-cl evaluate cifar10.safetensors": "a download",
    "iid-cl distill cifar10 -o m.safetensors --workers 4 --set distill.cc.weight=0": "a download",
    "iid-cl show memory.safetensors": "a memory that a script leaves, as tests/examples has it made",
    "iid-cl export memory.safetensors memory": "the same",
    "iid-cl import res_DM_CIFAR10_ConvNet_10ipc.pt --dataset cifar10 -o dm.safetensors": "a download",
    "iid-cl evaluate dm.safetensors --ranking": "the same",
    "iid-cl study published_cifar10.yaml": "a download, and hours on a GPU",
    "iid-cl run gdumb_cifar100_5step.yaml": "a download, and hours on a GPU",
    "iid-cl resume DIR": "an interrupted run, as tests/runs makes them",
    "iid-cl run split_cifar100.yaml": "a download, and a GPU to be quick",
    "iid-cl compare split_digits.yaml --launcher ray --workers 2": "a Ray cluster, as in tests/runs",
    "iid-cl compare split_cifar100.yaml --launcher ray --address FIRST:6379 --threads 4 --out runs/cifar100": (
        "a download and a Ray cluster"
    ),
    "iid-cl compare split_cifar100.yaml --launcher slurm --device cuda --threads 4 --slurm partition=gpu "
    "--slurm time=02:00:00 --slurm mem=16G --out runs/cifar100": "a download and a Slurm cluster",
}
# Commands of other programs, and who tries them.
OTHERS = {
    "make": "its target is there; CI runs make test, which a clean clone is installed for",
    "pip install": "an installation",
    "python -m venv": "an installation",
    ".": "an installation",
    "python examples/": "tests/examples",
    "ray": "a Ray cluster",
    "export RAY_AUTH_MODE": "a Ray cluster",
}

EVERY_BLOCK = [block for page in PAGES for block in blocks(page)]
COMMANDS = [(block, command) for block in EVERY_BLOCK if block.language == "bash" for command in commands(block)]


def of_page(language: str) -> list[Any]:
    """The pages that have such blocks, each as a parameter."""
    pages = list(dict.fromkeys(block.page for block in EVERY_BLOCK if block.language == language))
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    odd = [f"{block.where}: {block.language!r}" for block in EVERY_BLOCK if block.language not in LANGUAGES]
    assert not odd, f"name one of {sorted(LANGUAGES)} after the fence: {odd}"


@pytest.fixture(autouse=True)
def _no_hosts_afterwards() -> Iterator[None]:
    yield
    hosts.remove()


@pytest.mark.parametrize("page", of_page("python"))
def test_python_blocks_run_in_the_order_of_their_page(page: Path, in_tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "a_page"}
    for block in blocks(page):
        if block.language == "python":
            for setup in block.setups:
                namespace.update(SETUPS[setup]())
            # padded, so that a traceback names the page's own line
            exec(compile("\n" * block.line + block.tested, block.where, "exec"), namespace)


@pytest.mark.parametrize("page", of_page("yaml"))
def test_yaml_blocks_are_configurations(page: Path, in_tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            file = in_tmp_path / "block.yaml"
            file.write_text(block.tested, encoding="utf-8")
            values = yaml.safe_load(block.tested) or {}  # a comment alone is none
            assert isinstance(values, dict), block.where
            if {"variants", "search"} & values.keys():  # a study, or a part of one
                cases(parse_section(StudyConfig, {"name": "part", "title": "a part", **values}, block.where))
            else:
                load_config(str(file), [])


@pytest.mark.parametrize("page", of_page("bash"))
def test_commands_run_in_miniature(
    page: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of their page and in one folder, where DATA is an image folder of four classes and images.npz
    holds arrays of four.

    Figures for papers, which take longer than all else, are drawn by ``iid-cl report`` alone.
    """
    save_figures = page_module.save_figures
    _image_folder(in_tmp_path / "DATA")
    _arrays(in_tmp_path / "images.npz")
    for block, command in COMMANDS:
        if block.page == page and command.startswith("iid-cl ") and command not in NOT_RUN:
            words = shlex.split(command)[1:]
            figures = save_figures if words[0] == "report" else lambda *_: None
            monkeypatch.setattr(page_module, "save_figures", figures)
            monkeypatch.setattr(sys, "argv", ["iid-cl", *_in_miniature(words)])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code, f"{block.where}: {command}\n{capsys.readouterr()}"


def test_commands_that_are_not_run_are_understood() -> None:
    for command in NOT_RUN:
        _parse(command)


def test_commands_in_the_text_name_what_there_is() -> None:
    for page in PAGES:
        for command in inline_commands(page):
            if command.startswith("python -m "):
                assert importlib.util.find_spec(command.split()[2]), f"{page.name}: {command}"
            else:
                _named(command, page)


def test_other_programs_commands_are_accounted_for() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for block, command in COMMANDS:
        if not command.startswith("iid-cl "):
            assert any(command == known or command.startswith(known) for known in OTHERS), (
                f"{block.where}: {command!r} is run by no test; write it into OTHERS with the reason"
            )
            words = command.split()
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), command
            if words[0] == "python" and words[1].endswith(".py"):
                assert (ROOT / words[1]).is_file(), command


def test_the_tables_above_hold_nothing_that_is_gone() -> None:
    written = [command for _, command in COMMANDS]
    assert not [command for command in NOT_RUN if command not in written]
    assert not [known for known in OTHERS if not any(command.startswith(known) for command in written)]


def _in_miniature(words: list[str]) -> list[str]:
    """A command's words with the settings that make it small; of an option given twice the last one counts."""
    name = words[0]
    sets = [part for setting in MINIATURE.get(name, []) for part in ("--set", setting)]
    device = ["--device", "cpu"] if name in MINIATURE else []
    fewer = [option for word in words[:2] for option in FEWER.get(word, [])]
    return [*words, *sets, *device, *fewer]


def _image_folder(root: Path) -> None:
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 2)):
        for name in ("ant", "bee", "cat", "dog"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(generator.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def _arrays(file: Path) -> None:
    images = np.random.default_rng(0).integers(256, size=(48, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(48) % 4
    np.savez(file, train_images=images, train_labels=labels, test_images=images[:8], test_labels=labels[:8])


def _parse(command: str) -> None:
    """Has the command line read the command as it would before it runs it."""
    name, *rest = shlex.split(command)[1:]
    typer.main.get_command(app).commands[name].make_context(name, rest)  # type: ignore[attr-defined]


def _named(command: str, page: Path) -> None:
    """The subcommand and the options of a command that need not be whole."""
    root = typer.main.get_command(app)
    words = command.split()
    assert words[1] in root.commands, f"{page.name}: {command}"  # type: ignore
    known = {option for parameter in root.commands[words[1]].params for option in parameter.opts}  # type: ignore
    for option in re.findall(r"(?<=\s)(--?[a-z][\w-]*)", command):
        assert option in known, f"{page.name}: {command} ({option})"


def test_a_block_without_a_language_would_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\niid-cl run x.yaml\n```\n\n<!-- test: setup tiny; 10 => 1 -->\n```python\nx = 10\n```\n")
    first, second = blocks(page)
    assert first.language not in LANGUAGES
    assert (second.setups, second.tested, second.line) == (["tiny"], "x = 1\n", 6)


def test_other_fences_hold_nothing_but_tested_files() -> None:
    """``~~~`` is for the examples, which have tests of their own."""
    for page in PAGES:
        for inside in re.findall(
            r"^ *~~~\w+\n(.*?)^ *~~~$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            assert re.fullmatch(r'--8<-- "examples/\w+\.py"', inside.strip()), page


def test_a_mark_that_replaces_nothing_is_a_mistake(tmp_path: Path) -> None:
    block = Block(ROOT / "README.md", 1, "python", "x = 10\n", [], [("y", "z")])
    with pytest.raises(AssertionError, match="not in the block"):
        _ = block.tested
