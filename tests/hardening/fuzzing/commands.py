"""Bad input through the command line, in processes of their own."""

import ast
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.hardening.fuzzing.images import image_folders
from tests.hardening.fuzzing.memories import memory_files, shown_memories
from tests.hardening.fuzzing.mutations import TEXTS, Refused, altered
from tests.hardening.fuzzing.results import listed_runs
from tests.hardening.fuzzing.runs import change_files, finished_run, unfinished_run
from tests.hardening.fuzzing.texts import configurations, overrides, studies

NO_DEVICE = ["--device", "cuda:99"]  # which ends what is valid before it trains
SMALLEST = "evaluate={epochs: 1, networks: 1, network: {width: 4, depth: 1}}"
SECONDS, MEMORY = 60, 16 * 2**30  # of a process; libraries reserve more than they take


def commands(random_: random.Random, folder: Path) -> Callable[[], object]:
    """The same inputs through the command line: code 0 or 2, one line of an error, nothing left behind."""
    arguments = random_.choice((_of_texts, _of_memories, _of_runs, _of_images, _of_odd_words))(random_, folder)
    program = Path(sys.executable).with_name("iid-cl")

    def read() -> None:
        before = sorted(folder.rglob("*"))
        done = subprocess.run(
            [program, *map(_encoded, arguments)],
            cwd=folder,
            capture_output=True,
            timeout=300,
            preexec_fn=_limit,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        said = done.stderr.decode("utf-8", errors="replace")
        assert done.returncode in (0, 2), f"exit code {done.returncode}: {said[-2000:]}"
        assert "Traceback" not in said, said[-2000:]
        assert b"\x1b" not in done.stderr + done.stdout, "a control character got through"
        if done.returncode == 2:
            assert len(said.splitlines()) == 1 or said.startswith("Usage: "), said
            assert sorted(folder.rglob("*")) == before, "a refused command left something behind"
            raise Refused
        for path in folder.glob("out*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return read


def _of_texts(random_: random.Random, folder: Path) -> list[str]:
    kind = random_.randrange(4)
    if kind == 0:
        overrides(random_, folder)
        first = ast.literal_eval((folder / "overrides.txt").read_text().splitlines()[0])
        return ["run", "split_digits.yaml", "--out", "out", "--set", first.replace("\0", ""), *NO_DEVICE]
    if kind == 1:
        studies(random_, folder)
        return ["study", "study.yaml", "--out", "out", *NO_DEVICE]
    configurations(random_, folder)
    command = random_.choice(("run", "check", "compare"))
    return [command, "config.yaml", *([] if command == "check" else ["--out", "out"]), *NO_DEVICE]


def _of_memories(random_: random.Random, folder: Path) -> list[str]:
    if random_.random() < 0.4:
        memory_files(random_, folder)
        return ["evaluate", "memory.safetensors", "--set", SMALLEST]
    shown_memories(random_, folder)
    return random_.choice((["show", "memory.safetensors"], ["export", "memory.safetensors", "out"]))


def _of_runs(random_: random.Random, folder: Path) -> list[str]:
    kind = random_.randrange(3)
    if kind == 0:
        listed_runs(random_, folder)
        return ["list", "."]
    if kind == 1:
        change_files(random_, finished_run(folder))
        return ["report", "run", "--out", "out"]
    begun = unfinished_run(folder) / "begun.json"
    begun.write_text(json.dumps(altered(random_, json.loads(begun.read_text()))))
    config = folder / "run" / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda:99"))
    return ["resume", "run"]


def _of_images(random_: random.Random, folder: Path) -> list[str]:
    image_folders(random_, folder)
    return [
        "distill",
        "image_folder",
        "--method",
        "random",
        "--ipc",
        "1",
        "--data-root",
        "images",
        "-o",
        "out.safetensors",
    ]


def _of_odd_words(random_: random.Random, folder: Path) -> list[str]:
    odd = random_.choice((*TEXTS, "--nope", "-1", "1" * 400)).replace("\0", "")
    return random_.choice(
        (["run", odd], ["resume", odd], ["check", odd], ["distill", odd, "-o", "o"], ["evaluate", odd], ["study", odd],
         ["show", odd], ["export", odd, "out"], ["list", odd], ["report", odd], ["configs", odd],
         ["compare", "split_digits.yaml", "--ipc", odd], ["compare", "split_digits.yaml", "--memories", odd],
         ["run", "split_digits.yaml", "--seed", odd], ["show", "m", "--class", odd], [odd])
    )  # fmt: skip


def _encoded(argument: str) -> bytes:
    undecodable = all(not "\ud800" <= letter <= "\udfff" or "\udc80" <= letter <= "\udcff" for letter in argument)
    return argument.encode("utf-8", "surrogateescape" if undecodable else "surrogatepass")


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
