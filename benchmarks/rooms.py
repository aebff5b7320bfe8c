"""Which module imports which: the order of the rooms, arrows against it, and circles.

The source is read, not imported. An import counts wherever it stands: in a function or for type checkers, too.
"""

import ast
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "iid_cl"

# A room imports only from rows above its own. The rooms of a row do not import each other, but the command line (cli)
# imports everything. Data files (configs) and old import paths (config_distill) are in no room.
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("seeding", "files", "budget"),
    ("launch",),
    ("config",),
    ("data", "nets"),
    ("compute",),
    ("memory",),
    ("distill",),
    ("evaluate",),
    ("records",),
    ("terminal",),
    ("report",),
    ("methods",),
    ("strategies",),
    ("precheck", "audit"),
    ("runs",),
    ("studies", "compare"),
    ("cli",),
)
ROOMLESS = ("configs", "config_distill", "__main__")
ROWS = {room: number for number, rooms in enumerate(ORDER) for room in rooms}


@dataclass(frozen=True)
class Module:
    """A source file. ``name`` is what imports call it; a package's is that of its ``__init__.py``."""

    name: str
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Lines of the file, with comments and blank lines."""
        return len(self.text.splitlines())

    @property
    def room(self) -> str:
        """The first part of the name below the package; empty for the package itself."""
        return self.name.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]


def read_package(root: Path = ROOT) -> dict[str, Module]:
    """The modules of the package in ``root`` by name, through the links to the folders of the top level."""
    found = {}
    for folder, _, files in os.walk(root / PACKAGE, followlinks=True):
        for path in (Path(folder) / name for name in files if name.endswith(".py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, path.read_text(encoding="utf-8"))
    return dict(sorted(found.items()))


def imports(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """The package's modules that each module imports. ``from a import b`` imports a.b if that is one, else a."""
    return {name: set(_imported(module, modules)) - {name} for name, module in modules.items()}


def _imported(module: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for name in (f"{base}.{alias.name}" for alias in node.names):
                if name in modules or base in modules:
                    yield name if name in modules else base


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    """The module that ``from MODULE import`` names, its leading dots resolved."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    inside = node.level - (module.path.stem == "__init__")  # a package's dot is the package itself
    return ".".join([*parts[: len(parts) - inside], *filter(None, [node.module])])


def backward(modules: Mapping[str, Module], graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Imports against :data:`ORDER`: importer and imported. The package itself and what is in no room is left out."""
    found = []
    for name, targets in graph.items():
        for target in sorted(targets):
            here, there = modules[name].room, modules[target].room
            if here in ROWS and there in ROWS and here != there and ROWS[there] >= ROWS[here]:
                found.append((name, target))
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which imports, over any number of steps, all of its group."""
    reached = {name: _reached(name, graph) for name in graph}
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in graph}
    return sorted(list(group) for group in groups if group)


def _reached(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for target in graph[waiting.pop()] - found:
            found.add(target)
            waiting.append(target)
    return found


def loose(modules: Mapping[str, Module]) -> list[str]:
    """Modules that lie in the package's own folder, beside the rooms. ``__init__`` and ``__main__`` are its faces."""
    return [name for name, module in modules.items() if name.count(".") == 1 and not module.path.stem.startswith("__")]


def roomless(modules: Mapping[str, Module]) -> list[str]:
    """Modules of folders and files that :data:`ORDER` has no place for."""
    return [name for name, module in modules.items() if module.room and module.room not in (*ROWS, *ROOMLESS)]
