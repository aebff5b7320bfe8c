"""``iid-cl report``: a self-contained HTML page of runs or a comparison, and figures for papers."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from iid_cl import __version__
from iid_cl.data.streams import first_arrivals
from iid_cl.errors import UserError
from iid_cl.files import check_output, write_bytes
from iid_cl.records.directory import check_directory, new_directory
from iid_cl.records.nameless import without_names
from iid_cl.report import content, overview
from iid_cl.report.collect import Collected, Source, collect
from iid_cl.report.comparison import place
from iid_cl.report.figures import save_figures
from iid_cl.report.sprites import galleries
from iid_cl.report.statistics import percent_interval
from iid_cl.terminal.screen import in_seconds

PAGE, FIGURES = "report.html", "figures"
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
        out: folder to write into; None takes the directory itself, or a free ``runs/report`` for several.

    Raises:
        UserError: a directory is unusable, see :func:`iid_cl.report.collect.collect`, or a file cannot be written.
    """
    if not directories:
        raise UserError("report: names no directory; name one that `iid-cl run` or `iid-cl compare` made.")
    if out is not None:
        check_directory(out, (PAGE, FIGURES))
    collected = collect(directories)
    folder = directories[0] if out is None and len(directories) == 1 else out
    if folder is not None:
        check_output(folder / PAGE, force=True)  # before a plane is computed
    settings = content.settings(collected)
    plane = _plane(collected)
    text = render(collected, settings, plane)
    folder = folder if folder is not None else new_directory("report")
    page = folder / PAGE
    write_bytes(page, text.encode(errors="backslashreplace"))  # a name may hold half a character, without an encoding
    save_figures(folder / FIGURES, collected, settings[_first_setting(collected)], plane)
    return page


def render(collected: Collected, settings: Sequence[content.Setting], plane: Mapping[str, Any] | None) -> str:
    """The page as text."""
    library = _text("vendor", CHART_JS).rpartition("//# sourceMappingURL")[0].strip()  # without the source map
    script = _text("templates", "report.js").strip()
    all_galleries = galleries(collected.pictured)
    losses = content.losses_of(collected, collected.pictured[0].recording if collected.pictured else None)
    data = {
        "settings": [_setting_data(collected, setting) for setting in settings],
        "losses": losses,
        "plane": plane,
        "curves": content.budget_curves(collected),
        "moments": all_galleries[0].moments if all_galleries else [],
    }
    terms = dict.fromkeys(term for part in losses for term in part["terms"])
    return template("report.html.j2").render(
        name=collected.name,
        collected=collected,
        subtitle=_subtitle(collected),
        facts=overview.facts(collected),
        beside=overview.beside(collected),
        best=overview.best,
        in_words=place,
        settings=settings,
        shown=_first_setting(collected),
        galleries=all_galleries,
        losses=losses,
        terms=[f"{term} is {TERMS[term]}" for term in terms if term in TERMS],
        many=any(len(method.row.seeds) > 1 for setting in settings for method in setting.series),
        plane=plane,
        curves=data["curves"],
        data=data,
        sources=[_origin(source) for source in collected.sources],
        library=library,
        script=script,
        policy=" ".join(f"'sha256-{_digest(code)}'" for code in (library, script)),
        licence=_text("vendor", "chart-LICENSE.md"),
    )


def template(name: str) -> Template:
    """A page's template, with the version and the style sheet that all pages share."""
    environment = Environment(
        loader=PackageLoader("iid_cl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"version": __version__, "css": _text("templates", "report.css")}
    environment.filters |= {"seconds": in_seconds, "interval": percent_interval}
    return environment.get_template(name)


def _setting_data(collected: Collected, setting: content.Setting) -> dict[str, Any]:
    """The data of a setting's charts."""
    tested = {label for method in setting.series for label in method.classes}
    classes = [label for label in first_arrivals(_order(collected)) if label in tested]
    return {
        "experiences": setting.experiences,
        "sameBytes": overview.same_bytes(setting),
        "classes": [collected.class_name(c) for c in classes],
        "series": [
            {
                "label": method.label,
                "number": method.number,
                "bound": method.row.budget is None,
                "seeds": len(method.row.seeds),
                "seen": [
                    None if values is None else [content.finite(value) for value in values] for values in method.seen
                ],
                "drops": [content.finite(value) for value in method.drops],
                "classes": [content.finite(method.classes.get(c)) for c in classes],
                "seconds": [content.finite(value) for value in method.seconds],
                "bytes": method.row.bytes[1],
            }
            for method in setting.series
        ],
    }


def _plane(collected: Collected) -> dict[str, Any] | None:
    """Points of the real and the stored images of each class."""
    recording = collected.pictured[0].recording if collected.pictured else None
    features = None if recording is None else next(iter(recording.features.values()), None)
    if features is None or not (points := content.plane_of(features)):
        return None
    rows = list(zip(points, features.labels.tolist(), features.stored.tolist(), strict=True))
    return {
        "classes": [
            {
                "name": collected.class_name(label),
                "real": [point for point, c, stored in rows if c == label and not stored],
                "stored": [point for point, c, stored in rows if c == label and stored],
            }
            for label in dict.fromkeys(c for _, c, _ in rows)
        ]
    }


def _order(collected: Collected) -> list[list[int]]:
    return collected.measured[0].result.class_order


def _first_setting(collected: Collected) -> int:
    """The setting that the page shows first: the setting of the pictured memory."""
    places = collected.places
    return places.index(collected.pictured[0].place) if collected.pictured and places else 0


def _subtitle(collected: Collected) -> str:
    dataset = collected.sources[0].config.stream.label
    seeds = {m.result.seed for m in collected.measured}
    groups = _order(collected)
    experiences = f"{len(groups)} experience{'s' if len(groups) > 1 else ''}"
    classes = f"{len(first_arrivals(groups))} classes"
    return f"{dataset}, {classes} in {experiences}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _origin(source: Source) -> dict[str, Any]:
    """The origin of results, as text."""
    provenance = source.provenance
    versions = provenance.get("versions")
    return {
        "directory": source.path.name,
        "config": source.config_text,
        "command": without_names(str(provenance.get("command", ""))),
        "facts": {
            "seed": str(source.config.seed),
            **({"began": moment} if (moment := overview.began(provenance)) else {}),
            **{key: str(provenance[key]) for key in ("device", "machine", "commit") if provenance.get(key)},
        },
        "versions": {str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
    }


def _text(*parts: str) -> str:
    return resources.files("iid_cl.report").joinpath(*parts).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """A script's hash in a content security policy."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
