"""A run on data by address is the run on the same images in a folder."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file

from iid_cl.data.datasets import load_dataset
from iid_cl.errors import UserError
from iid_cl.memory.files import load_memory
from iid_cl.runs.condense import condense_dataset
from iid_cl.runs.judge import evaluate_memory
from iid_cl.runs.run import run
from tests.runs.helpers import image_folder, miniature

MADE_UP = """
from pathlib import Path
import numpy as np
def load():
    Path("was_run").touch()
    arrays = np.load("set.npz")
    return [(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test")] + [["a", "b"]]
"""


def copies(folder: Path) -> tuple[str, str]:
    """The images of a folder as arrays, and as a program's."""
    data = load_dataset(miniature(stream={"dataset": "image_folder", "classes": None}).stream, folder)
    arrays = {}
    for part, images in (("train", data.train), ("test", data.test)):
        arrays |= {f"{part}_images": images.images.numpy(), f"{part}_labels": images.labels.numpy()}
    np.savez("set.npz", class_names=np.array(data.class_names), **arrays)
    Path("reach_run_program.py").write_text(MADE_UP)
    return "npz:set.npz", "python:reach_run_program:load"


def test_runs_are_equal(in_tmp_path: Path) -> None:
    folder = image_folder(in_tmp_path / "images")
    stored = []
    for number, name in enumerate(["image_folder", copies(folder)[0]]):
        config = miniature(stream={"dataset": name, "classes": [[0], [1]]}, memory={"ipc": 2})
        path = in_tmp_path / f"run{number}"
        run(config, folder if name == "image_folder" else None, path, Console(file=io.StringIO()))
        weights = {key: tensor.tolist() for key, tensor in load_file(path / "model.safetensors").items()}
        stored.append((load_memory(path / "memory.safetensors").decoded().images.tolist(), weights))
    assert stored[0] == stored[1]


def test_a_memory_of_others_runs_no_program(in_tmp_path: Path) -> None:
    _, program = copies(image_folder(in_tmp_path / "images"))
    config = miniature(stream={"dataset": program, "classes": None}, evaluate={"networks": 1, "epochs": 1})
    quiet, file = Console(file=io.StringIO()), in_tmp_path / "m.safetensors"
    condense_dataset(config, None, file, quiet)
    Path("was_run").unlink()
    with pytest.raises(UserError, match=r"names a program as its data set; if you trust it, run it with --set stream"):
        evaluate_memory(file, miniature(), None, quiet)
    assert not Path("was_run").exists()
    assert evaluate_memory(file, config, None, quiet)
