"""``iid-cl report``: one self-contained HTML page of runs or a comparison, and its figures for papers."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from iid_cl import __version__
from iid_cl.errors import UserError
from iid_cl.files import write_bytes
from iid_cl.records.directory import free_directory
from iid_cl.report.collect import Collected, Source, collect
from iid_cl.report.content import (
    Setting,
    budget_curves,
    finite,
    in_bytes,
    in_seconds,
    listed,
    losses_of,
    plane_of,
    settings,
)
from iid_cl.report.figures import save_figures
from iid_cl.report.sprites import galleries
from iid_cl.report.statistics import percent_interval

PAGE = "report.html"
TERMS = {
    "match": "the matching of features",
    "cc": "class centralization",
    "cm": "covariance matching",
    "ce": "the cross-entropy of the queue's networks",
}
CHART_JS = "chart-4.6.1.umd.min.js"


def report(directories: Sequence[Path], out: Path | None = None) -> Path:
    """Writes ``report.html`` and ``figures/``; returns the page's path.

    Args:
        directories: runs, or one comparison.
        out: folder to write into; None takes the directory itself, and of several a free ``runs/report``.

    Raises:
        UserError: a directory is unusable, see :func:`iid_cl.report.collect.collect`, or a file cannot be written.
    """
    if not directories:
        raise UserError("report: names no directory; name one that `iid-cl run` or `iid-cl compare` made.")
    collected = collect(directories)
    if out is None:
        out = directories[0] if len(directories) == 1 else free_directory("report")
    page = out / PAGE
    found = settings(collected)
    plane = _plane(collected)
    # foreign names may hold halves of letters, which have no encoding
    write_bytes(page, render(collected, found, plane).encode(errors="backslashreplace"))
    save_figures(out / "figures", collected, found[_shown(collected)], plane)
    return page


def render(collected: Collected, found: Sequence[Setting], plane: Mapping[str, Any] | None) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("iid_cl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": in_bytes, "seconds": in_seconds, "interval": percent_interval, "listed": listed}
    recording = collected.pictured[0].recording if collected.pictured else None
    losses = losses_of(collected, recording)
    memories = galleries(collected.pictured)
    data = {
        "settings": [_setting_data(collected, setting) for setting in found],
        "losses": losses,
        "plane": plane,
        "curves": budget_curves(collected),
        "moments": memories[0].moments if memories else [],
    }
    return environment.get_template("report.html.j2").render(
        name=collected.name,
        version=__version__,
        collected=collected,
        subtitle=_subtitle(collected),
        settings=found,
        shown=_shown(collected),
        galleries=memories,
        losses=losses,
        terms=_terms(losses),
        many=any(len(one.row.seeds) > 1 for setting in found for one in setting.series),
        plane=plane,
        curves=data["curves"],
        data=data,
        sources=[_told(source) for source in collected.sources],
        **_files(),
    )


def _terms(losses: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the terms of the losses are, a clause each."""
    terms = dict.fromkeys(term for one in losses for term in one["terms"])
    return [f"{term} is {TERMS[term]}" for term in terms if term in TERMS]


def _files() -> dict[str, str]:
    """What the page carries inside itself: style, scripts with the policy that lets them run, and a licence."""
    folder = resources.files("iid_cl.report")
    library = _text(folder, "vendor", CHART_JS).rpartition("//# sourceMappingURL")[0].strip()  # its map is not here
    script = _text(folder, "templates", "report.js").strip()
    return {
        "css": _text(folder, "templates", "report.css"),
        "library": library,
        "script": script,
        "policy": " ".join(f"'sha256-{_digest(each)}'" for each in (library, script)),
        "licence": _text(folder, "vendor", "chart-LICENSE.md"),
    }


def _setting_data(collected: Collected, setting: Setting) -> dict[str, Any]:
    """What the charts show."""
    order = [c for group in _order(collected) for c in group]
    tested = {label for one in setting.series for label in one.classes}
    classes = [c for c in order if c in tested]
    return {
        "experiences": setting.experiences,
        "classes": [collected.class_name(c) for c in classes],
        "series": [
            {
                "label": one.label,
                "number": one.number,
                "bound": one.row.budget is None,
                "seeds": len(one.row.seeds),
                "seen": [None if each is None else [finite(value) for value in each] for each in one.seen],
                "drops": [finite(value) for value in one.drops],
                "classes": [finite(one.classes.get(c)) for c in classes],
                "seconds": [finite(value) for value in one.seconds],
                "bytes": one.row.bytes[1],
            }
            for one in setting.series
        ],
    }


def _plane(collected: Collected) -> dict[str, Any] | None:
    """Real and stored images of each class in the plane."""
    recording = collected.pictured[0].recording if collected.pictured else None
    features = None if recording is None else next(iter(recording.features.values()), None)
    if features is None or not (points := plane_of(features)):
        return None
    labels, stored = features.labels.tolist(), features.stored.tolist()
    return {
        "classes": [
            {
                "name": collected.class_name(label),
                "real": [p for p, c, s in zip(points, labels, stored, strict=True) if c == label and not s],
                "stored": [p for p, c, s in zip(points, labels, stored, strict=True) if c == label and s],
            }
            for label in dict.fromkeys(labels)
        ]
    }


def _order(collected: Collected) -> list[list[int]]:
    return collected.measured[0].result.class_order


def _shown(collected: Collected) -> int:
    """The setting shown at first: that of the memory pictured."""
    places = collected.places
    return places.index(collected.pictured[0].place) if collected.pictured and places else 0


def _subtitle(collected: Collected) -> str:
    config = collected.sources[0].config
    seeds = {m.result.seed for m in collected.measured}
    groups = _order(collected)
    experiences = f"{len(groups)} experience{'s' if len(groups) > 1 else ''}"
    classes = f"{sum(map(len, groups))} classes"
    return f"{config.stream.dataset}, {classes} in {experiences}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _told(source: Source) -> dict[str, Any]:
    """Where results come from, as text."""
    told = source.provenance
    versions = told.get("versions")
    return {
        "directory": source.path.name,
        "config": source.config_text,
        "command": str(told.get("command", "")),
        "facts": {
            "seed": str(source.config.seed),
            **{key: str(told[key]) for key in ("device", "machine", "commit") if told.get(key)},
        },
        "versions": {str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
    }


def _text(folder: Any, *parts: str) -> str:
    return str(folder.joinpath(*parts).read_text(encoding="utf-8"))


def _digest(script: str) -> str:
    """As a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
