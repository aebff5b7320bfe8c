"""The results of a comparison: ``results.json``, ``results.csv``, a table, a figure and remarks."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import torch
from rich.console import Console

from iid_cl.compare.cell_files import result_of
from iid_cl.config.experiment import Config
from iid_cl.config.grid import Cell
from iid_cl.data.images import ImageDataset
from iid_cl.files import write_bytes
from iid_cl.records.directory import RunDirectory
from iid_cl.records.provenance import provenance
from iid_cl.records.result import Result
from iid_cl.report.comparison import (
    Measured,
    Row,
    comparison_table,
    place,
    summarise,
    unequal_bytes,
    unequal_updates,
)
from iid_cl.report.comparison_figure import save_comparison_figure

NESTED = {"mode", "seed", "class_order", "matrix", "class_accuracies", "network_matrices", "test_sizes"}


@dataclass(frozen=True)
class Summary:
    """All finished cells, and their summary.

    Attributes:
        config: the base configuration.
        baseline: the method that the rest is compared with.
        cells: finished cells and their records, see :func:`iid_cl.compare.cell_files.read_cell`.
        rows: a row per method, mode and budget.
        flagged: rows with unequal bytes, and the reasons.
    """

    config: Config
    baseline: str | None
    cells: list[tuple[Cell, dict[str, Any]]]
    rows: list[Row]
    flagged: dict[Row, str]


def summary_of(
    config: Config, baseline: str | None, cells: list[tuple[Cell, dict[str, Any]]], dataset: ImageDataset, classes: int
) -> Summary:
    """Summarises finished cells of a stream with ``classes`` classes."""
    rows = summarise(
        [Measured(cell.label, cell.mode, cell.budget, result_of(record)) for cell, record in cells], baseline
    )
    flagged = unequal_bytes(rows, lambda budget: budget.allowed(classes, prod(dataset.shape)))
    return Summary(config, baseline, cells, rows, flagged)


def write_results(directory: RunDirectory, summary: Summary, device: torch.device) -> None:
    """Writes ``results.json`` and ``results.csv``."""
    starts = [record["started"] for _, record in summary.cells if record.get("started")]
    values = {
        **provenance(device),
        "started": min(starts, default=None),
        "compare": summary.config.compare.model_dump(mode="json"),
        "baseline": summary.baseline,
        "cells": [record for _, record in summary.cells],
        "summary": [row.plain() for row in summary.rows],
    }
    directory.write_summary("results.json", values)
    measured = [field.name for field in fields(Result) if field.name not in NESTED]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["label", "mode", "budget_kind", "budget", "seed", *measured, "seconds", "host"])
    for cell, record in summary.cells:
        kind, value = cell.budget.pair if cell.budget is not None else ("", "")
        result = [record["result"][name] for name in measured]
        writer.writerow(
            [cell.label, cell.mode or "", kind, value, cell.seed, *result, record["seconds"], record["host"]]
        )
    write_bytes(directory.path / "results.csv", text.getvalue().encode())


def show_results(directory: RunDirectory, summary: Summary, console: Console) -> None:
    """Draws ``comparison.png`` and prints the table on the terminal and in the log, if there are cells."""
    if not summary.rows:
        return
    seeds = summary.config.compare.seeds
    title = f"{summary.config.name}: {seeds} seed{'s' if seeds > 1 else ''}, mean ± 95 % confidence interval"
    save_comparison_figure(directory.path / "comparison.png", summary.rows, title)
    parts = summary.rows, summary.baseline, summary.flagged, title
    console.print(comparison_table(*parts, width=console.width))
    Console(file=directory.log, width=160, color_system=None).print(comparison_table(*parts))


def remarks(summary: Summary, failed: Mapping[str, str]) -> list[str]:
    """A line for each unequal comparison, one on the versions that the cells ran on, and one for each that failed."""
    unequal = [
        f"* not equal bytes ({place(row.mode, row.budget)}): {row.label} {why}" for row, why in summary.flagged.items()
    ]
    return [*unequal, *unequal_updates(summary.rows), *_versions(summary), *_failures(failed)]


def _versions(summary: Summary) -> list[str]:
    counts = Counter(_version_text(record.get("versions")) for _, record in summary.cells)
    if len(counts) > 1:
        each = "; ".join(f"{text} ({count} cell{'s' if count > 1 else ''})" for text, count in counts.most_common())
        return [f"note: the cells ran on different versions: {each}"]
    return [f"measured with {text}" for text in counts]


def _version_text(versions: Any) -> str:
    if not isinstance(versions, Mapping) or not versions:
        return "unknown versions"
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _failures(failed: Mapping[str, str]) -> list[str]:
    if not failed:
        return []
    count = f"{len(failed)} cell{'s' if len(failed) > 1 else ''}"
    lines = [f"{name} failed: {error}" for name, error in failed.items()]
    return [*lines, f"{count} failed; the same command with this --out runs them again."]
