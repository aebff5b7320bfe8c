"""Makes docs/transcripts/*.md: three sessions of a new user, as typed and as printed. Times are masked.

python docs/make_transcripts.py [NAME ...]     # minutes on two cores; names of SESSIONS, default all

Each page names the commit that made it. So commit first, and afterwards merge rather than rebase: a test asks whether
the commits are part of the history.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("transcripts")
ROOT = FOLDER.parents[1]
GONE = "…"


@dataclass(frozen=True)
class Step:
    """A command as it is typed, what to say before it, and the output at which Ctrl-C is pressed, if it is."""

    typed: str
    says: str = ""
    stop_at: str | None = None


@dataclass(frozen=True)
class Session:
    """A page: its heading, what it is about, the files that the session begins with, and the steps."""

    title: str
    intro: str
    files: tuple[str, ...]
    steps: tuple[Step, ...]


PAPER = "--config paper.yaml"
SESSIONS = {
    "readme": Session(
        "With README alone",
        "The commands of README, on the digits that scikit-learn brings. Nothing is downloaded.",
        (),
        (
            Step("iid-cl check split_digits", "How long will it take?"),
            Step("iid-cl run split_digits", "Train, with a memory of one distilled image per class."),
            Step("iid-cl list", "What is there?"),
            Step("iid-cl show runs/split_digits", "What does the memory hold?"),
            Step("iid-cl export runs/split_digits pictures", "The memory as pictures."),
            Step("iid-cl predict runs/split_digits pictures/3 pictures/8", "Where is my model? It names digits."),
            Step("iid-cl resume runs/split_digits", "How do I resume? Here nothing is left to do."),
        ),
    ),
    "avalanche": Session(
        "An Avalanche script, Ctrl-C, and on",
        "A plain Avalanche script with a distilled memory. `save` and `load` keep the whole strategy between "
        "experiences. Ctrl-C during the third experience loses that experience and nothing else: the run ends like an "
        "uninterrupted one.",
        ("experiment.py",),
        (
            Step("cat experiment.py"),
            Step("python experiment.py", "Ctrl-C during the third experience.", r"(?s)(learning.*){3}"),
            Step("ls state", "What was saved."),
            Step("python experiment.py", "The same command goes on."),
            Step("rm -r state"),
            Step("python experiment.py", "An uninterrupted run, for comparison."),
        ),
    ),
    "paper": Session(
        "A row of the paper's table, in miniature",
        "The paper's method is distribution matching with class centralization and covariance matching. Here it has "
        "its published loss weights and learning rate. **Digits, small networks and one iteration in 200 "
        "stand in for CIFAR-10**, so the figures are not the paper's. The real row is "
        "`iid-cl study published_cifar10`, for a GPU ([the paper](../paper.md)).",
        ("paper.yaml",),
        (
            Step("cat paper.yaml"),
            Step(f"iid-cl distill digits {PAPER} -o paper.safetensors", "Distil all ten classes."),
            Step(f"iid-cl evaluate paper.safetensors {PAPER}", "Train new networks on the memory alone."),
            Step(f"iid-cl distill digits {PAPER} --method random -o random.safetensors", "Random images, same bytes."),
            Step(f"iid-cl evaluate random.safetensors {PAPER}"),
        ),
    ),
}  # fmt: skip


def run(step: Step, folder: Path) -> str:
    """What a command prints; it gets a Ctrl-C where the step says so.

    Raises:
        SystemExit: it failed.
    """
    words = shlex.split(step.typed)
    programs = {"iid-cl": [sys.executable, "-m", "iid_cl"], "python": [sys.executable]}
    environment = {
        **os.environ,
        "COLUMNS": "100",
        "IID_CL_DATA": str(folder / "data"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    process = subprocess.Popen(
        [*programs.get(words[0], words[:1]), *words[1:]],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    printed, stopped = "", False
    for line in process.stdout:
        printed += line
        if step.stop_at is not None and not stopped and re.search(step.stop_at, printed):
            process.send_signal(signal.SIGINT)
            stopped = True
    if process.wait() and not stopped:
        sys.exit(f"{step.typed}: ends with {process.returncode}\n{printed}")
    return printed


def masked(printed: str) -> str:
    """Without times, dates, commits and tracebacks, which differ from one run to the next.

    >>> masked("took 12.3 s, 0.9 min left")
    'took … s, … min left'
    """
    text = re.sub(r"^ +.*(?:distilling|training): \d+/\d+.*\n", "", printed, flags=re.MULTILINE)  # by time
    text = re.sub(r"\b\d[\d.,]*(?= (?:s|ms|min|h|seconds|minutes|hours|iterations/s)\b)", GONE, text)
    text = re.sub(r"\b\d+(?= (?:updates|evaluations|iterations) of … ms)", GONE, text)  # as many as a second holds
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?", GONE, text)
    text = re.sub(r"\bcommit [0-9a-f]{7,}\S*", f"commit {GONE}", text)
    text = re.sub(
        r"(Traceback \(most recent call last\):\n).*\n(KeyboardInterrupt)", rf"\1  {GONE}\n\2", text, flags=re.DOTALL
    )
    return "\n".join(_without_seconds(text.splitlines())).rstrip()


def _without_seconds(lines: list[str]) -> list[str]:
    """Masks the columns of a table whose headings end in ``s`` for seconds."""
    ends: list[int] = []
    found = []
    for line in lines:
        headings = [match.end() for match in re.finditer(r"(?:memory|train|total) s\b", line)]
        ends = headings or (ends if line.strip() else [])
        for match in reversed(list(re.finditer(r"\d[\d.,]*", line))):
            if not headings and match.end() in ends:
                line = line[: match.start()] + GONE.rjust(len(match[0])) + line[match.end() :]
        found.append(line.rstrip())
    return found


def made_by() -> str:
    """The line that says where a transcript comes from.

    Raises:
        SystemExit: the checkout has changes that no commit holds.
    """
    import torch

    from iid_cl.records.provenance import provenance

    told = provenance(torch.device("cpu"))
    if told["changes"] is not None:
        sys.exit("there are uncommitted changes; commit first, as a transcript names the commit that made it.")
    machine = f"{told['machine'].partition(',')[0]}, one thread, torch {torch.__version__}, commit {told['commit'][:9]}"
    return f"Made by `python docs/make_transcripts.py`, {machine}. Times, dates and commits are masked (…)."


def page(session: Session, origin: str, outputs: list[str]) -> str:
    """The page of a session, from where it comes from and what its commands have printed."""
    parts = [f"# {session.title}", session.intro, origin]
    for step, printed in zip(session.steps, outputs, strict=True):
        end = "^C\n" if step.stop_at is not None else ""
        text = masked(printed).replace("\nTraceback", f"\n{end}Traceback", 1) if end else masked(printed)
        parts += [step.says] if step.says else []
        parts.append(f"```text\n$ {step.typed}\n{text}\n```".replace("\n\n```", "\n```"))
    if session is SESSIONS["paper"]:
        parts.append(_row(outputs))
    return "\n\n".join(parts) + "\n"


def _row(outputs: list[str]) -> str:
    """The row that the paper's table would have."""
    found = [re.search(r"accuracy (.+?) %", printed) for printed in (outputs[2], outputs[4])]
    paper, random = (match[1] if match else "?" for match in found)
    return (
        "The row (mean ± standard deviation over three networks, one memory each):\n\n"
        "| digits, 10 images a class | random | DM + CC + CM |\n|---|---:|---:|\n"
        f"| accuracy, % | {random} | {paper} |"
    )


def make(name: str, origin: str) -> None:
    """Runs a session in an empty folder and writes its page."""
    session = SESSIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        for file in session.files:
            (Path(folder) / file).write_bytes((FOLDER / file).read_bytes())
        outputs = [run(step, Path(folder)).replace(folder, GONE) for step in session.steps]
    (FOLDER / f"{name}.md").write_text(page(session, origin, outputs), encoding="utf-8")


if __name__ == "__main__":
    told_once = made_by()  # before the first page is a change
    for name in sys.argv[1:] or SESSIONS:
        make(name, told_once)
