"""Makes the pictures of README and docs/ideas.md: a few minutes on two CPU cores.

python docs/make_pictures.py [--data DATA]     # DATA holds MNIST, or is where it is downloaded to
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor

from iid_cl.config.distill import DistillConfig, EmbedderConfig
from iid_cl.config.experiment import StreamConfig
from iid_cl.config.reading import load_config
from iid_cl.data.datasets import load_dataset
from iid_cl.distill import distill
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.partition import expand_bytes

mpl.use("Agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).with_name("images")
RESULTS = IMAGES.parents[1] / "benchmarks" / "results"
STEPS = (0, 5, 20, 50, 200)
TEAL, GREY = "#00796b", "#757575"


def tiles(axes, images: Tensor) -> None:
    """Draws images (rows, columns, C, H, W) as one sheet with a white line between them."""
    rows, columns, channels, height, width = images.shape
    sheet = torch.full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), 255, dtype=torch.uint8)
    for r in range(rows):
        for c in range(columns):
            top, left = r * (height + 1), c * (width + 1)
            sheet[:, top : top + height, left : left + width] = images[r, c]
    shown = sheet[0].numpy() if channels == 1 else sheet.permute(1, 2, 0).numpy()
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()


def save(figure, name: str) -> None:
    figure.savefig(IMAGES / f"{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def distilling() -> None:
    """One image of each digit on its way from a real image to a distilled one."""
    config = load_config("split_digits.yaml", []).distill
    data = load_dataset(StreamConfig(dataset="digits"), None)
    seen: dict[int, ExemplarSet] = {}
    distill(
        data.train.by_class(),
        config,
        ipc=1,
        generator=torch.Generator().manual_seed(0),
        device="cpu",
        normalization=data.normalization,
        augmentations=data.augmentations,
        on_snapshot=lambda iteration, memory: seen.update({iteration: memory}),
        snapshots=STEPS,
    )
    figure, axes = plt.subplots(len(STEPS), 1, figsize=(7, 3.9))
    for axis, step in zip(axes, STEPS, strict=True):
        tiles(axis, seen[step].images[None])
        axis.text(-2, 3.5, "real" if step == 0 else f"{step} steps", ha="right", va="center", fontsize=9)
    save(figure, "ideas-distilling")


def partition(data_root: Path | None) -> None:
    """Stored grids of MNIST, and the four images that each is trained on as."""
    stream = StreamConfig(dataset="mnist", first_classes=5, train_limit=500)
    data = load_dataset(stream, data_root)
    memory = distill(
        data.train.by_class(),
        DistillConfig(partition=2, iterations=200, real_batch=64, embedder=EmbedderConfig(width=32)),
        ipc=1,
        generator=torch.Generator().manual_seed(0),
        device="cpu",
        normalization=data.normalization,
        augmentations=data.augmentations,
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 5.2), width_ratios=(1, 4))
    tiles(left, memory.images[:, None])
    tiles(right, expand_bytes(memory.images, 2).unflatten(0, (len(memory), 4)))
    left.set_title("stored", fontsize=9)
    right.set_title("trained on", fontsize=9)
    save(figure, "ideas-partition")


def forgetting() -> None:
    """Accuracy on each experience over the stream, without a memory and with a distilled one."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = ["run", "split_digits.yaml", "--set", "baselines=[none]", "--device", "cpu", "--out", str(out)]
        program = "import sys; from iid_cl.cli import main; main()"
        subprocess.run([sys.executable, "-c", program, *command], check=True)
        results = json.loads((out / "run.json").read_text(encoding="utf-8"))["results"]
    matrices = {result["method"]: result["matrix"] for result in results}
    figure, panels = plt.subplots(1, 2, figsize=(7.5, 2.9), sharey=True)
    for panel, method in zip(panels, ("none", "distilled"), strict=True):
        matrix = matrices[method]
        for j in range(len(matrix)):
            here = range(j, len(matrix))
            panel.plot([t + 1 for t in here], [100 * matrix[t][j] for t in here], "o-", ms=4, color=TEAL, alpha=0.85)
            panel.annotate(f"{j + 1}", (j + 1, 100 * matrix[j][j]), (0, 5), textcoords="offset points", ha="center")
        panel.set_title("no memory" if method == "none" else "one distilled image per class", fontsize=10)
        panel.set_xlabel("after experience")
        panel.set_xticks(range(1, len(matrix) + 1))
        panel.set_ylim(-4, 112)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy on each experience, %")
    save(figure, "ideas-forgetting")


def memory_gives() -> None:
    """What forgetting costs and a memory gives, by the ledger's figures, and the memory itself."""
    rows = json.loads((RESULTS / "split_digits.json").read_text(encoding="utf-8"))
    figures = {row["name"]: row for row in rows}
    names = {"none": "no memory", "random": "1 random image", "herding": "1 herded image"}
    names |= {"distilled": "1 distilled image", "joint": "all data"}
    figure, (axes, below) = plt.subplots(2, 1, figsize=(8, 3.9), height_ratios=(3.2, 1))
    for place, (method, name) in enumerate(names.items()):
        row = figures[f"replay: {method}, final accuracy"]
        colour = TEAL if method == "distilled" else GREY if method in ("none", "joint") else "#546e7a"
        axes.barh(place, row["value"], xerr=row["std"], color=colour, height=0.66, error_kw={"ecolor": "0.25"})
        label = name if method in ("none", "joint") else f"{name} per class"
        axes.text(-1.5, place, label, ha="right", va="center", fontsize=10)
        axes.text(3, place, f"{row['value']:.1f} %", va="center", fontsize=11, fontweight="bold", color="white")
    axes.set(yticks=[], xlim=(0, 104), xticks=range(0, 101, 20), xlabel="final accuracy over all ten digits, %")
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    below.imshow(plt.imread(IMAGES / "split_digits_memory.png"))
    below.set_axis_off()
    below.set_title("the distilled memory: 660 bytes", fontsize=10)
    figure.tight_layout()
    save(figure, "what-a-memory-gives")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    arguments = parser.parse_args()
    memory_gives()
    distilling()
    partition(arguments.data)
    forgetting()
