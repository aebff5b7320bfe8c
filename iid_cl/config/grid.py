"""The cells of a comparison, and the whole configuration of each."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from iid_cl.budget import KEYS, Budget
from iid_cl.config.experiment import CompareMethod, Config
from iid_cl.config.methods import METHODS
from iid_cl.config.reading import parse_config, with_overrides
from iid_cl.errors import UserError

VARIANTS: dict[str, dict[str, Any]] = {
    "random_half": {"memory.method": "random", "memory.downscale": 2},
    "herding_half": {"memory.method": "herding", "memory.downscale": 2},
    "random_jpeg": {"memory.method": "random", "memory.jpeg": 25},
    "herding_jpeg": {"memory.method": "herding", "memory.jpeg": 25},
    "random_dct": {"memory.method": "random", "memory.dct": "auto"},
    "herding_dct": {"memory.method": "herding", "memory.dct": "auto"},
    "distilled_half": {"memory.method": "distilled", "distill.partition": 2},
    "distilled_jpeg": {"memory.method": "distilled", "memory.jpeg": 25, "distill.partition": 1},
    "distilled_dct": {"memory.method": "distilled", "memory.dct": "auto", "distill.partition": 1},
}


@dataclass(frozen=True)
class Cell:
    """A run of a comparison. ``mode`` and ``budget`` are None for the bounds."""

    label: str
    mode: str | None
    budget: Budget | None
    seed: int
    config: Config

    @property
    def name(self) -> str:
        """Stem of the cell's files."""
        return cell_name(self.label, self.mode, self.budget, self.seed)

    @property
    def digest(self) -> str:
        """Digest of all settings that affect the outcome."""
        values = self.config.model_dump(mode="json", exclude={"name", "compare", "baselines", "evaluate", "loggers"})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def cell_name(label: str, mode: str | None, budget: Budget | None, seed: int) -> str:
    """Stem of a cell's files."""
    parts = [label, mode, None if budget is None else f"{budget.key}{budget.amount}"]
    return "-".join([*(part for part in parts if part is not None), f"seed{seed}"])


def cells(config: Config, shape: Sequence[int], classes: int) -> list[Cell]:
    """All cells, seed by seed.

    In memory-only mode all memories of a budget train for the same number of updates. If ``train.memory_updates`` is
    null, that is the number of ``train.memory_epochs`` passes over the budget's full-size images of all classes.

    Args:
        config: the base configuration with its ``compare`` section.
        shape: (channels, height, width) of an image.
        classes: number of classes of the whole stream.

    Raises:
        UserError: an unknown method, two methods of one name, a method that sets a shared key, or a value that the
            configuration refuses.
    """
    methods = _methods(config)
    modes = config.compare.modes if config.compare.modes is not None else [config.train.mode]
    by_name: dict[str, Cell] = {}
    for offset in range(config.compare.seeds):
        seed = config.seed + offset
        for label, overrides in methods.items():
            for mode in dict.fromkeys(modes):
                for budget in _budgets(config):
                    cell = _cell(config, label, overrides, mode, budget, seed, budget.images(classes, prod(shape)))
                    by_name.setdefault(cell.name, cell)  # a bound appears once
    return list(by_name.values())


def baseline_of(config: Config, grid: Iterable[Cell]) -> str | None:
    """The method that all other memories are compared with; None if there is no memory.

    Raises:
        UserError: the configured method has no memory, or is not compared.
    """
    memories = list(dict.fromkeys(cell.label for cell in grid if cell.budget is not None))
    wanted = config.compare.baseline
    if wanted is not None and wanted not in memories:
        raise UserError(
            f"compare.baseline: {wanted!r} is not among the memories compared ({', '.join(memories) or 'none'}); "
            "choose one of them."
        )
    return wanted if wanted is not None else "herding" if "herding" in memories else next(iter(memories), None)


def _budgets(config: Config) -> list[Budget]:
    by_key = config.compare.budgets.model_dump(exclude_none=True)
    budgets = [Budget(**{key: amount}) for key, amounts in by_key.items() for amount in dict.fromkeys(amounts)]
    return budgets or [config.memory.budget]


def _methods(config: Config) -> dict[str, dict[str, Any]]:
    """Overrides of each method by its name."""
    known = {**{name: {"memory.method": name} for name in METHODS}, **VARIANTS}
    by_name: dict[str, dict[str, Any]] = {}
    for method in config.compare.methods:
        custom = isinstance(method, CompareMethod)
        name, overrides = (
            (method.name, method.set) if isinstance(method, CompareMethod) else (method, known.get(method))
        )
        if overrides is None:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UserError(
                f"--memories (compare.methods): {name!r} is no method; did you mean {nearest!r}? "
                f"There are {', '.join(known)}."
            )
        if by_name.setdefault(name, overrides) != overrides or (custom and name in known):
            raise UserError(f"compare.methods: two methods are called {name!r}; give yours another name.")
        for key in overrides:
            if not key.startswith(("memory.", "distill.")) or key.removeprefix("memory.") in KEYS:
                raise UserError(
                    f"compare.methods: {name!r} sets {key!r}, which all methods share; a method sets only keys of "
                    "`distill` and of `memory`, except the budget."
                )
    return by_name


def _cell(
    config: Config, label: str, overrides: dict[str, Any], mode: str, budget: Budget, seed: int, images: int
) -> Cell:
    values = config.model_dump(mode="json", exclude={"compare", "baselines", "loggers"})
    memory = {key: value for key, value in values["memory"].items() if key not in KEYS}
    method = overrides.get("memory.method", config.memory.method)
    if method != config.memory.method:
        memory = {}  # the configured settings of the memory belong to another method
    bound = METHODS[method].bound  # neither budgets nor modes change a bound
    shared: dict[str, Any] = {"memory": memory, "seed": seed, "train.mode": "replay" if bound else mode}
    if not bound:
        shared[f"memory.{budget.key}"] = budget.amount
        if mode == "memory_only" and config.train.memory_updates is None:
            shared["train.memory_updates"] = config.train.memory_epochs * -(-images // config.train.batch_size)
    resolved = parse_config(with_overrides(values, [*shared.items(), *overrides.items()]), f"method {label!r}")
    return Cell(label, None if bound else mode, None if bound else budget, seed, resolved)
