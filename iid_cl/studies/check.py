"""``iid-cl check`` of a study: what it would do, and about how long it would take."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iid_cl.compute.devices import resolve_device
from iid_cl.config.study import StudyConfig
from iid_cl.data.available import require
from iid_cl.data.images import ImageDataset
from iid_cl.data.loaded import dataset_of, forget_datasets
from iid_cl.errors import printable
from iid_cl.precheck.check import duration, show
from iid_cl.precheck.plan import Step, plan
from iid_cl.precheck.probe import condensing_seconds, judging_seconds
from iid_cl.studies.cases import Case, cases
from iid_cl.studies.run import check_case
from iid_cl.terminal.screen import emit, print_table

TIMED = 2  # cases that are timed; others are assumed to take as long for each iteration and image


@dataclass(frozen=True)
class _Planned:
    """A case and its work."""

    case: Case
    step: Step
    dataset: ImageDataset

    @property
    def images(self) -> int:
        """Stored images of all classes, as far as bytes tell."""
        return max(1, self.step.memory_bytes // prod(self.dataset.shape))

    @property
    def iterations(self) -> int:
        length = self.case.config.distill.length
        return sum(length(one.count) for one in self.step.distillations)

    @property
    def work(self) -> tuple[float, float]:
        """What condensing and judging multiply: iterations, and images that are trained on."""
        protocol = self.case.config.evaluate
        return float(max(1, self.iterations)), float(self.images * protocol.epochs * protocol.networks)


def check_study(study: StudyConfig, data_root: Path | None, console: Console, *, probe: bool) -> None:
    """Prints what ``iid-cl study`` would do; nothing is written or downloaded.

    Raises:
        UserError: the study would fail before it starts, or a data set is missing.
    """
    todo = cases(study)
    forget_datasets()
    device = resolve_device(todo[0].config.device)
    planned = []
    for case in todo:
        for part in case.config.stream.parts:
            require(part.dataset, data_root)
        dataset = dataset_of(case.config, data_root)
        check_case(case, dataset)
        classes = [*range(len(dataset.class_names))]
        (step,) = plan(case.config, case.config.memory.method, dataset, [classes])
        planned.append(_Planned(case, step, dataset))
    first = todo[0].config
    networks = [network.label for network in (first.evaluate.network, *first.evaluate.transfer)]
    count = len(todo) * study.seeds * _trials(study)
    show(console, f"{study.name}: {study.title}")
    show(console, f"{count} memories of {planned[0].dataset.name} on {device}: {_factors(study)}.")
    if study.scatter is None:
        show(console, f"Each is judged by {first.evaluate.networks} networks of each architecture "
                      f"({', '.join(networks)}), {first.evaluate.epochs:,} epochs each.")  # fmt: skip
    if study.search is not None and study.variants:
        keys, memories = ", ".join(study.search), study.trials * study.seeds
        show(console, f"With --search: {study.trials} trials of {keys}; {memories} memories.")
    show(console, "Networks, partitions and memories fit the data.")
    print_table(console, _table(planned))
    emit(console, "plan", name=study.name, memories=count, seeds=study.seeds, cases=[_plain(one) for one in planned])
    if probe and study.scatter is None:
        _estimate(study, planned, device, console)


def _estimate(study: StudyConfig, planned: Sequence[_Planned], device: torch.device, console: Console) -> None:
    """Times the cases with most work, and gives the others their share."""
    judged = len(study.iterations or [0])
    most = sorted(planned, key=lambda one: -one.work[0] - one.work[1])
    timed = list({one.case.variant: one for one in reversed(most)}.values())[:TIMED]
    seconds = {}
    for one in timed:
        config = one.case.config
        condensing = condensing_seconds(config, config.memory.method, one.dataset, [one.step], device, {})
        judging = judging_seconds(config, one.dataset, one.images, device)
        seconds[id(one)] = (condensing / one.work[0], judging / one.work[1])
    usual = [max(values) for values in zip(*seconds.values(), strict=True)]
    rates = [(one.work, seconds.get(id(one), usual)) for one in planned]
    times = study.seeds * _trials(study)
    condensing = times * sum(work[0] * rate[0] for work, rate in rates)
    judging = times * judged * sum(work[1] * rate[1] for work, rate in rates)
    show(console, f"Estimate: {duration(condensing + judging)} (memories {duration(condensing)}, judging "
                  f"{duration(judging)}), from a few steps timed just now.")  # fmt: skip
    emit(console, "estimate", total_seconds=condensing + judging, condensing=condensing, judging=judging)


def _trials(study: StudyConfig) -> int:
    """Trials of a study that has only a search; else 1."""
    return 1 if study.variants else study.trials


def _factors(study: StudyConfig) -> str:
    if not study.variants:
        return f"a search of {study.trials} trials, {study.seeds} seed{'s' if study.seeds > 1 else ''}"
    parts = [f"{len(study.variants)} variant{'s' if len(study.variants) > 1 else ''}"]
    parts += [f"{len(study.sweep.values)} values of {study.sweep.key}"] if study.sweep is not None else []
    return ", ".join([*parts, f"{study.seeds} seed{'s' if study.seeds > 1 else ''}"])


def _plain(one: _Planned) -> dict[str, Any]:
    config = one.case.config
    return {
        "variant": one.case.variant,
        "x": one.case.x,
        "method": config.memory.method,
        "budget": list(config.memory.budget.pair),
        "memory_bytes": one.step.memory_bytes,
        "iterations": one.iterations,
    }


def _table(planned: Sequence[_Planned]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    swept = any(one.case.x is not None for one in planned)
    for column in ("variant", *(["at"] if swept else []), "method", "memory bytes", "iterations"):
        justify = "left" if column in ("variant", "method") else "right"
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for one in planned:
        at = [f"{one.case.x:g}" if one.case.x is not None else "-"] if swept else []
        texts = [printable(one.case.variant), *at, one.case.config.memory.method, f"{one.step.memory_bytes:,}",
                 f"{one.iterations:,}"]  # fmt: skip
        table.add_row(*map(Text, texts))
    return table
