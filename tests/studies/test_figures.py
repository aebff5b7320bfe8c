"""Figures of studies: what they show, counted by hand, and names of any kind."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from iid_cl.errors import UserError
from iid_cl.studies.figures import COLOURS, save_accuracy_figure, save_scatter_figure
from iid_cl.studies.rows import Point, Row
from tests.studies.helpers import drawn, pixels, shows

ODD = ["$x$", "5 $ or 6 $", "<b>&", "[red]a[/b]", "a_b^c", "ü β", "x\\y{", "%d %s"]

SPREAD = 200**0.5  # the sample deviation of two values 20 apart: 10^2 twice, over one degree of freedom


def row(variant: str, accuracy: float, x: float | None = None, architecture: str = "convnet", seed: int = 0) -> Row:
    return Row(variant, x, seed, architecture, 1, accuracy, 10, 660, 1.0, 1.0)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def record(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures


def marks(figure: Figure) -> list[tuple[float, float]]:
    """Where the marks are, architecture by architecture."""
    lines = [container.lines[0] for container in figure.axes[0].containers]
    assert all(line.get_marker() == "o" and line.get_linestyle() == "None" for line in lines)
    return [(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def heights(figure: Figure) -> list[float]:
    return [y for _, y in marks(figure)]


def interval_ends(figure: Figure) -> list[tuple[float, float]]:
    """Where the interval of each mark begins and ends."""
    (segments,) = [c.get_segments() for c in figure.axes[0].collections]
    return [(float(line[0][1]), float(line[1][1])) for line in segments]


def test_marks_are_means_with_their_deviation(tmp_path: Path, saved: list[Figure]) -> None:
    rows = [row("A", 0.4), row("B", 0.9), row("A", 0.6, seed=1), row("B", 0.9, seed=1)]
    save_accuracy_figure(tmp_path / "f.png", rows, "Title", None)
    (figure,) = saved
    assert heights(figure) == pytest.approx([50, 90])
    assert [end for ends in interval_ends(figure) for end in ends] == pytest.approx([50 - SPREAD, 50 + SPREAD, 90, 90])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["A", "B"]
    assert [text.get_text() for text in axes.texts] == ["50.0", "90.0"]
    assert axes.get_title(loc="left") == "Title"
    assert "%" in axes.get_ylabel()
    assert axes.get_legend() is None
    assert shows(drawn(tmp_path / "f.png"), COLOURS[0])


def test_marks_of_several_architectures_stand_side_by_side(tmp_path: Path, saved: list[Figure]) -> None:
    found_by_hand = {("A", "convnet"): 0.5, ("A", "mlp"): 0.2, ("B", "convnet"): 0.6, ("B", "mlp"): 0.0}
    rows = [row(variant, accuracy, architecture=name) for (variant, name), accuracy in found_by_hand.items()]
    save_accuracy_figure(tmp_path / "f.png", rows, "Title", None)
    axes = saved[0].axes[0]
    assert heights(saved[0]) == pytest.approx([50, 60, 20, 0])
    places = [x for x, _ in marks(saved[0])]
    assert places[0] < places[2] < places[1] < places[3]
    assert [text.get_text() for text in axes.texts] == ["50.0", "60.0", "20.0", "0.0"]
    assert [text.xy for text in axes.texts] == marks(saved[0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["convnet", "mlp"]
    found = drawn(tmp_path / "f.png")
    assert shows(found, COLOURS[0])
    assert shows(found, COLOURS[1])


def test_every_mark_and_interval_is_within_the_axes(tmp_path: Path, saved: list[Figure]) -> None:
    rows = [row(name, value, seed=seed) for name, pair in (("A", (0.9, 1.0)), ("B", (0.0, 0.1)), ("C", (0.5, 0.5)))
            for seed, value in enumerate(pair)]  # fmt: skip
    save_accuracy_figure(tmp_path / "f.png", rows, "Title", None)
    axes = saved[0].axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert all(left < x < right for x, _ in marks(saved[0]))
    assert all(bottom < low <= high < top for low, high in interval_ends(saved[0]))


def test_lines_run_along_the_axis(tmp_path: Path, saved: list[Figure]) -> None:
    rows = [
        *(row("A", accuracy, x=x) for x, accuracy in ((10, 0.7), (1, 0.1), (1, 0.3), (5, 0.5))),
        *(row("B", accuracy, x=x) for x, accuracy in ((1, 0.25), (10, 0.75))),
    ]
    save_accuracy_figure(tmp_path / "f.png", rows, "Title", "memory.ipc")
    axes = saved[0].axes[0]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines["A"] == ([1, 5, 10], pytest.approx([20, 50, 70]))
    assert lines["B"] == ([1, 10], pytest.approx([25, 75]))
    assert [to_hex(line.get_color()).upper() for line in axes.lines] == list(COLOURS[:2])
    (band,) = axes.collections  # only A has a spread, where it is 10 and 30
    band_ends = band.get_paths()[0].vertices[:, 1]
    assert (band_ends.min(), band_ends.max()) == pytest.approx((20 - SPREAD, 70))
    assert axes.get_xlabel() == "memory.ipc"
    assert axes.get_xscale() == "linear"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["A", "B"]
    found = drawn(tmp_path / "f.png")
    assert shows(found, COLOURS[0])
    assert shows(found, COLOURS[1])


def test_lines_are_those_of_the_first_architecture(tmp_path: Path, saved: list[Figure]) -> None:
    rows = [row("A", value, x=x, architecture=name) for name, value in (("mlp", 0.2), ("vgg11", 0.9)) for x in (1, 2)]
    save_accuracy_figure(tmp_path / "f.png", rows, "Title", "distill.lr")
    (line,) = saved[0].axes[0].lines
    assert list(line.get_ydata()) == pytest.approx([20, 20])


@pytest.mark.parametrize(
    ("values", "scale"),
    [((0, 1, 19), "linear"), ((0, 1, 20), "symlog"), ((0.001, 0.1), "symlog"), ((0,), "linear"), ((5,), "linear")],
)
def test_a_wide_axis_is_logarithmic(tmp_path: Path, saved: list[Figure], values: tuple[float, ...], scale: str) -> None:
    save_accuracy_figure(tmp_path / "f.png", [row("A", 0.5, x=x) for x in values], "Title", "iterations")
    assert saved[0].axes[0].get_xscale() == scale


def test_one_seed_has_no_deviation(tmp_path: Path, saved: list[Figure]) -> None:
    save_accuracy_figure(tmp_path / "marks.png", [row("A", 0.4), row("B", 0.6)], "Title", None)
    save_accuracy_figure(tmp_path / "lines.png", [row("A", 0.4, x=1), row("A", 0.6, x=2)], "Title", "memory.ipc")
    alone, lines = saved
    assert interval_ends(alone) == [pytest.approx((40, 40)), pytest.approx((60, 60))]
    assert list(lines.axes[0].collections) == []
    for name in ("marks.png", "lines.png"):
        drawn(tmp_path / name)


@pytest.mark.parametrize("axis", [None, "memory.ipc"])
def test_many_variants_with_long_names(tmp_path: Path, saved: list[Figure], axis: str | None) -> None:
    names = [f"variant number {i} of a long name" for i in range(14)]  # more than there are colours
    rows = [row(name, 0.3 + 0.01 * i, x=None if axis is None else i % 3) for i, name in enumerate(names)]
    save_accuracy_figure(tmp_path / "f.png", rows, "A title " * 12, axis)
    found = drawn(tmp_path / "f.png")
    assert all(shows(found, colour) for colour in (COLOURS[:1] if axis is None else COLOURS))
    if axis is None:
        assert heights(saved[0]) == pytest.approx([30 + i for i in range(14)])


@pytest.mark.parametrize("axis", [None, "memory.ipc"])
@pytest.mark.parametrize("name", ODD)
def test_names_of_any_kind_are_drawn(tmp_path: Path, axis: str | None, name: str) -> None:
    rows = [row(variant, 0.5, x=None if axis is None else 1, architecture="mlp") for variant in (name, "other")]
    save_accuracy_figure(tmp_path / "f.png", rows, name, axis)
    drawn(tmp_path / "f.png")


@pytest.mark.parametrize("place", ["variant", "title"])
@pytest.mark.parametrize("axis", [None, "memory.ipc"])
def test_a_name_is_never_taken_for_mathematics(tmp_path: Path, axis: str | None, place: str) -> None:
    name = "$\\frac$"
    rows = [row(name if place == "variant" else "A", 0.5, x=None if axis is None else 1)]
    save_accuracy_figure(tmp_path / "f.png", rows, name if place == "title" else "Title", axis)
    drawn(tmp_path / "f.png")


def test_a_name_that_begins_with_an_underscore_is_in_the_legend(tmp_path: Path, saved: list[Figure]) -> None:
    rows = [row(name, 0.5, x=1) for name in ("_a", "b")]
    save_accuracy_figure(tmp_path / "f.png", rows, "Title", "memory.ipc")
    assert [text.get_text().strip() for text in saved[0].axes[0].get_legend().get_texts()] == ["_a", "b"]


def test_a_figure_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_accuracy_figure(tmp_path / name, [row("A", 0.4), row("A", 0.5)], "Title", None)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_figure_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        save_accuracy_figure(tmp_path / "file" / "f.png", [row("A", 0.4)], "Title", None)


def cloud(*variants: str, classes: int = 3, stored: bool = True) -> list[Point]:
    """Two real images of each class, and a stored one."""
    return [
        Point(variant, label, is_stored, float(10 * label + i), float(label - i))
        for variant in variants
        for label in range(classes)
        for i, is_stored in enumerate([False, False, True] if stored else [False, False])
    ]


def test_a_panel_shows_each_variants_points(tmp_path: Path, saved: list[Figure]) -> None:
    points = cloud("A", "B")
    save_scatter_figure(tmp_path / "f.png", points, ["zero", "one", "two"], "The title")
    (figure,) = saved
    assert [axes.get_title() for axes in figure.axes] == ["A", "B"]
    for axes in figure.axes:
        shown = [tuple(map(float, offset)) for group in axes.collections for offset in group.get_offsets()]
        assert sorted(shown) == sorted((p.x, p.y) for p in points if p.variant == "A")
        # real and stored images of a class have its colour, and stored ones are outlined
        colours = [to_hex(group.get_facecolor()[0]) for group in axes.collections]
        assert colours == [colour for colour in ("#1f77b4", "#ff7f0e", "#2ca02c") for _ in range(2)]
        assert [len(group.get_offsets()) for group in axes.collections] == [2, 1] * 3
        assert {to_hex(group.get_edgecolor()[0]) for group in axes.collections[1::2]} == {"#000000"}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["zero", "one", "two"]
    assert figure.get_suptitle() == "The title"
    found = drawn(tmp_path / "f.png")
    assert all(shows(found, colour) for colour in ("#1f77b4", "#ff7f0e", "#2ca02c"))


def test_panels_stand_side_by_side(tmp_path: Path) -> None:
    widths = []
    for variants in (["A"], ["A", "B"], ["A", "B", "C"]):
        save_scatter_figure(tmp_path / "f.png", cloud(*variants), ["a", "b", "c"], "Title")
        widths.append(pixels(tmp_path / "f.png").shape[1])
    assert widths[1] == 2 * widths[0]
    assert widths[2] == 3 * widths[0]


@pytest.mark.parametrize("count", [1, 10, 11, 25])
def test_any_number_of_classes(tmp_path: Path, saved: list[Figure], count: int) -> None:
    save_scatter_figure(tmp_path / "f.png", cloud("A", classes=count), [f"c{i}" for i in range(count)], "Title")
    (axes,) = saved[0].axes
    colours = [to_hex(group.get_facecolor()[0]) for group in axes.collections[1::2]]
    assert len(set(colours)) == min(count, 20)
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == [f"c{i}" for i in range(count)]


def test_classes_without_stored_images_are_named_too(tmp_path: Path, saved: list[Figure]) -> None:
    save_scatter_figure(tmp_path / "f.png", cloud("A", stored=False), ["a", "b", "c"], "Title")
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == ["a", "b", "c"]


def test_classes_of_any_name(tmp_path: Path, saved: list[Figure]) -> None:
    save_scatter_figure(tmp_path / "f.png", cloud(*ODD[:2], classes=len(ODD)), ODD, ODD[0])
    assert [text.get_text() for text in saved[0].legends[0].get_texts()] == ODD
    drawn(tmp_path / "f.png")


@pytest.mark.parametrize("place", ["class", "variant", "title"])
def test_a_class_is_never_taken_for_mathematics(tmp_path: Path, place: str) -> None:
    names = {"class": "a", "variant": "A", "title": "Title", place: "$\\frac$"}
    save_scatter_figure(tmp_path / "f.png", cloud(names["variant"], classes=1), [names["class"]], names["title"])
    drawn(tmp_path / "f.png")


def test_two_dollar_signs_are_drawn_as_they_are(tmp_path: Path, saved: list[Figure]) -> None:
    rows = [row("$x$", 0.5, x=1), row("b", 0.5, x=1)]
    save_accuracy_figure(tmp_path / "f.png", rows, "$y$", "memory.ipc")
    axes = saved[0].axes[0]
    texts = [axes.title, axes._left_title, *axes.get_legend().get_texts()]
    assert not any(text.get_parse_math() for text in texts)
    assert "$x$" in [text.get_text() for text in texts]


def test_a_class_that_begins_with_an_underscore_is_in_the_legend(tmp_path: Path, saved: list[Figure]) -> None:
    save_scatter_figure(tmp_path / "f.png", cloud("A", classes=2), ["_background", "cat"], "Title")
    assert [text.get_text().strip() for text in saved[0].legends[0].get_texts()] == ["_background", "cat"]
