"""What a type checker tells the author of a script: a wrong argument is an error, a documented call is none."""

import os
import subprocess
import sys
from pathlib import Path

import iid_cl

SOUND = '''"""Calls of the documentation."""

import torch
from avalanche.training.supervised import Naive
from torch import nn

from iid_cl import DistillConfig, Memory, Normalization, distill, load_memory, save_memory
from iid_cl.budget import Budget
from iid_cl.config.distill import CovarianceConfig, EmbedderConfig
from iid_cl.data.images import LabelledImages
from iid_cl.strategies import (
    AutoBuffer,
    DistilledBuffer,
    DistilledReplay,
    DistilledReplayPlugin,
    HerdingBuffer,
    HybridBuffer,
    InMemoryPlugin,
    MemoryOnly,
    MemoryReplayPlugin,
    RandomBuffer,
    RealBuffer,
    ReservoirBuffer,
    SoftLabelPlugin,
)

config = DistillConfig(iterations=100)
batch: int = config.real_batch
DistillConfig(iterations=1000, real_batch=128, embedder=EmbedderConfig(width=128), cm=CovarianceConfig(weight=0.1))
model = nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
strategy = DistilledReplay(
    model=model,
    optimizer=optimizer,
    criterion=nn.CrossEntropyLoss(),
    ipc=10,
    train_mb_size=64,
    train_epochs=5,
    device="cpu",
    distill=config,
    soft_labels=True,
    seed=3,
    plugins=[InMemoryPlugin()],
)
MemoryOnly(model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), memory=HerdingBuffer(10), train_epochs=9)
MemoryReplayPlugin(RealBuffer(10, rule="k_centre", downscale=2), batch_size_mem=32)
DistilledReplayPlugin(mem_size=20, distill=config)
buffer = DistilledBuffer(mem_bytes=200_000, shrink="cut", normalization=Normalization(mean=(0.1,), std=(0.3,)))
SoftLabelPlugin(buffer)
HybridBuffer(10, share=0.25, jpeg=25, augmentations=["crop"], device="cuda")
AutoBuffer(mem_size=500)
RandomBuffer(class_bytes=3000, jpeg=30)
ReservoirBuffer(mem_size=500, seed=1)
HerdingBuffer(10, features=lambda images_by_class, strategy, generator: torch.flatten)

memory = Memory("herding", Budget(mem_bytes=20_000), normalization=Normalization((0.5,), (0.25,)))
images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
memory.update(images, torch.zeros(4), device="cpu")
Memory("random", mem_bytes=20_000, device="cpu").batch(4)[0].shape
nbytes: int = memory.nbytes
distilled = distill(
    {0: images},
    config,
    ipc=1,
    generator=torch.Generator(),
    device="cpu",
    normalization=Normalization((0.5,), (0.25,)),
)
'''
WRONG = (
    "HerdingBuffer(10, featurs=None)",
    "AutoBuffer(repleyed=True)",
    'RealBuffer(rool="random")',
    "DistilledReplay(model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), ipcc=3)",
    "DistilledReplayPlugin(ipc=3, share=0.5)",
    'DistilledBuffer(10, shrink="nested")',
    "DistilledBuffer(10, jpeg=25.5)",
    "HybridBuffer(10, sher=0.5)",
    "AutoBuffer(10, jpeg=25)",
    "ReservoirBuffer(10, downscale=2)",
    "MemoryReplayPlugin(RandomBuffer(10), batch_size_memory=3)",
    "MemoryOnly(model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), memroy=RandomBuffer(10))",
    "DistillConfig(iteratoins=100)",
    "Memory(10)",
    'Memory("random", ipcc=10)',
    'Memory("herding", 10, sed=3)',
    "memory.update(LabelledImages(images, torch.zeros(4)), featurs=None)",
)


# Of PyTorch, what no signature of ours names: checking it takes longer than all else.
PARTS = (
    *("_decomp", "_dynamo", "_export", "_functorch", "_higher_order_ops", "_inductor", "_native", "_prims", "_refs"),
    *("ao", "cuda", "distributed", "distributions", "export", "fx", "jit", "nn.parallel", "onnx", "package"),
    *("profiler", "testing", "utils"),
)
SETTINGS = f"[mypy]\n[mypy-sympy.*,{','.join(f'torch.{part}.*' for part in PARTS)}]\nfollow_imports = skip\n"


MYPY = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-error-summary"]


def test_a_checker_finds_wrong_arguments_and_nothing_else(tmp_path: Path) -> None:
    """One run of mypy for all of them, in a folder with no other settings: without pydantic's plugin, too."""
    (tmp_path / "mypy.ini").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "script.py").write_text(SOUND + "".join(f"{call}\n" for call in WRONG), encoding="utf-8")
    path = str(Path(iid_cl.__file__).parents[1])
    told = subprocess.run(
        [*MYPY, f"--cache-dir={os.devnull}", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert not told.stderr
    errors = [line.split(":", 2) for line in told.stdout.splitlines() if ": error:" in line]
    assert {file for file, _, _ in errors} == {"script.py"}
    first = SOUND.count("\n") + 1
    untyped = [text for _, _, text in errors if "avalanche" in text]
    assert len(untyped) <= 1, untyped  # of the script's own import
    lines = {int(line) for _, line, text in errors if "avalanche" not in text}
    assert lines == set(range(first, first + len(WRONG))), told.stdout
