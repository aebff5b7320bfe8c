"""The tables of studies."""

import io
import re
from typing import Any

from rich.console import Console

from iid_cl.studies.rows import Row
from iid_cl.studies.tables import study_table


def trained(
    variant: str, accuracy: float, x: float | None = None, architecture: str = "convnet", **changes: Any
) -> Row:
    values: dict[str, Any] = {
        "seed": 0,
        "network": 1,
        "images": 20,
        "bytes": 1320,
        "condense_seconds": 2.0,
        "evaluate_seconds": 4.0,
    }
    return Row(variant=variant, x=x, architecture=architecture, accuracy=accuracy, **{**values, **changes})


def cells(rows: list[Row], title: str = "title") -> list[list[str]]:
    """The cells of the heading and of each row."""
    file = io.StringIO()
    Console(file=file, width=150).print(study_table(rows, title))
    first, *lines = file.getvalue().splitlines()
    assert first.strip() == title
    found = [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip(" ─━-")]
    assert len({len(row) for row in found}) == 1
    return found


def test_a_variant_of_a_study_is_a_row() -> None:
    rows = [
        trained("DM", 0.4),
        trained("DM", 0.6, network=2),
        trained("DM + CC", 0.75, bytes=13200, condense_seconds=1.26),
    ]
    assert cells(rows) == [
        ["variant", "convnet %", "bytes", "memory s"],
        ["DM", "50.0 ± 14.1", "1,320", "2.0"],
        ["DM + CC", "75.0", "13,200", "1.3"],
    ]


def test_seeds_and_networks_of_a_variant_are_taken_together() -> None:
    rows = [
        trained("DM", accuracy, seed=seed, network=network, condense_seconds=3.0 * (seed + 1))
        for seed, network, accuracy in ((0, 1, 0.1), (0, 2, 0.2), (1, 1, 0.3), (1, 2, 0.4))
    ]
    # deviations of 15, 5, 5 and 15 over three degrees of freedom
    assert cells(rows)[1:] == [["DM", "25.0 ± 12.9", "1,320", "4.5"]]


def test_further_architectures_show_their_drop() -> None:
    rows = [
        *(trained("A", accuracy) for accuracy in (0.5, 0.7)),
        *(trained("A", accuracy, architecture="mlp") for accuracy in (0.4, 0.5)),
        trained("A", 0.62, architecture="vgg11"),
        trained("B", 0.3),
        trained("B", 0.3, architecture="mlp"),
        trained("B", 0.258, architecture="vgg11"),
    ]
    assert cells(rows) == [
        ["variant", "convnet %", "mlp %", "vgg11 %", "bytes", "memory s"],
        ["A", "60.0 ± 14.1", "45.0 ± 7.1 (-15.0)", "62.0 (+2.0)", "1,320", "2.0"],
        ["B", "30.0", "30.0 (+0.0)", "25.8 (-4.2)", "1,320", "2.0"],
    ]


def test_each_swept_value_has_a_row_in_the_order_of_the_rows() -> None:
    rows = [
        trained(variant, accuracy, x=x)
        for variant, x, accuracy in (("B", 50, 0.5), ("B", 0.001, 0.4), ("A", 50, 0.3), ("A", 0.001, 0.2))
    ]
    assert cells(rows) == [
        ["variant", "at", "convnet %", "bytes", "memory s"],
        ["B", "50", "50.0", "1,320", "2.0"],
        ["B", "0.001", "40.0", "1,320", "2.0"],
        ["A", "50", "30.0", "1,320", "2.0"],
        ["A", "0.001", "20.0", "1,320", "2.0"],
    ]


def test_names_are_printed_as_they_are() -> None:
    rows = [trained("[bold]DM[/red] $\\x$", 0.5)]
    assert cells(rows, "[red]a[/b] title")[1][0] == "[bold]DM[/red] $\\x$"
