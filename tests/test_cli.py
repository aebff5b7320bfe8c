"""The command line: a mistake ends in one sentence and exit code 2, and leaves nothing behind."""

import csv
import errno
import json
import os
import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import pytest
import torch
import yaml
from PIL import Image

import iid_cl
from iid_cl.cli import main, options
from iid_cl.config.reading import load_config, parse_config, shipped_configs
from iid_cl.files import save_tensors
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory, save_memory
from iid_cl.studies.cases import load_study, shipped_studies

pytestmark = pytest.mark.usefixtures("in_tmp_path", "_no_network", "no_reports")

RUN = ["run", "split_digits.yaml", "--device", "cpu"]
COMPARE = ["compare", "split_digits.yaml", "--device", "cpu"]
DISTILL = ["distill", "digits", "-o", "out.safetensors", "--device", "cpu"]


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens an address hears that there is no network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Sequence[str]], Answer]:
    """Runs the command line in this process."""

    def call(arguments: Sequence[str]) -> Answer:
        monkeypatch.setattr(sys, "argv", ["iid-cl", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Answer(int(caught.value.code or 0), captured.out, captured.err)

    return call


def contents(folder: Path) -> dict[str, bytes | None]:
    """All files below a folder with their bytes, and the folders in it; torchvision leaves deeper ones."""
    found = [*folder.iterdir(), *(path for path in folder.rglob("*") if path.is_file())]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def image_folder(images: int = 4, size: int = 8) -> Path:
    """The folder ``images`` with train/ and test/ images of the classes a and b."""
    root = Path("images")
    for part in ("train", "test"):
        for number, name in enumerate(("a", "b")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(images):
                Image.new("RGB", (size, size), (40 * i, 100 * number, 7)).save(folder / f"{i}.png")
    return root


def on_folder(*overrides: str) -> list[str]:
    """A run on the folder ``images``."""
    sets = [part for override in overrides for part in ("--set", override)]
    return [
        *RUN,
        "--set",
        "stream.dataset=image_folder",
        "--set",
        "stream.experiences=2",
        "--data-root",
        "images",
        *sets,
    ]


def misspelt_key() -> list[str]:
    return [*RUN, "--set", "memory.icp=3"]


def misspelt_key_in_a_file() -> list[str]:
    Path("mine.yaml").write_text("memory: {icp: 3}\n")
    return ["run", "mine.yaml"]


def value_out_of_range() -> list[str]:
    return [*RUN, "--set", "memory.ipc=0"]


def seed_out_of_range() -> list[str]:
    return [*RUN, "--seed", "-1"]


def order_seed_out_of_range() -> list[str]:
    return [*RUN, "--set", f"stream.order_seed={2**32}"]


def last_seed_out_of_range() -> list[str]:
    return [*COMPARE, "--seed", str(2**32 - 1), "--seeds", "2"]


def missing_config() -> list[str]:
    return ["run", "missing.yaml"]


def missing_config_of_an_odd_name() -> list[str]:
    return ["run", "[red]a:100:[/b].yaml"]


def missing_dataset(name: str) -> list[str]:
    Path("empty").mkdir()
    return [*RUN, "--set", f"stream.dataset={name}", "--data-root", "empty"]


def image_folder_without_train() -> list[str]:
    Path("images").mkdir()
    return on_folder()


def image_folder_without_test() -> list[str]:
    for path in sorted((image_folder() / "test").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    Path("images/test").rmdir()
    return on_folder()


def image_folder_without_classes() -> list[str]:
    Path("images/train").mkdir(parents=True)
    return on_folder()


def image_folder_of_other_test_classes() -> list[str]:
    (image_folder() / "test" / "b").rename("images/test/c")
    return on_folder()


def corrupt_image(run: bool = True) -> list[str]:
    (image_folder() / "train" / "b" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return on_folder() if run else ["distill", "image_folder", "--data-root", "images", "-o", "out.safetensors"]


def truncated_image() -> list[str]:
    path = image_folder() / "test" / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    return on_folder()


def empty_class_folder() -> list[str]:
    (image_folder() / "train" / "c").mkdir()
    return on_folder()


def differing_image_sizes() -> list[str]:
    Image.new("RGB", (9, 8)).save(image_folder() / "train" / "a" / "3.png")
    return on_folder()


def differing_test_image_sizes() -> list[str]:
    root = image_folder()
    for path in (root / "test").rglob("*.png"):
        Image.new("RGB", (16, 16)).save(path)
    return on_folder()


def validation_that_empties_a_class() -> list[str]:
    image_folder()
    return on_folder("stream.validation=0.01")


def settings(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def budget_too_small() -> list[str]:
    return [*RUN, *settings("memory.ipc=null", "memory.mem_size=9")]


def budget_too_small_for_a_baseline() -> list[str]:
    return [*RUN, *settings("memory.method=none", "baselines=[random]", "memory.ipc=null", "memory.mem_size=9")]


def budget_too_small_in_compare() -> list[str]:
    return [*COMPARE, "--memories", "random", *settings("memory.method=none", "memory.ipc=null", "memory.mem_size=9")]


def budget_too_small_in_distill() -> list[str]:
    return [*DISTILL, *settings("memory.ipc=null", "memory.class_bytes=65")]


def downscale_that_does_not_divide() -> list[str]:
    return [*RUN, *settings("memory.method=random", "memory.downscale=3")]


def more_experiences_than_classes() -> list[str]:
    return [*RUN, "--set", "stream.experiences=11"]


def class_that_does_not_exist() -> list[str]:
    return [*RUN, "--set", "stream.classes=[[0], [10]]"]


def image_size_of_a_fixed_dataset() -> list[str]:
    return [*RUN, "--set", "stream.image_size=16"]


def out_that_holds_files() -> list[str]:
    Path("kept").mkdir()
    Path("kept/notes.txt").write_text("mine")
    return [*RUN, "--out", "kept"]


def out_that_is_a_file() -> list[str]:
    Path("kept").write_text("mine")
    return [*RUN, "--out", "kept"]


def out_below_a_file() -> list[str]:
    Path("kept").write_text("mine")
    return [*RUN, "--out", "kept/run"]


def out_of_compare_that_holds_files() -> list[str]:
    out_that_holds_files()
    return [*COMPARE, "--out", "kept"]


def memory_missing() -> list[str]:
    return ["evaluate", "missing.safetensors"]


def memory_damaged() -> list[str]:
    Path("m.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken!")
    return ["evaluate", "m.safetensors"]


def memory_empty_file() -> list[str]:
    Path("m.safetensors").touch()
    return ["evaluate", "m.safetensors"]


def memory_that_is_a_folder() -> list[str]:
    Path("m.safetensors").mkdir()
    return ["evaluate", "m.safetensors"]


def memory_of_another_program() -> list[str]:
    save_tensors(Path("m.safetensors"), {"weight": torch.zeros(3)})
    return ["evaluate", "m.safetensors"]


def stored_memory(label: int = 0, size: int = 8, **changes: Any) -> list[str]:
    """Evaluates a memory of one image of the digits, with some of its metadata changed."""
    memory = ExemplarSet.from_classes({label: torch.zeros(1, 1, size, size, dtype=torch.uint8)})
    metadata = {"stream": {"dataset": "digits"}, "seed": 0, "class_names": list("0123456789"), **changes}
    save_memory(Path("m.safetensors"), memory, {k: v for k, v in metadata.items() if v is not None})
    short = ["evaluate.epochs=1", "evaluate.networks=1", "evaluate.network={width: 4, depth: 1}"]
    return ["evaluate", "m.safetensors", "--device", "cpu", *(p for override in short for p in ("--set", override))]


def distill_to_another_suffix() -> list[str]:
    return ["distill", "digits", "-o", "out.pt"]


def distill_to_a_folder() -> list[str]:
    Path("out.safetensors").mkdir()
    return [*DISTILL, "--method", "random"]


def distill_over_a_file() -> list[str]:
    Path("out.safetensors").write_text("mine")
    return DISTILL


def distill_over_a_picture() -> list[str]:
    Path("out.png").write_text("mine")
    return DISTILL


def show_over_a_file() -> list[str]:
    stored_memory()
    Path("m.png").write_text("mine")
    return ["show", "m.safetensors", "--out", "m.png"]


def report_through_a_link() -> list[str]:
    Path("mine").mkdir()
    Path("run").mkdir()
    Path("run/figures").symlink_to(Path("mine").resolve())
    return ["report", "run"]


def report_out_through_a_link() -> list[str]:
    for name in ("mine", "run", "out"):
        Path(name).mkdir()
    Path("out/figures").symlink_to(Path("mine").resolve())
    return ["report", "run", "--out", "out"]


def resume_of_a_pipe() -> list[str]:
    Path("run").mkdir()
    for name in ("config.yaml", "begun.json"):
        Path("run", name).write_text("{}")
    os.mkfifo("run/log.txt")
    return ["resume", "run"]


def resume_of_nothing() -> list[str]:
    Path("run").mkdir()
    return ["resume", "run"]


def resume_of_a_comparison() -> list[str]:
    Path("run/cells").mkdir(parents=True)
    Path("run/config.yaml").write_text("")
    return ["resume", "run"]


def compare_with_a_pipe() -> list[str]:
    Path("run/cells").mkdir(parents=True)
    Path("run/config.yaml").write_text("")
    os.mkfifo("run/cells/random-replay-ipc10-seed0.json")
    return [*COMPARE, "--out", "run"]


def distill_below_a_file() -> list[str]:
    Path("kept").write_text("mine")
    return ["distill", "digits", "--method", "random", "-o", "kept/out.safetensors"]


def distill_an_unknown_dataset() -> list[str]:
    return ["distill", "digitz", "-o", "out.safetensors"]


def distill_without_images() -> list[str]:
    return [*DISTILL, "--method", "none"]


def unknown_method() -> list[str]:
    return [*COMPARE, "--memories", "random,herdign"]


def no_method() -> list[str]:
    return [*COMPARE, "--memories", ""]


def budgets_that_are_no_numbers() -> list[str]:
    return [*COMPARE, "--ipc", "1,five"]


def budgets_of_two_kinds() -> list[str]:
    return [*COMPARE, "--ipc", "1", "--mem-bytes", "660"]


def mode_that_does_not_exist() -> list[str]:
    return [*COMPARE, "--modes", "replay,rehearsal"]


def baseline_that_does_not_take_part() -> list[str]:
    return [*COMPARE, "--memories", "none,random", "--baseline", "herding"]


def address_without_ray() -> list[str]:
    return [*COMPARE, "--address", "10.0.0.1:6379"]


def distillation_that_cannot_be_shared() -> list[str]:
    return [*DISTILL, "--workers", "2", "--set", "distill.cc.weight=0.1"]


def embedder_too_deep() -> list[str]:
    return [*RUN, "--set", "distill.embedder.depth=4"]


def embedder_too_deep_in_distill() -> list[str]:
    return [*DISTILL, "--set", "distill.embedder.depth=4"]


def model_too_deep() -> list[str]:
    return [*RUN, "--set", "model.depth=4"]


def centralization_network_too_deep() -> list[str]:
    return [*RUN, "--set", "memory.ipc=2", "--set", "distill.cc={weight: 1.0, network: {depth: 4}}"]


def evaluation_network_too_deep() -> list[str]:
    return [*stored_memory(), "--set", "evaluate.network.depth=4"]


STUDY_FILES = {"begun.json", "cells", "log.txt", "report.html", ".lock"} | {
    f"study.{kind}" for kind in ("csv", "json", "png", "yaml")
}


def study_file(*arguments: str, **keys: Any) -> list[str]:
    """Runs mini.yaml, a study of two memories of random digits; ``keys`` replace some of its own."""
    network = {"width": 4, "depth": 1}
    values: dict[str, Any] = {
        "name": "mini",
        "title": "A study",
        "base": {
            "stream": {"dataset": "digits"},
            "memory": {"method": "random", "ipc": 1},
            "evaluate": {"network": network, "epochs": 1, "networks": 1},
            "device": "cpu",
        },
        "variants": [{"name": "A"}, {"name": "B", "set": {"memory.ipc": 2}}],
        "seeds": 1,
        **keys,
    }
    Path("mini.yaml").write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return ["study", "mini.yaml", *arguments]


def study_rows(folder: str) -> list[dict[str, str]]:
    """The rows of a study's table."""
    with (Path(folder) / "study.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def yaml_bomb() -> list[str]:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    Path("bomb.yaml").write_text("\n".join(["a0: &a0 [1]", *levels]))
    return ["run", "bomb.yaml"]


def endless_config() -> list[str]:
    with Path("large.yaml").open("wb") as file:
        file.truncate(2**18)
    return ["run", "large.yaml"]


def device_as_a_config() -> list[str]:
    return ["run", "/dev/zero"]


def escape_in_a_config() -> list[str]:
    Path("mine.yaml").write_text('name: "\\e[31mred"\n')
    return ["run", "mine.yaml"]


def line_break_in_the_name_of_an_image() -> list[str]:
    (image_folder() / "train" / "b" / "x\n\x1b[31m[red].png").write_bytes(b"none")
    return on_folder()


def markup_in_the_name_of_a_class() -> list[str]:
    (image_folder() / "train" / "[red]x").mkdir()
    return on_folder()


def class_of_an_unprintable_name() -> list[str]:
    (image_folder() / "train" / "\x1b[31m").mkdir()
    Image.new("RGB", (8, 8)).save("images/train/\x1b[31m/0.png")
    return on_folder()


def image_that_is_a_link_out() -> list[str]:
    image_folder()
    Path("images/train/a/0.png").rename("mine.png")
    Path("images/train/a/0.png").symlink_to(Path("mine.png").resolve())
    return on_folder()


def class_that_is_a_link_in_circles() -> list[str]:
    (image_folder() / "train" / "a" / "again").symlink_to("..")
    return on_folder()


def image_of_many_pixels() -> list[str]:
    image_folder()
    Image.new("1", (20_000, 10_000)).save("images/train/a/0.png")
    return on_folder()


def model_too_wide() -> list[str]:
    return [*RUN, "--set", "model.width=1000000000"]


def epochs_without_end() -> list[str]:
    return [*RUN, "--set", f"train.epochs={10**18}"]


def images_too_large() -> list[str]:
    image_folder()
    return on_folder("stream.image_size=1000000")


def comparison_too_large() -> list[str]:
    return [*COMPARE, "--seeds", "1000", "--ipc", ",".join(map(str, range(1, 101)))]


def study_too_large() -> list[str]:
    return study_file(sweep={"key": "memory.ipc", "values": list(range(1, 1001))})


def study_with_a_line_break_in_a_name() -> list[str]:
    return study_file(variants=[{"name": "a\nb"}])


def study_missing() -> list[str]:
    return ["study", "missing.yaml"]


def study_that_is_a_configuration() -> list[str]:
    return ["study", "split_digits.yaml"]


def study_with_an_unknown_key() -> list[str]:
    return study_file(varaints=[])


def study_without_variants() -> list[str]:
    return study_file(variants=None)


def study_that_is_no_yaml() -> list[str]:
    Path("mine.yaml").write_text("variants: [")
    return ["study", "mine.yaml"]


def study_of_an_invalid_variant() -> list[str]:
    return study_file(variants=[{"name": "A"}, {"name": "B", "set": {"memory.icp": 2}}])


def study_set_to_an_invalid_variant() -> list[str]:
    return study_file("--set", "memory.ipc=0")


def study_set_below_a_value() -> list[str]:
    return study_file("--set", "memory.ipc.x=0")


def study_set_without_a_value() -> list[str]:
    return study_file("--set", "memory.ipc")


def study_on_an_unknown_device() -> list[str]:
    return study_file("--device", "gpu")


def study_of_a_wrong_sweep() -> list[str]:
    return study_file(sweep={"key": "memory.ipc", "values": [1, 0]})


def study_of_two_axes() -> list[str]:
    return study_file(sweep={"key": "memory.ipc", "values": [1]}, iterations=[0])


def study_of_too_few_images() -> list[str]:
    small = {"memory.ipc": None, "memory.mem_size": 9}
    return study_file(variants=[{"name": "A"}, {"name": "B", "set": small}])


def study_of_a_network_too_deep() -> list[str]:
    return study_file("--set", "evaluate.network.depth=4")


def study_of_a_further_network_too_deep() -> list[str]:
    return study_file("--set", "evaluate.transfer=[{depth: 4}]")


def study_of_features_under_a_network_too_deep() -> list[str]:
    return study_file(scatter={"network": {"depth": 4}})


def study_of_a_missing_dataset() -> list[str]:
    Path("empty").mkdir()
    return study_file("--set", "stream.dataset=cifar10", "--data-root", "empty")


def out_of_study_that_holds_files() -> list[str]:
    out_that_holds_files()
    return study_file("--out", "kept")


def out_of_features_that_holds_files() -> list[str]:
    out_that_holds_files()
    return study_file("--out", "kept", scatter={"network": {"width": 4, "depth": 1}})


def out_of_study_below_a_file() -> list[str]:
    Path("kept").write_text("mine")
    return study_file("--out", "kept/study")


def network_of_foreign_keys(section: str, network: str) -> list[str]:
    return [*RUN, "--set", f"{section}={network}"]


def soft_labels_of_real_images() -> list[str]:
    return [*DISTILL, "--method", "random", "--set", "memory.soft_labels=true"]


def further_network_too_deep() -> list[str]:
    return [*stored_memory(), "--set", "evaluate.transfer=[{name: mlp}, {depth: 4}]"]


def no_cuda() -> list[str]:
    return ["run", "split_digits.yaml", "--device", "cuda"]


def case(make: Callable[..., list[str]], *shown: str, **arguments: Any) -> Any:
    """A mistake, and what its sentence names."""
    name = " ".join([make.__name__.replace("_", " "), *(str(value) for value in arguments.values())])
    return pytest.param(lambda: make(**arguments), shown, id=name)


MISTAKES = [
    case(misspelt_key, "'memory.icp'", "'memory.ipc'"),
    case(misspelt_key_in_a_file, "mine.yaml", "'memory.icp'", "'memory.ipc'"),
    case(value_out_of_range, "memory.ipc", " 0 "),
    case(seed_out_of_range, "seed", "-1"),
    case(order_seed_out_of_range, "stream.order_seed", str(2**32)),
    case(last_seed_out_of_range, "seed"),
    case(missing_config, "missing.yaml"),
    case(yaml_bomb, "bomb.yaml", "aliases"),
    case(endless_config, "large.yaml", "131,072 bytes"),
    case(device_as_a_config, "/dev/zero"),
    pytest.param(lambda: ["run", "\x1b[31m.yaml"], (r"'\x1b[31m.yaml'",), id="escape in an argument"),
    pytest.param(lambda: [*RUN, "--no\nsuch"], (r"'--no\nsuch'",), id="line break in an option"),
    pytest.param(lambda: [*RUN, "--out", "\udcff"], (r"'\udcff'",), id="argument that is no text"),
    case(escape_in_a_config, "mine.yaml", r"'\x1b[31mred'"),
    case(line_break_in_the_name_of_an_image, r"images/train/b/x\n\x1b[31m[red].png"),
    case(markup_in_the_name_of_a_class, "class '[red]x' has no images"),
    case(class_of_an_unprintable_name, "images/train", r"'\x1b[31m'"),
    case(image_that_is_a_link_out, "images/train/a/0.png", "leads out"),
    case(class_that_is_a_link_in_circles, "images/train/a/again", "link"),
    case(image_of_many_pixels, "images/train/a/0.png", "200000000 pixels"),
    case(model_too_wide, "model.width", "1000000000", "2048"),
    case(epochs_without_end, "train.epochs", "1000000000"),
    case(images_too_large, "stream.image_size", "4096"),
    case(comparison_too_large, "400000 runs"),
    case(study_too_large, "mini.yaml", "2000 cases"),
    case(study_with_a_line_break_in_a_name, "mini.yaml", r"'a\nb'"),
    case(missing_config_of_an_odd_name, "[red]a:100:[/b].yaml"),
    *(
        case(missing_dataset, "stream.dataset", repr(name), "empty", "no network here", "--data-root", name=name)
        for name in ("mnist", "fashion_mnist", "svhn", "cifar10", "cifar100")
    ),
    case(missing_dataset, "stream.dataset", "'tiny_imagenet'", "wnids.txt", name="tiny_imagenet"),
    case(image_folder_without_train, "images/train"),
    case(image_folder_without_test, "images/test"),
    case(image_folder_without_classes, "images/train"),
    case(image_folder_of_other_test_classes, "images/test", "b, c"),
    case(corrupt_image, "images/train/b/2.png"),
    case(truncated_image, "images/test/a/1.png"),
    case(empty_class_folder, "images/train/c"),
    case(differing_image_sizes, "images/train/a/3.png", "9x8", "8x8", "stream.image_size"),
    case(differing_test_image_sizes, "(3, 8, 8)", "(3, 16, 16)", "stream.image_size"),
    case(validation_that_empties_a_class, "stream.validation", "0.01", "'a'"),
    case(budget_too_small, "memory.mem_size", "9", "10"),
    case(budget_too_small_for_a_baseline, "memory.mem_size", "9", "10"),
    case(budget_too_small_in_compare, "memory.mem_size", "9", "10"),
    case(budget_too_small_in_distill, "memory.class_bytes", "65", "66"),
    case(downscale_that_does_not_divide, "memory.downscale", "3", "8x8"),
    case(more_experiences_than_classes, "stream.experiences", "11", "10"),
    case(class_that_does_not_exist, "stream.classes", "10", "0 to 9"),
    case(image_size_of_a_fixed_dataset, "stream.image_size", "16", "'digits'"),
    case(out_that_holds_files, "kept", "--out"),
    case(out_that_is_a_file, "kept", "--out"),
    case(out_below_a_file, "kept/run", "--out"),
    case(out_of_compare_that_holds_files, "kept", "--out"),
    case(memory_missing, "missing.safetensors"),
    case(memory_damaged, "m.safetensors"),
    case(memory_empty_file, "m.safetensors"),
    case(memory_that_is_a_folder, "m.safetensors"),
    case(memory_of_another_program, "m.safetensors"),
    case(stored_memory, "m.safetensors", stream=None),
    case(stored_memory, "m.safetensors", stream="digits"),
    case(stored_memory, "m.safetensors", stream={"dataset": "digitz"}),
    case(stored_memory, "m.safetensors", seed="first"),
    case(stored_memory, "m.safetensors", stream={"dataset": "digits", "validation": 0.5}, seed=-1),
    case(stored_memory, "m.safetensors", class_names=["zero"]),
    case(stored_memory, "m.safetensors", "'digits'", size=9),
    case(stored_memory, "m.safetensors", label=10),
    case(stored_memory, "m.safetensors", "normalisation", mean=[0.5], std=[0.5]),
    case(distill_to_another_suffix, "--out", "'out.pt'", ".safetensors"),
    case(distill_to_a_folder, "out.safetensors"),
    case(distill_over_a_file, "out.safetensors: exists already", "--force"),
    case(distill_over_a_picture, "out.png: exists already", "--force"),
    case(show_over_a_file, "m.png: exists already", "--force"),
    case(report_through_a_link, "run/figures: is a link that leads out"),
    case(report_out_through_a_link, "out/figures: is a link that leads out"),
    case(resume_of_a_pipe, "run/log.txt: is a pipe"),
    case(resume_of_nothing, "run: no run has begun there", "iid-cl run"),
    case(resume_of_a_comparison, "run: holds a comparison", "iid-cl compare"),
    case(compare_with_a_pipe, "random-replay-ipc10-seed0.json: is a pipe"),
    case(distill_below_a_file, "kept/out.safetensors"),
    case(distill_an_unknown_dataset, "stream.dataset", "'digitz'"),
    case(distill_without_images, "memory.method", "'none'"),
    case(unknown_method, "--memories", "'herdign'", "'herding'"),
    case(no_method, "--memories"),
    case(budgets_that_are_no_numbers, "--ipc", "'1,five'", "1,5,10"),
    case(budgets_of_two_kinds, "compare: budgets", "ipc and mem_bytes"),
    case(mode_that_does_not_exist, "compare: modes.1", "'rehearsal'"),
    case(baseline_that_does_not_take_part, "compare.baseline", "'herding'", "random"),
    case(address_without_ray, "--address", "10.0.0.1:6379", "--launcher ray"),
    case(distillation_that_cannot_be_shared, "distill.cc.weight: 0.1"),
    case(embedder_too_deep, "distill.embedder.depth", "4", "8x8"),
    case(embedder_too_deep_in_distill, "distill.embedder.depth", "4", "8x8"),
    case(model_too_deep, "model.depth", "4", "8x8"),
    case(centralization_network_too_deep, "distill.cc.network.depth", "4", "8x8"),
    case(evaluation_network_too_deep, "evaluate.network.depth", "4", "8x8"),
    case(further_network_too_deep, "evaluate.transfer.1.depth", "4", "8x8"),
    case(
        network_of_foreign_keys,
        "model",
        "width: 64",
        "'alexnet'",
        section="model",
        network="{name: alexnet, width: 64}",
    ),
    case(
        network_of_foreign_keys,
        "evaluate.network",
        "norm: 'batch'",
        "'lenet'",
        section="evaluate.network",
        network="{name: lenet, norm: batch}",
    ),
    case(
        network_of_foreign_keys,
        "distill.embedder",
        "depth: 2",
        "'mlp'",
        section="distill.embedder",
        network="{name: mlp, depth: 2}",
    ),
    case(soft_labels_of_real_images, "memory", "soft_labels", "'random'"),
    case(study_missing, "missing.yaml", "ablation_digits.yaml"),
    case(study_that_is_a_configuration, "split_digits.yaml"),
    case(study_with_an_unknown_key, "mini.yaml", "'varaints'", "'variants'"),
    case(study_without_variants, "mini.yaml", "variants"),
    case(study_that_is_no_yaml, "mine.yaml", "YAML"),
    case(study_of_an_invalid_variant, "study mini, variant 'B'", "'memory.icp'", "'memory.ipc'"),
    case(study_set_to_an_invalid_variant, "study mini, variant 'A'", "memory.ipc: 0 "),
    case(study_set_below_a_value, "memory.ipc.x", "'ipc'", "not a section"),
    case(study_set_without_a_value, "--set 'memory.ipc'", "key=value"),
    case(study_on_an_unknown_device, "variant 'A'", "device: 'gpu'"),
    case(study_of_a_wrong_sweep, "variant 'A'", "memory.ipc: 0 "),
    case(study_of_two_axes, "mini.yaml", "sweep", "iterations"),
    case(study_of_too_few_images, "memory.mem_size", "9"),
    case(study_of_a_network_too_deep, "evaluate.network.depth", "4", "8x8"),
    case(study_of_a_further_network_too_deep, "evaluate.transfer.0.depth", "4", "8x8"),
    case(study_of_features_under_a_network_too_deep, "scatter.network.depth", "4", "8x8"),
    case(study_of_a_missing_dataset, "stream.dataset", "'cifar10'", "--data-root"),
    case(out_of_study_that_holds_files, "kept", "--out"),
    case(out_of_features_that_holds_files, "kept", "--out"),
    case(out_of_study_below_a_file, "kept/study", "--out"),
    pytest.param(
        no_cuda,
        ("device", "'cuda'", "--device cpu"),
        id="no cuda",
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
    ),
]


def assert_one_sentence(answer: Answer, shown: Sequence[str]) -> None:
    """Exit code 2, one line on the error stream that names what it should, and no results."""
    assert "Traceback" not in answer.err
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("iid-cl: ")
    assert lines[0].endswith((".", "?"))
    for text in shown:
        assert text in lines[0]
    assert answer.code == 2


@pytest.mark.parametrize(("make", "shown"), MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    make: Callable[[], list[str]],
    shown: Sequence[str],
    cli: Callable[[Sequence[str]], Answer],
    in_tmp_path: Path,
) -> None:
    arguments = make()
    before = contents(in_tmp_path)
    answer = cli(arguments)
    assert_one_sentence(answer, shown)
    assert contents(in_tmp_path) == before


def iid_cl_program(*arguments: str) -> Answer:
    """The installed program, as a user calls it."""
    program = Path(sys.executable).with_name("iid-cl")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        case(misspelt_key, "'memory.icp'"),
        case(memory_damaged, "m.safetensors"),
        case(corrupt_image, "images/train/b/2.png", run=False),  # which starts sooner
    ],
)
def test_the_installed_program_answers_a_mistake_in_one_sentence(
    make: Callable[[], list[str]], shown: Sequence[str], in_tmp_path: Path
) -> None:
    arguments = make()
    before = contents(in_tmp_path)
    answer = iid_cl_program(*arguments)
    assert_one_sentence(answer, shown)
    assert answer.out == ""
    assert contents(in_tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["run"],
        ["run", "split_digits.yaml", "--bogus"],
        ["run", "split_digits.yaml", "--seed", "one"],
        ["run", "split_digits.yaml", "second.yaml"],
        ["compare", "split_digits.yaml", "--seeds", "0"],
        ["distill", "digits"],
        ["distill", "digits", "-o", "m.safetensors", "--ipc", "many"],
        ["evaluate"],
        ["configs", "extra"],
        ["study"],
        ["study", "ablation_digits.yaml", "--seeds", "0"],
        ["study", "ablation_digits.yaml", "--seed", "one"],
    ],
    ids=" ".join,
)
def test_a_command_used_wrongly_says_so(
    arguments: list[str], cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path
) -> None:
    answer = cli(arguments)
    assert answer.code == 2
    assert "Usage: " in answer.err
    assert "Traceback" not in answer.err
    assert contents(in_tmp_path) == {}


def test_without_arguments_the_commands_are_listed(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli([])
    assert "Usage: " in answer.out + answer.err


def test_help_lists_the_commands(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["--help"])
    assert answer.code == 0
    for command in (
        "run",
        "compare",
        "distill",
        "evaluate",
        "study",
        "show",
        "export",
        "list",
        "report",
        "check",
        "doctor",
    ):
        assert f"\n  {command} " in answer.out


@pytest.mark.parametrize("command", ["run", "compare", "distill", "evaluate"])
def test_help_of_a_command_names_its_options(command: str, cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli([command, "--help"])
    assert answer.code == 0
    assert all(option in answer.out for option in ("--set", "--seed", "--device", "--data-root"))


def test_version_is_the_packages(cli: Callable[[Sequence[str]], Answer]) -> None:
    assert cli(["--version"]) == (0, f"iid-cl {iid_cl.__version__}\n", "")
    assert iid_cl_program("--version") == (0, f"iid-cl {iid_cl.__version__}\n", "")


def test_configs_lists_what_run_and_study_take(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["configs"])
    assert answer.code == 0
    groups: dict[str, dict[str, str]] = {}
    for line in answer.out.splitlines():
        if line.startswith("iid-cl"):
            listed = groups.setdefault(line, {})
        else:
            name, purpose = line.split(maxsplit=1)
            listed[name] = purpose
    runs, comparisons, studies = (groups[f"iid-cl {command} NAME"] for command in ("run", "compare", "study"))
    assert sorted([*runs, *comparisons]) == shipped_configs()
    assert list(comparisons) == [name for name in shipped_configs() if name.startswith("compare_")]
    assert list(studies) == shipped_studies()
    assert runs["split_mnist.yaml"] == "MNIST, two classes at a time, ten distilled images per class"
    assert all(load_config(name).name for name in (*runs, *comparisons))
    assert all(load_study(name).name for name in studies)


@pytest.mark.parametrize("name", ["split_digits", "split_digits.yaml", "ablation_digits"])
def test_configs_prints_a_shipped_file(cli: Callable[[Sequence[str]], Answer], name: str) -> None:
    answer = cli(["configs", "--show", name])
    assert answer.code == 0
    assert f"\nname: {name.removesuffix('.yaml')}\n" in answer.out


def test_check_prints_the_whole_configuration(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["check", "split_digits", "--set", "memory.ipc=3", "--print-config"])
    assert answer.code == 0
    assert parse_config(yaml.safe_load(answer.out), "printed") == load_config("split_digits", ["memory.ipc=3"])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "ablation_digits"], "ablation_digits: is a study; give it to iid-cl study."),
        (["study", "split_digits.yaml"], "split_digits.yaml: is a configuration; give it to iid-cl run."),
        (["run", "split_digit"], "no shipped configuration of that name; did you mean split_digits.yaml?"),
        (["study", "ablation_digit.yaml"], "no shipped study of that name; did you mean ablation_digits.yaml?"),
        (
            ["configs", "--show", "nothing"],
            "--show 'nothing': nothing shipped has this name",
        ),
        (["run", "split_digits", "--method", "herdin"], "memory.method: 'herdin' is not accepted"),
        (["run", "split_digits", "--mode", "both"], "train.mode: 'both' is not accepted"),
        (["show", "."], ".: is a directory without a memory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_says_what_was_meant(
    cli: Callable[[Sequence[str]], Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli(arguments)
    assert answer.code == 2
    assert says in answer.err


@pytest.mark.parametrize(("own", "command"), [("variants: []", "run"), ("stream: {dataset: digits}", "study")])
def test_a_file_of_ones_own_goes_to_its_command(
    cli: Callable[[Sequence[str]], Answer], tmp_path: Path, own: str, command: str
) -> None:
    (tmp_path / "mine.yaml").write_text(own)
    answer = cli([command, str(tmp_path / "mine.yaml")])
    assert answer.code == 2
    assert f"give it to iid-cl {'study' if command == 'run' else 'run'}." in answer.err


def test_short_options_of_run_are_those_keys(
    cli: Callable[[Sequence[str]], Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--ipc takes the place of the configuration's budget."""
    given: list[Any] = []
    monkeypatch.setattr("iid_cl.runs.run.run", lambda config, *rest: given.append(config))
    (tmp_path / "mine.yaml").write_text("memory: {mem_bytes: 5000}")
    answer = cli(["run", str(tmp_path / "mine.yaml"), "--ipc", "4", "--method", "random", "--mode", "memory_only"])
    assert answer.code == 0
    assert given[0].memory.budget.pair == ("ipc", 4)
    assert (given[0].memory.method, given[0].train.mode) == ("random", "memory_only")


def test_the_first_line_comes_before_pytorch_is_imported() -> None:
    """As what a user waits for: the import takes seconds."""
    script = (
        "import sys, builtins\n"
        "sys.argv = ['iid-cl', 'run', 'split_digits']\n"
        "class Stop:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch': sys.exit(7)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from iid_cl.cli import main\n"
        "main()\n"
    )
    for terminal in (True, False):
        environment = {**os.environ, "TTY_COMPATIBLE": str(int(terminal)), "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 7
        assert ("split_digits: loading" in done.stdout) == terminal


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "iid_cl", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"iid-cl {iid_cl.__version__}\n")


def test_help_of_study_names_its_options(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["study", "--help"])
    assert answer.code == 0
    options = ("--set", "--seed", "--seeds", "--device", "--data-root", "--out", "--keep", "--quiet", "--json")
    assert all(option in answer.out for option in options)


def test_a_study_leaves_its_table_and_figure(cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path) -> None:
    answer = cli(study_file())
    assert (answer.code, answer.err) == (0, "")
    assert "A study" in answer.out
    folder = in_tmp_path / "runs" / "mini"
    assert {path.name for path in folder.iterdir()} == STUDY_FILES
    header, *rows = (folder / "study.csv").read_text().splitlines()
    assert header.startswith("variant,x,seed,architecture,network,accuracy,images,bytes")
    assert [row.split(",")[0] for row in rows] == ["A", "B"]
    with Image.open(folder / "study.png") as picture:
        picture.load()


def test_a_studys_options_are_heard(cli: Callable[[Sequence[str]], Answer]) -> None:
    sets = ["evaluate.networks=2", "seed=1", "memory.ipc=3", "memory.ipc=4"]
    options = ["--seed", "7", "--seeds", "2", "--out", "out", "--keep"]
    arguments = study_file(*options, *(part for text in sets for part in ("--set", text)))
    assert cli(arguments).code == 0
    rows = study_rows("out")
    found = [(row["variant"], row["seed"], row["network"], row["images"]) for row in rows]
    assert {row["architecture"] for row in rows} == {"convnet (width 4, depth 1)"}
    assert found == [
        (variant, str(seed), str(network), str(images))
        for seed in (7, 8)
        for variant, images in (("A", 40), ("B", 20))
        for network in (1, 2)
    ]
    kept = [load_memory(path) for path in sorted(Path("out").glob("*.safetensors"))]
    assert [len(memory) for memory in kept] == [40, 20]
    assert len(list(Path("out").glob("memory*.png"))) == 2


def test_a_study_of_features_leaves_its_points(cli: Callable[[Sequence[str]], Answer]) -> None:
    scatter = {"network": {"width": 4, "depth": 1}, "epochs": 1, "classes": 2, "real": 5}
    answer = cli(study_file("--out", "out", scatter=scatter))
    assert (answer.code, answer.err) == (0, "")
    header, *rows = Path("out/study.csv").read_text().splitlines()
    assert header == "variant,label,stored,x,y"
    assert [row.split(",")[0] for row in rows] == ["A"] * 2 * (5 + 1) + ["B"] * 2 * (5 + 2)
    assert Path("out/study.png").is_file()


def test_a_studys_overrides_apply_in_their_order(cli: Callable[[Sequence[str]], Answer]) -> None:
    sets = ["memory.ipc=5", "memory={method: random}", "memory.ipc=3"]
    arguments = study_file("--out", "out", *(part for text in sets for part in ("--set", text)))
    assert cli(arguments).code == 0
    assert [row["images"] for row in study_rows("out")] == ["30", "20"]


def comparison_file(**changes: Any) -> str:
    """A comparison of a second, with a method of its own; ``changes`` of its section."""
    section = {
        "methods": ["none", "random", {"name": "mine", "set": {"distill.iterations": 1}}],
        "seeds": 3,
        "budgets": {"ipc": [4]},
    }
    values = {
        "name": "mini",
        "stream": {"dataset": "digits", "classes": [[0, 1], [2, 3]], "train_limit": 20, "test_limit": 10},
        "model": {"width": 4, "depth": 1},
        "train": {"epochs": 1, "memory_epochs": 1},
        "memory": {"method": "distilled"},
        "distill": {
            "iterations": 2,
            "real_batch": 4,
            "embedder": {"width": 4, "depth": 1},
            "cc": {"weight": 0},
            "cm": {"weight": 0},
        },
        "device": "cpu",
        "compare": {**section, **changes},
    }
    Path("mini.yaml").write_text(yaml.safe_dump(values))
    return "mini.yaml"


def test_a_comparison_is_what_its_file_says(cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path) -> None:
    answer = cli(["compare", comparison_file()])
    assert (answer.code, answer.err) == (0, "")
    names = {f"{label}-replay-ipc4-seed{seed}" for label in ("random", "mine") for seed in (0, 1, 2)}
    found = {path.stem for path in (in_tmp_path / "runs" / "mini-compare" / "cells").glob("*.json")}
    assert found == names | {f"none-seed{seed}" for seed in (0, 1, 2)}


def test_a_comparisons_options_are_heard(cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path) -> None:
    options = ["--memories", "mine,random", "--modes", "replay,memory_only", "--ipc", "1,2", "--seeds", "1"]
    answer = cli(["compare", comparison_file(), *options, "--seed", "7", "--baseline", "mine", "--out", "out"])
    assert (answer.code, answer.err) == (0, "")
    assert "vs mine" in answer.out
    assert {path.stem for path in Path("out/cells").glob("*.json")} == {
        f"{label}-{mode}-ipc{ipc}-seed7"
        for label in ("random", "mine")
        for mode in ("replay", "memory_only")
        for ipc in (1, 2)
    }


@pytest.mark.parametrize(
    ("named", "options", "expected"),
    [
        ("random", ["--memories", "mine,none"], None),  # it left with its method
        ("random", ["--memories", "mine,random"], "random"),
        ("random", [], "random"),
        ("mine", ["--memories", "random"], None),
        ("random", ["--memories", "mine", "--baseline", "mine"], "mine"),
        ("herding", ["--memories", "mine"], "herding"),  # a mistake in the file stays one
    ],
    ids=str,
)
def test_memories_on_the_command_line_leave_a_baseline_behind(
    cli: Callable[[Sequence[str]], Answer],
    in_tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    options: list[str],
    expected: str | None,
) -> None:
    seen = []

    def spy(config: Any, *rest: object) -> tuple[Path, list[str]]:
        seen.append(config.compare.baseline)
        return in_tmp_path, []

    monkeypatch.setattr("iid_cl.compare.compare.compare", spy)
    answer = cli(["compare", comparison_file(baseline=named), *options])
    assert (answer.code, seen) == (0, [expected])


def test_a_failed_cell_ends_in_exit_code_1(
    cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr("iid_cl.compare.compare.run_cell", fail)
    answer = cli(["compare", comparison_file(), "--seeds", "1", "--memories", "none", "--out", "out"])
    assert answer.code == 1
    assert "none-seed0 failed: RuntimeError: no luck\n" in answer.out
    assert "Traceback" not in answer.out + answer.err


def stored_digits() -> str:
    """A memory file of two images of the digits."""
    stored_memory()
    return "m.safetensors"


def test_show_draws_a_memory(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["show", stored_digits(), "--out", "m.png"])
    assert (answer.code, answer.err) == (0, "")
    assert "Picture in m.png" in answer.out
    with Image.open("m.png") as picture:
        picture.load()


def test_an_output_is_replaced_by_force(
    cli: Callable[[Sequence[str]], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("m.png", "out.safetensors", "out.png"):
        Path(name).write_text("mine")
    assert cli(["show", stored_digits(), "--out", "m.png", "--force"]).code == 0
    assert cli([*DISTILL, "--method", "random", "--ipc", "1", "--force", "-q"]).code == 0
    assert load_memory(Path("out.safetensors")).classes == list(range(10))
    for name in ("m.png", "out.png"):
        with Image.open(name) as picture:
            picture.load()


def test_a_full_disk_is_one_sentence(cli: Callable[[Sequence[str]], Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr("iid_cl.report.show.print_table", full)
    answer = cli(["show", stored_digits()])
    assert_one_sentence(answer, ["somewhere: the disk is full; free some space and give the command again"])
    monkeypatch.setattr("iid_cl.report.show.print_table", fail_otherwise)
    with pytest.raises(PermissionError):
        main()


def fail_otherwise(*_: object) -> None:
    raise PermissionError(errno.EACCES, "no")


def test_export_writes_a_folder(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["export", stored_digits(), "folder", "--decoded"])
    assert answer == (0, "folder: 1 images; README.md and memory.json say what they are\n", "")
    assert Path("folder/0/000.png").is_file()


def test_list_names_what_is_there(cli: Callable[[Sequence[str]], Answer]) -> None:
    assert cli(["compare", comparison_file(), "--seeds", "1"]).code == 0
    answer = cli(["list"])
    assert (answer.code, answer.err) == (0, "")
    assert re.search(r"mini-compare +random ipc 4 +[\d.]+ +finished +[\d,]+ +replay +0 ", answer.out)
    found = [json.loads(line) for line in cli(["list", "--json"]).out.splitlines()]
    assert {entry["method"] for entry in found} == {"none", "random", "mine"}


def test_check_of_a_study_says_what_would_be(cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path) -> None:
    arguments = study_file("--json", sweep={"key": "memory.ipc", "values": [1, 3]}, seeds=2)
    answer = cli(["check", *arguments[1:]])
    assert (answer.code, answer.err) == (0, "")
    plan, estimate = (json.loads(line) for line in answer.out.splitlines())
    assert (plan["event"], plan["name"], plan["memories"], plan["seeds"]) == ("plan", "mini", 8, 2)
    # 10 classes of 1 or 3 images of 64 bytes, and 2 of the label; the sweep precedes what B sets
    found = [(one["variant"], one["x"], one["memory_bytes"], one["iterations"]) for one in plan["cases"]]
    assert found == [("A", 1, 660, 0), ("A", 3, 1980, 0), ("B", 1, 660, 0), ("B", 3, 1980, 0)]
    assert estimate["total_seconds"] == estimate["condensing"] + estimate["judging"] > 0
    assert estimate["condensing"] == 0  # random images take nothing
    assert set(contents(in_tmp_path)) == {"mini.yaml"}


def test_check_of_a_shipped_study_is_a_table(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["check", "ablation_digits", "--no-probe", "--device", "cpu"])
    assert (answer.code, answer.err) == (0, "")
    assert "memories of digits on cpu" in answer.out
    assert "DM+CC+CM" in answer.out.replace(" ", "")


def test_check_prints_a_whole_study(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["check", "ablation_digits", "--set", "memory.ipc=3", "--print-config"])
    Path("mine.yaml").write_text(answer.out)
    assert load_study("mine.yaml") == load_study("ablation_digits", [("memory.ipc", 3)])


def test_help_lines_are_whole(cli: Callable[[Sequence[str]], Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = cli(["--help"])
    assert answer.code == 0
    lines = answer.out.partition("Commands:\n")[2].splitlines()
    assert len(lines) == 17
    assert all(re.search(r"\w\.$", line) and len(line) <= 80 for line in lines), answer.out


@pytest.mark.parametrize(
    ("complete", "begun", "expected"),
    [
        (options.complete_key, "memory.method=di", ["memory.method=distilled"]),
        (options.complete_key, "stream.dataset=cifar", ["stream.dataset=cifar10", "stream.dataset=cifar100"]),
        (options.complete_key, "memory.soft_labels=", ["memory.soft_labels=true", "memory.soft_labels=false"]),
        (options.complete_key, "memory.ipc=", []),
        (options.complete_key, "memory.icp=", []),
        (options.complete_key, "seed.x=", []),
        (options.complete_modes, "replay,mem", ["replay,memory_only"]),
        (options.complete_methods, "herding,k", ["herding,k_centre"]),
        (options.complete_any_file, "ablation_d", ["ablation_digits.yaml"]),
        (options.complete_any_file, "split_d", ["split_digits.yaml"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_are_completed(complete: Callable[[str], list[str]], begun: str, expected: list[str]) -> None:
    assert complete(begun) == expected


def test_check_says_what_would_be_and_writes_nothing(cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path) -> None:
    answer = cli(["check", "split_digits.yaml", "--device", "cpu", "--no-probe"])
    assert (answer.code, answer.err) == (0, "")
    assert "660 bytes of 10 classes in the end" in answer.out
    assert contents(in_tmp_path) == {}


@pytest.mark.parametrize(("options", "title"), [([], "iid-cl configuration"), (["--study"], "iid-cl study")], ids=str)
def test_schema_prints_the_shipped_one(options: list[str], title: str, cli: Callable[[Sequence[str]], Answer]) -> None:
    assert json.loads(cli(["schema", *options]).out)["title"] == title


def test_doctors_answer_is_its_exit_code(
    cli: Callable[[Sequence[str]], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iid_cl.compute.arithmetic.compiler_problem", lambda kind: None)
    assert cli(["doctor"]).code == 0
    monkeypatch.setattr("iid_cl.precheck.doctor.NEEDED", ("no-such-package",))
    assert cli(["doctor"]).code == 1


def test_quiet_leaves_the_results(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(["compare", comparison_file(), "--seeds", "1", "--quiet"])
    assert (answer.code, answer.err) == (0, "")
    assert "cells" not in answer.out.replace("/cells", "")
    assert answer.out.rstrip().endswith("Everything is in runs/mini-compare")


def test_a_quiet_study_is_its_table(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli(study_file("--quiet"))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.lstrip().startswith("A study  ")
    assert answer.out.endswith("Everything is in runs/mini\n")


def test_a_finished_study_is_resumed_to_nothing(cli: Callable[[Sequence[str]], Answer]) -> None:
    assert cli(study_file("--quiet")).code == 0
    answer = cli(["resume", "runs/mini"])
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "runs/mini: is finished; study.json and study.csv hold its results.\n"


def test_quiet_evaluation_is_a_line_of_result(cli: Callable[[Sequence[str]], Answer]) -> None:
    answer = cli([*stored_memory(), "--quiet"])
    assert answer.code == 0
    assert re.fullmatch(r"convnet \(width 4, depth 1\): accuracy [\d.]+ %\n", answer.out)


@pytest.mark.parametrize("command", ["run", "compare", "distill", "evaluate", "study"])
def test_json_is_nothing_but_events(command: str, cli: Callable[[Sequence[str]], Answer]) -> None:
    arguments: dict[str, Callable[[], list[str]]] = {
        "run": lambda: ["run", comparison_file()],
        "compare": lambda: ["compare", comparison_file(), "--seeds", "1"],
        "distill": lambda: [*DISTILL, "--method", "random"],
        "evaluate": stored_memory,
        "study": study_file,  # of the same name as the comparison's
    }
    answer = cli([*arguments[command](), "--json"])
    assert (answer.code, answer.err) == (0, "")
    events = [json.loads(line) for line in answer.out.splitlines()]
    assert all(event["seconds"] >= 0 for event in events)
    names = [event["event"] for event in events]
    assert names[-1] == ("result" if command == "evaluate" else "finished")
    expected = {
        "run": {"experience", "result"},
        "compare": {"cell"},
        "distill": set(),
        "evaluate": {"network"},
        "study": {"judgement"},
    }
    assert expected[command] <= set(names)


def test_quiet_and_json_exclude_each_other(cli: Callable[[Sequence[str]], Answer], in_tmp_path: Path) -> None:
    answer = cli(["run", "split_digits.yaml", "--quiet", "--json"])
    assert_one_sentence(answer, ["--quiet", "--json"])
    assert contents(in_tmp_path) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
def test_a_narrow_terminal_is_never_overrun(in_tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    from tests.processes import Command

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    process = Command(["run", comparison_file()], Path(os.ttyname(terminal)), in_tmp_path)
    shown = b""
    while (ready := select.select([controller], [], [], 0.1)[0]) or process.running:
        shown += os.read(controller, 65536) if ready else b""
    assert process.code(0) == 0
    os.close(controller)
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    lines = [line for line in re.split(r"[\r\n]+", text) if not line.startswith("Everything is in")]
    assert max(map(len, lines)) <= 40
    assert "final %" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("iid-cl run split_dig", ["split_digits.yaml"]),
        ("iid-cl study bet", ["beta.yaml"]),
        ("iid-cl run --set memory.ip", ["memory.ipc="]),
        ("iid-cl run mine/a", ["mine/a.yaml"]),
        ("iid-cl run --device cu", ["cuda"]),
    ],
)
def test_shells_complete_what_ships(words: str, expected: list[str], in_tmp_path: Path) -> None:
    Path("mine").mkdir()
    Path("mine/a.yaml").touch()
    program = Path(sys.executable).with_name("iid-cl")
    environment = {"_IID_CL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run([program], env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.stdout.split() == expected


def test_commands_that_train_nothing_import_nothing_heavy(in_tmp_path: Path) -> None:
    """Nor does a path that is not there: it is told at once."""
    Path("runs").mkdir()
    code = """
import sys
from iid_cl.cli import app
from iid_cl.errors import UserError
HEAVY = {"torch", "torchvision", "avalanche", "matplotlib", "sklearn", "scipy", "pandas", "sympy", "triton"}
for line in ("configs", "schema", "list", "show no", "export no out", "evaluate no", "predict no a.png",
             "predict runs a.png", "report runs no", "resume no", "doctor", "check split_digits --no-probe"):
    try:
        app(line.split(), standalone_mode=False)
        said = ""
    except UserError as error:
        said = str(error).partition(";")[0]
    print(line.split()[0], said, *sorted(HEAVY & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.strip() for line in done.stderr.splitlines()] == [
        "configs", "schema", "list", "show no: no such file", "export no: no such file", "evaluate no: no such file",
        "predict no: no such file", "predict a.png: no such picture.", "report no: no such directory",
        "resume no: no such run directory", "doctor  torch", "check  torch",
    ]  # fmt: skip
