"""The rooms of the package import in one direction, see ``benchmarks/rooms.py``."""

from benchmarks.rooms import ROOMLESS, backward, circles, imports, loose, read_package, roomless

MODULES = read_package()
GRAPH = imports(MODULES)


def test_a_room_imports_only_from_rooms_above_it() -> None:
    assert backward(MODULES, GRAPH) == [], "these imports run against the order of benchmarks/rooms.py"


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(GRAPH) == []


def test_every_module_has_a_room() -> None:
    assert roomless(MODULES) == []
    assert len(MODULES) > 100  # what was read is the package, through its links
    assert {"iid_cl.strategies.named", "iid_cl.configs.studies"} <= MODULES.keys()


def test_nothing_in_the_package_uses_an_old_import_path() -> None:
    old = {name for name in MODULES if MODULES[name].room in ROOMLESS}
    assert [name for name, targets in GRAPH.items() if targets & old] == []


def test_few_modules_lie_loose() -> None:
    assert len(loose(MODULES)) <= 5, loose(MODULES)
