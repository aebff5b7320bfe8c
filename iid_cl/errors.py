"""The exception for mistakes that the user can fix, and how text from outside is shown."""

import re
import reprlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# What moves a cursor, colours a terminal, breaks a line, turns the direction of writing or has no encoding
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

NO_MEMORY = "no such file; `iid-cl distill` and `iid-cl run` write memories."
NO_MODEL = "no such file; a finished run keeps its network as model.safetensors."
NO_PICTURE = "no such picture."
NO_RUN = "no such run directory; `iid-cl list` shows the runs."
NO_RESULTS = "no such directory; name one that `iid-cl run` or `iid-cl compare` made."
LONGEST = 1200  # characters of a sentence on the terminal

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 20


class UserError(Exception):
    """A mistake that the user can fix. The message is one sentence: the key or file, the value and the way out.

    The command line prints it without a traceback and exits with code 2.
    """


def must_exist(path: Path, says: str) -> None:
    """Refuses a path where nothing is. Commands ask before they import PyTorch, so that a slip is told at once.

    Raises:
        UserError: there is nothing.

    >>> must_exist(Path("nowhere"), NO_RUN)
    Traceback (most recent call last):
    iid_cl.errors.UserError: nowhere: no such run directory; `iid-cl list` shows the runs.
    """
    if not path.exists():
        raise UserError(f"{path}: {says}")


def need(package: str, what: str, extra: str) -> None:
    """Refuses what cannot work without an optional package.

    Args:
        package: name by which it is imported; nothing of it is imported here.
        what: what needs it, as the first words of the message.
        extra: the extra of this project that brings it.

    Raises:
        UserError: it is not installed.

    >>> need("no_such_package", "iid-cl fly", "wings")
    Traceback (most recent call last):
    iid_cl.errors.UserError: iid-cl fly needs no_such_package, which is not installed; run pip install 'iid-cl[wings]'.
    """
    try:
        there = find_spec(package) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        raise UserError(f"{what} needs {package}, which is not installed; run pip install 'iid-cl[{extra}]'.")


def is_printable(text: str) -> bool:
    """Whether text can go to a terminal, a log or a picture unchanged."""
    return _UNPRINTABLE.search(text) is None


def printable(text: str) -> str:
    r"""Text from outside (file names, values) on one line: control characters and line breaks as ``\x1b``, ``\n``."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(error: UserError) -> str:
    """The message on one line; a very long one loses its middle."""
    text = printable(" ".join(str(error).splitlines()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


def shown(value: Any) -> str:
    """A value from outside, for a sentence: its ``repr``, shortened if it is long or deeply nested."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python's limit on the digits of a number
        return "a number of thousands of digits"
