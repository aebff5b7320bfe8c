"""Keeps names of users and machines out of what a run writes."""

import getpass
import hashlib
import os
import platform
import re
from pathlib import Path

USER, HOST = "$USER", "$HOST"  # stand for the names in stored paths
BOOT = Path("/proc/sys/kernel/random/boot_id")

_PART = r"[^\s'\"<>|:;,()\[\]{}=/\\]"
# an absolute path with at least one folder: neither the rest of a relative path nor of an address; or behind -o
_START = r"(?:(?<![\w.~/\\$…-])|(?<=^-\w)|(?<=\s-\w))"
_ABSOLUTE = re.compile(rf"{_START}(?:[A-Za-z]:)?[/\\](?:{_PART}+[/\\])+({_PART}*)")


def without_names(text: str) -> str:
    """The text with its paths shortened: inside the working folder to relative ones, elsewhere to their last part.

    Paths inside the user's home begin with ``~``. Folders that are called like the user or the machine become ``$USER``
    and ``$HOST``.

    >>> without_names("ValueError: /mnt/projects/mine/images/7.png is damaged")
    'ValueError: …/7.png is damaged'
    """
    for folder, short in ((os.getcwd(), ""), (str(Path.home()), "~/")):
        for form in dict.fromkeys((folder, os.path.realpath(folder))):
            if len(form) > 1:
                text = text.replace(form.rstrip(os.sep) + os.sep, short)
    text = _ABSOLUTE.sub(lambda match: f"…/{match[1]}", text)
    for name, short in _names().items():
        part = re.escape(name)
        inside = rf"(?<=[/\\]){part}(?=[/\\\s'\"]|$)|(?<![^\s'\"=]){part}(?=[/\\])"  # between or before slashes
        text = re.sub(inside, lambda _, short=short: short, text)  # type: ignore[misc]
    return text


def argument_without_names(argument: str) -> str:
    """:func:`without_names` of an argument of a command, whose path may hold spaces."""
    option, equals, value = argument.rpartition("=")
    if not os.path.isabs(value):
        return without_names(argument)
    path = Path(os.path.normpath(value))
    for folder, short in ((Path.cwd(), Path()), (Path.home(), Path("~"))):
        if path.is_relative_to(folder) and len(folder.parts) > 1:
            return option + equals + without_names(str(short / path.relative_to(folder)))
    return option + equals + without_names(f"…/{path.name}")


def stored_path(path: Path, home: Path) -> str:
    """A path as it is stored in the folder ``home``: relative to it, without the names of the user and the machine."""
    try:
        relative = os.path.relpath(os.path.realpath(path), os.path.realpath(home))
    except ValueError:  # on another drive
        relative = str(path.resolve())
    parts = Path(relative).parts
    return str(Path(*(_names().get(part, part) for part in parts))) if parts else "."


def path_of(stored: str, home: Path) -> Path:
    """The path that :func:`stored_path` has stored."""
    full = {short: name for name, short in _names().items()}
    return Path(os.path.normpath(Path(os.path.realpath(home), *(full.get(part, part) for part in Path(stored).parts))))


def machine_id() -> str:
    """Tells machines apart, without their names: eight hexadecimal digits, until the machine is started again."""
    try:
        secret = BOOT.read_text(encoding="ascii").strip()
    except OSError:
        secret = f"{platform.node()} {platform.machine()} {platform.version()}"
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def _names() -> dict[str, str]:
    """The names of the user and the machine, and what stands for them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # nobody knows
        user = ""
    names = {user: USER, Path.home().name: USER, platform.node(): HOST, platform.node().partition(".")[0]: HOST}
    return {name: short for name, short in names.items() if name}
