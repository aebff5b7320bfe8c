"""Memories, methods and distillation serve a program that has no Avalanche."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["avalanche"] = None  # whoever imports it fails
import pkgutil
from importlib import import_module
import iid_cl.distill, iid_cl.memory, iid_cl.methods
for package in (iid_cl.distill, iid_cl.memory, iid_cl.methods):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        import_module(module.name)

import torch
from iid_cl import DistillConfig, Memory, Normalization, distill, load_memory, save_memory
from iid_cl.budget import Budget
from iid_cl.config.distill import EmbedderConfig
from iid_cl.data.images import LabelledImages
from iid_cl.methods.distilled import Distilled

images = torch.randint(256, (24, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
config = DistillConfig(iterations=2, real_batch=4, embedder=EmbedderConfig(width=4, depth=1))
memory = Memory(Distilled(config), Budget(mem_size=4))
for labels in (torch.arange(24) % 2, 5 + torch.zeros(24, dtype=torch.int64)):
    memory.update(LabelledImages(images, labels))
save_memory("m.safetensors", memory.exemplars)
print(load_memory("m.safetensors").labels.tolist())
alone = distill({0: images}, config, ipc=2, generator=torch.Generator().manual_seed(0), device="cpu",
                normalization=Normalization((0.5,), (0.25,)))
print(alone.labels.tolist(), sys.modules["avalanche"])
"""


def test_they_can_be_imported_and_used_where_avalanche_is_not(in_tmp_path: object) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[0, 1, 5]", "[0, 0] None"]
