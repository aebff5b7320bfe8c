"""Figures of many experiences and classes stay small, and are drawn in seconds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iid_cl.report import figures


def drawn(monkeypatch: pytest.MonkeyPatch, experiences: int) -> Any:
    """The figure of a matrix, unwritten."""
    caught: list[Any] = []
    monkeypatch.setattr(figures, "_save", lambda figure, *rest, **labels: caught.append(figure))
    matrix = [[50.0] * experiences for _ in range(experiences)]
    figures._matrix(Path(), SimpleNamespace(matrix=matrix))
    return caught[0]


def test_a_small_matrix_has_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(monkeypatch, 20)
    assert len(figure.axes[0].texts) == 400
    assert list(figure.get_size_inches()) == pytest.approx([1.4 + 0.55 * 20, 1.2 + 0.45 * 20])
    assert len(figure.axes[0].get_xticks()) == 20


def test_a_large_matrix_has_colours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 experiences 10,000 numbers took minutes."""
    figure = drawn(monkeypatch, 100)
    assert len(figure.axes[0].texts) == 0
    assert list(figure.get_size_inches()) == pytest.approx([1.4 + 0.55 * 20, 1.2 + 0.45 * 20])
    assert list(figure.axes[0].get_xticks()) == list(range(0, 100, 5))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [str(t) for t in range(1, 100, 5)]
    assert len(figure.axes) == 2  # with the scale of the colours


@pytest.mark.parametrize(("count", "ticks"), [(1, [0]), (20, list(range(20))), (21, list(range(0, 21, 2)))])
def test_some_ticks_are_evenly_spread(count: int, ticks: list[int]) -> None:
    assert list(figures._some(range(count))) == ticks
