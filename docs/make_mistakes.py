"""Makes docs/mistakes.md: the twenty most likely mistakes, each made for the page, and what the program prints.

python docs/make_mistakes.py [--check]
"""

import contextlib
import io
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from iid_cl.cli import main

PAGE = Path(__file__).with_name("mistakes.md")
HEAD = """# Mistakes and what they print

A mistake ends in one sentence on the error stream and exit code 2. It names the key or the file, the value, and the way
out. Nothing is half written, as each of these is noticed before the work begins. The table is made by the commands
themselves.

| mistake | the command, and what it prints |
|---|---|
"""


@dataclass(frozen=True)
class Mistake:
    """A mistake: what it is, the command, and what has to be there before."""

    what: str
    command: str
    before: Callable[[], object] = lambda: None


def invalid_yaml() -> None:
    Path("mine.yaml").write_text("stream: {dataset: digits\n")


def file(name: str) -> Callable[[], object]:
    """Writes a file of another kind."""

    def write() -> None:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("mine")

    return write


def pets(*sizes: int, test: bool = True) -> Callable[[], object]:
    """Pictures of two classes of these sizes; one of no pixels is a text."""

    def write() -> None:
        for part in ("train", "test") if test else ("train",):
            for name in ("cat", "dog"):
                folder = Path("pets", part, name)
                folder.mkdir(parents=True)
                for number, size in enumerate(sizes):
                    path = folder / f"{number}.png"
                    if size:
                        Image.new("RGB", (size, size), (90, 60 * number, 30)).save(path)
                    else:
                        path.write_text("mine")

    return write


PETS = "iid-cl check split_digits --set stream.dataset=image_folder --data-root pets"
MISTAKES = (
    Mistake("A name that is nearly right", "iid-cl run split_digit"),
    Mistake("A study is given to `run`", "iid-cl run ablation_digits"),
    Mistake("A run is given to `study`", "iid-cl study split_digits"),
    Mistake("A key is misspelt", "iid-cl run split_digits --set memory.icp=5"),
    Mistake("A method is misspelt", "iid-cl run split_digits --method herdign"),
    Mistake("A value is out of range", "iid-cl run split_digits --ipc 0"),
    Mistake("An override has no value", "iid-cl run split_digits --set memory.ipc"),
    Mistake("A key of an older version", "iid-cl run split_digits --set distill.sampling=random"),
    Mistake("The file is no YAML", "iid-cl run mine.yaml", invalid_yaml),
    Mistake("The budget is too small", "iid-cl run split_digits --set memory.ipc=null --set memory.mem_size=9"),
    Mistake("The network is too deep for the images", "iid-cl run split_digits --set model.depth=4"),
    Mistake("The data set is not there", "iid-cl check split_cifar10 --data-root data"),
    Mistake("An image folder lacks its test images", PETS, pets(8, test=False)),
    Mistake("An image is damaged", PETS, pets(8, 0)),
    Mistake("Images differ in size", PETS, pets(8, 9)),
    Mistake("The output folder is in use", "iid-cl run split_digits --out kept", file("kept/notes.txt")),
    Mistake("The output file exists", "iid-cl distill digits -o memory.safetensors", file("memory.safetensors")),
    Mistake("The output file has another suffix", "iid-cl distill digits -o memory.pt"),
    Mistake("The memory file is not there", "iid-cl evaluate memory.safetensors"),
    Mistake("There is nothing to resume", "iid-cl resume runs/split_digits"),
)


def printed(mistake: Mistake) -> str:
    """What the command prints on the error stream.

    Raises:
        SystemExit: it does not end with exit code 2, or prints something else.
    """
    arguments, out, err = sys.argv, io.StringIO(), io.StringIO()
    with elsewhere():
        mistake.before()
        sys.argv = shlex.split(mistake.command)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = arguments
    if code != 2 or out.getvalue():
        sys.exit(f"{mistake.command}: ends with {code}, and prints {out.getvalue()!r}")
    return err.getvalue().strip()


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """An empty working folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def page() -> str:
    """The page as it should be."""
    rows = []
    for mistake in MISTAKES:
        said = printed(mistake).replace("|", "\\|")
        rows.append(f"| {mistake.what} | `{mistake.command}`<br>`` {said} `` |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page() else "run python docs/make_mistakes.py")
    PAGE.write_text(page(), encoding="utf-8")
