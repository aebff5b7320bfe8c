"""The one exception that means: the user can mend this; and how foreign text is shown."""

import re
import reprlib
from typing import Any

# What moves a cursor, colours a terminal, breaks a line, turns the direction of writing or has no encoding
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

LONGEST = 1200  # characters of a sentence on the terminal

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = 20


class UserError(Exception):
    """Bad input: its message is one sentence naming the key or file, the value and the way out.

    The command line prints the message and exits with code 2; no traceback is shown.
    """


def is_printable(text: str) -> bool:
    """Whether text can go to a terminal, a log or a picture as it is."""
    return _UNPRINTABLE.search(text) is None


def printable(text: str) -> str:
    r"""Foreign text (file names, values) on one line: control characters and line breaks as ``\x1b``, ``\n``."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(error: UserError) -> str:
    """The sentence as a terminal shows it; of a very long one the middle is left out."""
    text = printable(" ".join(str(error).splitlines()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


def shown(value: Any) -> str:
    """A foreign value in a sentence: its ``repr``, cut where it is long or deep."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python's limit on the digits of a number
        return "a number of thousands of digits"
