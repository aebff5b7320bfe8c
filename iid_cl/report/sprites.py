"""A memory's pictures inside a page: one sheet of images per class, small enough in sum."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from iid_cl.records.recording import RecordedDistillation
from iid_cl.report.collect import Pictured

ROOM = 3_600_000  # characters of all sheets: a page of them stays below 5 MB
SHOWN = 10  # images of a class
WAYS: tuple[tuple[str, dict[str, int]], ...] = (
    ("PNG", {}),
    ("WEBP", {"quality": 85}),
    ("WEBP", {"quality": 60}),
)  # best first
SAMPLE = 8  # one in so many sheets tells whether all may fit


@dataclass(frozen=True)
class Sheet:
    """Images of a class: a column each, and a row per moment, the real ones first.

    Attributes:
        url: a data URL.
        experience: in which the class was distilled; -1 where that was not recorded.
        history: False for images as stored, in one row.
    """

    number: int
    label: int
    url: str
    columns: int
    rows: int
    experience: int
    history: bool


@dataclass(frozen=True)
class Gallery:
    """A memory's sheets.

    Attributes:
        moments: iterations that the rows of sheets with a history stand for, the same for all galleries.
        side: pixels of an image's height.
        shown: images of a class at most.
    """

    label: str
    moments: list[int]
    sheets: list[Sheet]
    side: int
    shown: int


@dataclass(frozen=True)
class _Plan:
    label: int
    experience: int
    rows: list[Tensor]  # uint8 (n, C, H, W) each
    history: bool


def galleries(pictured: Sequence[Pictured], room: int = ROOM) -> list[Gallery]:
    """A gallery of each memory; where they need too much room, pictures are compressed, then fewer are shown."""
    latest = [_latest(one) for one in pictured]
    moments = sorted({moment for each in latest for one in each.values() for moment in one.images})
    plans = [_plans(one, each, moments) for one, each in zip(pictured, latest, strict=True)]
    for shown in (SHOWN, 7, 5, 4, 3, 2, 1):
        for kind, options in WAYS:
            some = [plan for each in plans for plan in each[:: min(SAMPLE, len(each))]]
            share = sum(map(len, plans)) / max(1, len(some))
            if share * sum(len(_sheet(0, plan, shown, kind, options).url) for plan in some) > 1.1 * room:
                continue
            made = [[_sheet(i, plan, shown, kind, options) for i, plan in enumerate(each)] for each in plans]
            if sum(len(sheet.url) for sheets in made for sheet in sheets) <= room:
                return [
                    Gallery(one.label, moments, sheets, plan[0].rows[0].shape[2], shown)
                    for one, plan, sheets in zip(pictured, plans, made, strict=True)
                ]
    return []  # thousands of classes


def _latest(one: Pictured) -> dict[int, RecordedDistillation]:
    """The last distillation of each class, for one that comes back has several."""
    kept = [] if one.recording is None else one.recording.kept
    return {label: distillation for distillation in kept for label in distillation.classes}


def _plans(one: Pictured, latest: Mapping[int, RecordedDistillation], moments: Sequence[int]) -> list[_Plan]:
    """What each sheet holds: the distilled images, and what is stored beside them."""
    by_class = one.memory.by_class()
    experiences = {label: latest[label].experience if label in latest else -1 for label in by_class}
    plans = []
    for label in sorted(by_class, key=lambda c: (experiences[c], c)):
        stored = by_class[label][:SHOWN]
        if label in latest:
            images = latest[label].images
            rows = [images[max(m for m in images if m <= moment)][label] for moment in moments]
            plans.append(_Plan(label, experiences[label], rows, True))
            known = {image.numpy().tobytes() for image in rows[-1].contiguous()}
            rest = [image for image in stored if image.contiguous().numpy().tobytes() not in known]
            stored = torch.stack(rest) if rest and len(known) < SHOWN else stored[:0]
        if len(stored):
            plans.append(_Plan(label, experiences[label], [stored], False))
    return plans


def _sheet(number: int, plan: _Plan, shown: int, kind: str, options: Mapping[str, object]) -> Sheet:
    rows = [row[:shown] for row in plan.rows]
    strips = [row.permute(2, 0, 3, 1).flatten(1, 2) for row in rows]  # (H, n * W, C)
    pixels = torch.cat(strips).contiguous().numpy()
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3])
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    url = f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Sheet(number, plan.label, url, len(rows[0]), len(rows), plan.experience, plan.history)
