"""The categories of :mod:`tests.hardening.fuzz`.

Each is a function of a seeded generator and an empty folder, which writes its input there and returns what reads it.
That raises a UserError (or :class:`~tests.hardening.fuzzing.mutations.Refused`, where refusing is no error) for a
refusal, and anything else for a bug.
"""

import random
from collections.abc import Callable
from pathlib import Path

from tests.hardening.fuzzing.commands import commands
from tests.hardening.fuzzing.images import image_folders
from tests.hardening.fuzzing.memories import coefficient_files, memories_of_data, memory_files, shown_memories
from tests.hardening.fuzzing.python_data import avalanche_data, python_data
from tests.hardening.fuzzing.results import comparison_cells, listed_runs
from tests.hardening.fuzzing.runs import reported_runs, unfinished_runs
from tests.hardening.fuzzing.texts import configurations, overrides, studies

Category = Callable[[random.Random, Path], Callable[[], object]]

CATEGORIES: dict[str, Category] = {
    "configurations": configurations,
    "overrides": overrides,
    "studies": studies,
    "memory files": memory_files,
    "memory files of coefficients": coefficient_files,
    "memories of data": memories_of_data,
    "shown memories": shown_memories,
    "listed runs": listed_runs,
    "unfinished runs": unfinished_runs,
    "reported runs": reported_runs,
    "image folders": image_folders,
    "comparison cells": comparison_cells,
    "data in Python": python_data,
    "data in Avalanche": avalanche_data,
    "commands": commands,
}
