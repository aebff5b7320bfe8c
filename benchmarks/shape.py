"""The shape of the code: what a change has to touch, and whether tools and people find their way.

python -m benchmarks.shape [--quick]

The source is read, not imported; ``--quick`` leaves the type checkers out. How each row counts stands in the docstring
of its function.
"""

import argparse
import ast
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks.rooms import ORDER, Module, backward, circles, imports, loose, read_package
from benchmarks.typing_check import checkers
from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS
from iid_cl.config.reading import dotted_keys

MANY = 10  # parameters of a function
EXAMPLES = {
    "memory method": ("hybrid", "3"),
    "selection rule": ("k_centre", "2"),
    "matching objective": ("ncfm", "2"),
    "data set": ("svhn", "1"),
    "network": ("lenet", "2"),
}  # one of each, and in how many places it may be named
AMBIGUOUS = {"auto", "none", "random"}  # methods' names that other settings use, too
SURE = ("method", "memory", "rule")  # words that say that a method is meant

Modules = Mapping[str, Module]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Place:
    """Somewhere in the source. ``what`` is the kind of a mention, or the code of a branch."""

    module: str
    line: int
    what: str


class Row(NamedTuple):
    """A row of the table; ``parts`` is what its figure consists of."""

    measure: str
    now: str
    goal: str
    parts: Sequence[str] = ()


def mentions(modules: Modules, name: str) -> list[Place]:
    """Where a method, rule, objective, data set or network is named, outside docstrings and comments.

    A mention is a string literal (``"string"``), the module of an import (``"module"``) or another identifier: a
    variable, an attribute, a function, a class, a parameter, a keyword, an imported name. It may hold more than the
    name, as in ``HybridBuffer``, ``select_k_centre`` or a key's description; the name has to be a word of it, capitals
    and underscores aside. A string counts once, and so does each of the names of an import.
    """
    squeezed = "_*".join(re.escape(letter) for letter in name.replace("_", ""))
    word = re.compile(f"(?<![a-z0-9]){squeezed}(?![a-z0-9])")
    return [
        Place(module.name, line, kind)
        for module in modules.values()
        for line, kind, text in _texts(module.tree)
        if word.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower())
    ]


def _texts(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, kind and text of everything that can name something."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield node.lineno, "string", text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=str(text)):
                yield node.lineno, "identifier", text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, "identifier", text
            case ast.ImportFrom(module=text):
                yield node.lineno, "module", (text or "").rpartition(".")[2]
                yield from ((alias.lineno, "identifier", alias.name) for alias in node.names)
            case ast.Import():
                yield from ((alias.lineno, "module", alias.name.rpartition(".")[2]) for alias in node.names)


def branches(modules: Modules, methods: Collection[str]) -> list[Place]:
    """Where the code asks for a method by its name or class.

    These count: a comparison or a test of membership one side of which holds a method's name as a string, or a constant
    written as such names (``REAL_METHODS``); an intersection with a set of names; a dictionary by names that is written
    only to look one up; a ``case`` with a name; ``isinstance`` with a class of the room ``methods`` or a ``Buffer`` of
    ``strategies``. The words auto, none and random name other things, too: alone they count where the code says method,
    memory or rule.
    """
    constants = {name for module in modules.values() for name in _constants(module.tree, methods)}
    classes = {name for module in modules.values() for name in _classes(module)}
    found = [
        Place(module.name, line, code)
        for module in modules.values()
        for node in ast.walk(module.tree)
        for line, code in _branches(node, set(methods), constants, classes)
    ]
    return sorted(found, key=lambda place: (place.module, place.line))


def _constants(tree: ast.Module, methods: Collection[str]) -> Iterator[str]:
    """Constants of a module that hold methods' names and nothing else."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Tuple | ast.List | ast.Set):
            held = _strings(node.value)
            if held and held <= set(methods):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def _classes(module: Module) -> Iterator[str]:
    """Classes that are methods, or the buffers around them."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            buffer = module.room == "strategies" and node.name.endswith("Buffer")
            if buffer or module.room == "methods":
                yield node.name


def _branches(node: ast.AST, methods: set[str], constants: set[str], classes: set[str]) -> Iterator[tuple[int, str]]:
    """Line and code of a branch, where the node is one."""
    asks = False
    match node:
        case ast.Compare():
            held = _strings(node) & methods
            sure = not held <= AMBIGUOUS or any(word in ast.unparse(node).lower() for word in SURE)
            asks = bool(held and sure) or bool(_names(node) & constants)
        case ast.BinOp(op=ast.BitAnd(), left=left, right=right):
            asks = any(isinstance(side, ast.Set) and _strings(side) & methods for side in (left, right))
        case (
            ast.Call(func=ast.Attribute(value=ast.Dict(keys=keys), attr="get"))
            | ast.Subscript(value=ast.Dict(keys=keys))
        ):
            asks = any(isinstance(key, ast.Constant) and key.value in methods for key in keys)
        case ast.match_case(pattern=pattern):
            asks = bool(_strings(pattern) & methods)
            node = pattern
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]):
            asks = bool(_names(kinds) & classes)
    if asks and isinstance(node, ast.expr | ast.pattern):
        yield node.lineno, ast.unparse(node)


