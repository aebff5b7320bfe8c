import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import load_dataset
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory, save_memory

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_avalanche_experiment_runs_and_leaves_a_memory(in_tmp_path: Path) -> None:
    main = runpy.run_path(str(EXAMPLES / "avalanche_experiment.py"))["main"]
    accuracy = main(train_epochs=4, iterations=5, experiences=2)
    assert accuracy > 0.5  # two experiences of five classes; forgetting the first leaves at most one half
    assert (in_tmp_path / "digits-memory.safetensors").stat().st_size > 10 * 2 * 64


def test_the_tutorial_compares_memories_of_the_same_bytes(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a memory the network knows the last two digits at most."""
    found = runpy.run_path(str(EXAMPLES / "tutorial.py"))["main"](digits=True, epochs=1, iterations=3)
    assert list(found) == ["no memory", "random", "herding", "distilled"]
    assert found["no memory"] <= 0.21
    printed = [line.split()[-2] for line in capsys.readouterr().out.splitlines() if line.endswith(" bytes")]
    assert printed == ["0", "660", "660", "660"]
    assert load_memory(Path("memory.safetensors")).classes == list(range(10))


def test_a_memory_trains_a_network_in_plain_pytorch(in_tmp_path: Path) -> None:
    """Ten real digits per class teach digits: what the script learns is judged on the test set."""
    data = load_dataset(StreamConfig(dataset="digits"), None)
    about = {"method": "random", "mean": data.normalization.mean, "std": data.normalization.std}
    memory = ExemplarSet.from_classes({c: images[:10] for c, images in data.train.by_class().items()}, about)
    save_memory(Path("digits.safetensors"), memory)
    model, prepare = runpy.run_path(str(EXAMPLES / "train_anywhere.py"))["main"]("digits.safetensors", epochs=40)
    with torch.no_grad():
        guesses = model(prepare(data.test.images.float() / 255)).argmax(1)
    assert (guesses == data.test.labels).float().mean() > 0.8


def test_plain_pytorch_cuts_a_partitioned_memory_as_the_package_does(in_tmp_path: Path) -> None:
    images = {
        c: torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(c))
        for c in (0, 1)
    }
    memory = ExemplarSet.from_classes(images, partition=2)
    save_memory(Path("grid.safetensors"), memory)
    found, labels, _ = runpy.run_path(str(EXAMPLES / "train_anywhere.py"))["read"]("grid.safetensors")
    expected = memory.decoded()
    assert (found * 255 - expected.images).abs().max() <= 0.5 + 1e-3  # stored parts are rounded to bytes
    assert torch.equal(labels, expected.labels)


def test_the_training_script_needs_nothing_of_the_package() -> None:
    program = f"import sys, runpy; runpy.run_path({str(EXAMPLES / 'train_anywhere.py')!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "safetensors" in loaded
    assert not [name for name in loaded if name.startswith(("iid_cl", "avalanche"))]


def test_an_objective_in_a_file_of_its_own_stands_beside_dm() -> None:
    found = runpy.run_path(str(EXAMPLES / "own_objective.py"))["main"](iterations=5, epochs=20)
    assert list(found) == ["dm", "moment_matching"]
    assert min(found.values()) > 0.5


def test_the_notebook_runs(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells in order and in one namespace, with fewer iterations and epochs, and pictures drawn to nowhere."""
    mpl.use("Agg")
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    cells = json.loads((EXAMPLES / "look_at_a_memory.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "ITERATIONS, EPOCHS = 200, 100" in code[0]
    code[0] = code[0].replace("ITERATIONS, EPOCHS = 200, 100", "ITERATIONS, EPOCHS = 20, 10")
    namespace: dict[str, Any] = {}
    for number, cell in enumerate(code):
        exec(compile(cell, f"code cell {number}", "exec"), namespace)
    assert list(namespace["snapshots"]) == [0, 1, 5, 20]
    assert namespace["accuracies"][20] > namespace["accuracies"][0] - 0.2
