"""The top of a report: when, how long and with which settings; several runs or settings beside each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iid_cl.config.experiment import Config
from iid_cl.config.methods import METHODS
from iid_cl.errors import printable
from iid_cl.records.result import Result
from iid_cl.report.collect import Collected, Source
from iid_cl.report.comparison import place
from iid_cl.report.content import Setting, in_bytes
from iid_cl.report.statistics import interval, paired_difference, percent_interval
from iid_cl.terminal.screen import in_seconds

NOT_SETTINGS = {"name", "seed", "baselines", "device", "compare", "checkpoint", "loggers"}
DIFFERS = "differs, see below"


@dataclass(frozen=True)
class Beside:
    """A table with a column for each run: result rows, then the keys in which the runs differ."""

    names: list[str]
    results: dict[str, list[str]]
    keys: dict[str, list[str]]


def facts(collected: Collected) -> dict[str, str]:
    """Date, duration and key settings, by name."""
    told: dict[str, str] = {}
    starts = sorted(filter(None, (began(source.provenance) for source in collected.sources)))
    if starts:
        told["began" if len(starts) == 1 else "first began"] = starts[0]
    told["took"] = in_seconds(sum(measured.result.total_seconds for measured in collected.measured))
    each = [_settings(source.config, collected) for source in collected.sources]
    for key in dict.fromkeys(key for one in each for key in one):
        values = {one.get(key, "") for one in each}
        told[key] = values.pop() if len(values) == 1 else DIFFERS
    devices = {str(source.provenance.get("device")) for source in collected.sources} - {"None"}
    if len(devices) == 1:
        told["device"] = printable(devices.pop())
    return told


def began(provenance: Mapping[str, Any]) -> str:
    """When a run began, or an empty text where it does not say."""
    started = provenance.get("started")
    return printable(started.replace("T", " ").split("+")[0] + " UTC") if isinstance(started, str) else ""


def _settings(config: Config, collected: Collected) -> dict[str, str]:
    told = {}
    if len(collected.places) == 1:
        told["memory"] = place(*collected.places[0])
    if any(METHODS[m.result.method].distils for m in collected.measured if m.result.method in METHODS):
        steps = config.distill.iterations
        length = "iterations: auto" if steps == "auto" else f"{steps} iterations"
        told["distillation"] = f"{config.distill.objective}, {length}"
    told["network"] = config.model.label
    told["training"] = f"{config.train.epochs} epochs per experience, batch {config.train.batch_size}"
    return told


def beside(collected: Collected) -> Beside | None:
    """Runs that differ in more than their seed, with the first as the reference; None for fewer than two."""
    if len(collected.groups) < 2:
        return None
    names = [members[0].path.name for members in collected.groups]
    finals = [_of(collected, name, members[0]) for name, members in zip(names, collected.groups, strict=True)]
    first = {result.seed: result.final_accuracy for result in finals[0]}
    rows: dict[str, list[str]] = {"final accuracy, %": [], f"minus {names[0]}, points": [], "seeds": []}
    rows |= {"forgetting, points": [], "memory": [], "took": []}
    for results in finals:
        mine = {result.seed: result.final_accuracy for result in results}
        forgetting = [100 * r.forgetting for r in results if r.forgetting is not None]
        sizes = [result.memory_bytes for result in results]
        cells = (
            percent_interval(interval([*mine.values()])),
            percent_interval(paired_difference(mine, first), signed=True),
            str(len(mine)),
            f"{sum(forgetting) / len(forgetting):.1f}" if forgetting else "-",
            in_bytes(min(sizes), max(sizes)) if max(sizes) else "-",
            in_seconds(sum(result.total_seconds for result in results) / len(results)),
        )
        for row, cell in zip(rows.values(), cells, strict=True):
            row.append(cell)
    rows[f"minus {names[0]}, points"][0] = "-"
    return Beside(names, rows, different_keys([members[0].config for members in collected.groups]))


def _of(collected: Collected, name: str, source: Source) -> list[Result]:
    """Results of a run's own method."""
    label = f"{name}: {source.config.memory.method}"
    return [m.result for m in collected.measured if m.label == label] or [
        m.result for m in collected.measured if m.label.startswith(f"{name}: ")
    ]


def different_keys(configs: Sequence[Config]) -> dict[str, list[str]]:
    """Dotted keys whose values differ, with the values.

    >>> from iid_cl.config.experiment import Config, MemoryConfig
    >>> different_keys([Config(), Config(memory=MemoryConfig(ipc=5), seed=1)])
    {'memory.ipc': ['-', '5']}
    """
    flat = [dict(_leaves(config.model_dump(mode="json", exclude=NOT_SETTINGS))) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    return {
        key: [_text(one.get(key)) for one in flat]
        for key in keys
        if any(one.get(key) != flat[0].get(key) for one in flat)
    }


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in values.items():
        leaves += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return leaves


def _text(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else printable(str(value))


def best(setting: Setting) -> str:
    """Label of the memory with the highest final accuracy at a setting."""
    memories = [method for method in setting.series if method.row.budget is not None] or setting.series
    return max(memories, key=lambda method: method.row.final[0]).label


def same_bytes(setting: Setting) -> str | None:
    """The bytes of every memory if all take about the same, which needs no chart."""
    sizes = [size for method in setting.series if method.row.budget is not None for size in method.row.bytes]
    if not sizes:
        return "No method keeps a memory."
    if min(sizes) < 0.95 * max(sizes):
        return None
    return f"Every memory takes {in_bytes(min(sizes), max(sizes))}."