def _strings(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _names(node: ast.AST) -> set[str]:
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return names | {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


def long_signatures(modules: Modules, least: int = MANY) -> list[tuple[int, str]]:
    """Functions of ``least`` parameters or more, the longest first; self, cls, *args and **kwargs don't count."""
    found = []
    for name, function in functions(modules):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        count = len(arguments) - (bool(arguments) and arguments[0].arg in ("self", "cls"))
        if count >= least:
            found.append((count, name))
    return sorted(found, key=lambda one: (-one[0], one[1]))


def functions(modules: Modules) -> Iterator[tuple[str, Function]]:
    """Every function with its name, those of classes and of other functions, too."""
    for module in modules.values():
        yield from _functions(module.tree, module.name)


def _functions(node: ast.AST, name: str) -> Iterator[tuple[str, Function]]:
    for inner in ast.iter_child_nodes(node):
        named = isinstance(inner, ast.ClassDef | Function)
        inner_name = f"{name}.{inner.name}" if named else name
        if isinstance(inner, Function):
            yield inner_name, inner
        yield from _functions(inner, inner_name)


def length(function: Function) -> int:
    """Lines from ``def`` to the end, docstring included; decorators are left out."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def public_objects(modules: Modules) -> Iterator[tuple[str, str]]:
    """Name and docstring of modules, classes, functions and methods; what has an underscore in front is left out."""
    for module in modules.values():
        if not any(part.startswith("_") for part in module.name.split(".")):
            yield from _public(module.tree, module.name)


def _public(node: ast.Module | ast.ClassDef | Function, name: str) -> Iterator[tuple[str, str]]:
    yield name, ast.get_docstring(node) or ""
    if isinstance(node, ast.Module | ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.ClassDef | Function) and inner.name[0] != "_":
                yield from _public(inner, f"{name}.{inner.name}")


def keys() -> list[str]:
    """The configuration's keys that hold a value: the leaves of its sections."""
    every = list(dotted_keys(Config))
    return [key for key in every if not any(other.startswith(f"{key}.") for other in every)]


def measure(modules: Modules, methods: Collection[str]) -> list[Row]:
    """The rows of the table that the source tells."""
    graph = imports(modules)
    rings, arrows, alone = circles(graph), backward(modules, graph), loose(modules)
    lines = Counter[str]()
    for module in modules.values():
        lines[module.room] += module.lines
    rows = [
        Row("import circles of files", f"{len(rings)}", "0", [" ".join(ring) for ring in rings]),
        Row("imports against the order of the rooms", f"{len(arrows)}", "0", [" -> ".join(arrow) for arrow in arrows]),
        Row("loose modules", f"{len(alone)}", "5", alone),
        Row("lines of runs", f"{lines['runs']:,}", "1,900"),
        Row("lines in all", f"{lines.total():,}", "", [f"{room} {lines[room]:,}" for row in ORDER for room in row]),
        *(_mentioned(kind, name, goal, mentions(modules, name)) for kind, (name, goal) in EXAMPLES.items()),
    ]
    asked, long = branches(modules, methods), long_signatures(modules)
    files = len({place.module for place in asked})
    examples = [">>>" in text for _, text in public_objects(modules)]
    of_modules = median(module.lines for module in modules.values())
    of_functions = median(length(function) for _, function in functions(modules))
    where = [f"{place.module}:{place.line} {place.what}" for place in asked]
    return [
        *rows,
        Row("branches on a method's name or class", f"{len(asked)} in {files} files", "5", where),
        Row(
            f"functions of {MANY} or more parameters", f"{len(long)}", "3", [f"{count} {name}" for count, name in long]
        ),
        Row("lines of a module, median", f"{of_modules:g}", ""),
        Row("lines of a function, median", f"{of_functions:g}", ""),
        Row("public objects with an example", f"{sum(examples)} of {len(examples)}", ""),
    ]


def _mentioned(kind: str, name: str, goal: str, found: list[Place]) -> Row:
    """Strings and modules are what has to be changed by hand; identifiers follow them."""
    named = Counter(place.module for place in found if place.what != "identifier")
    others = len(found) - named.total()
    text = f"{named.total()} in {len(named)} files, and {others} identifiers"
    return Row(f"mentions of {name}, a {kind}", text, goal, [f"{module} {count}" for module, count in named.items()])


def main() -> None:
    """Prints the table, then what its rows consist of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave the type checkers out")
    quick = parser.parse_args().quick
    rows = measure(read_package(), tuple(METHODS))
    rows.append(Row("configuration keys", f"{len(keys())}", "90"))
    rows += [] if quick else [Row(*told) for told in checkers()]
    print("| | now | goal |\n|---|---:|---:|")
    for row in rows:
        print(f"| {row.measure} | {row.now} | {row.goal} |")
    for row in rows:
        if row.parts:
            print(f"\n{row.measure}:", *row.parts, sep="\n  ")


if __name__ == "__main__":
    main()
