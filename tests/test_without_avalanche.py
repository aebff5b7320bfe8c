"""All but runs and comparisons serves a program, and a person, that has no Avalanche."""

import subprocess
import sys
from pathlib import Path

import pytest

from iid_cl.cli import main

BLOCKED = """
import sys

class No:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "avalanche":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, No())
"""

IMPORT_ALL = """
import pkgutil
from importlib import import_module
import iid_cl

failed = []
for module in pkgutil.walk_packages(iid_cl.__path__, "iid_cl.", onerror=lambda name: None):
    if module.name == "iid_cl.__main__":
        continue
    try:
        import_module(module.name)
    except ModuleNotFoundError as error:
        assert error.name == "avalanche", error
        failed.append(module.name)
print(*failed)
"""

USE = """
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
print(alone.labels.tolist())
"""

COMMANDS = """
from iid_cl.cli import main

def call(*arguments):
    sys.argv = ["iid-cl", *arguments]
    try:
        main()
    except SystemExit as end:
        print("END", arguments[0], end.code or 0)
        print(arguments[0], end.code or 0, file=sys.stderr)

few = "--set distill.iterations=1 --set distill.real_batch=4 --set distill.embedder.width=4".split()
brief = "--set evaluate.networks=1 --set evaluate.epochs=1 --set evaluate.network.width=4".split()
call("distill", "digits", "-o", "digits.safetensors", "--ipc", "1", "--device", "cpu", *few)
call("evaluate", "digits.safetensors", "--device", "cpu", *brief)
call("show", "digits.safetensors")
call("export", "digits.safetensors", "folder")
call("study", "study.yaml", "--device", "cpu", "--out", "study")
call("check", "split_digits.yaml", "--no-probe")
call("report", "run")
call("list", "run")
call("run", "split_digits.yaml")
call("compare", "compare_digits.yaml")
call("resume", "run")
"""

STUDY = """
name: two
title: Two
base:
  stream: {dataset: digits, train_limit: 4, test_limit: 2}
  evaluate: {networks: 1, epochs: 1, network: {width: 4}}
variants:
  - {name: herding, set: {memory.method: herding}}
  - {name: random, set: {memory.method: random}}
seeds: 1
"""

RUN = """
name: tiny
stream: {dataset: digits, classes: [[0], [1]], train_limit: 8, test_limit: 2}
memory: {method: random, ipc: 1}
model: {width: 4}
train: {epochs: 1}
"""

NEEDS_IT = {"iid_cl.compare", "iid_cl.runs", "iid_cl.strategies"}


def without_avalanche(program: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", BLOCKED + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_only_runs_and_comparisons_import_it(in_tmp_path: Path) -> None:
    failed = without_avalanche(IMPORT_ALL).stdout.split()
    assert {"iid_cl.runs.run", "iid_cl.compare.compare", "iid_cl.strategies"} <= set(failed)
    assert {".".join(name.split(".")[:2]) for name in failed} == NEEDS_IT


@pytest.mark.usefixtures("no_reports")
def test_memories_and_commands_work_or_say_what_is_missing(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("study.yaml").write_text(STUDY)
    Path("run.yaml").write_text(RUN)
    monkeypatch.setattr(sys, "argv", ["iid-cl", "run", "run.yaml", "--out", "run", "--device", "cpu", "--quiet"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    done = without_avalanche(USE + COMMANDS)
    assert done.stdout.splitlines()[:2] == ["[0, 1, 5]", "[0, 0]"]
    ends = dict(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("END "))
    needed = ("run", "compare", "resume")
    assert {name: code for name, code in ends.items() if code != "0"} == dict.fromkeys(needed, "2"), done.stderr
    assert len(ends) == 11
    for name in needed:
        assert (
            f"iid-cl: iid-cl {name} needs avalanche, which is not installed; run pip install 'iid-cl[avalanche]'.\n"
            in done.stderr
        )
    assert Path("run/report.html").is_file()
    assert not Path("runs").exists()
