"""A memory's pictures inside the page: sheets of images within a size limit."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from iid_cl.records.recording import RecordedDistillation
from iid_cl.report.collect import Pictured

ROOM = 3_600_000  # characters of all sheets, so that the page stays below 5 MB
SHOWN = 10  # images of a class
WAYS: tuple[tuple[str, dict[str, int]], ...] = (("PNG", {}), ("WEBP", {"quality": 85}), ("WEBP", {"quality": 60}))
SAMPLE = 8  # every eighth sheet is drawn to estimate the size of all


@dataclass(frozen=True)
class Sheet:
    """Images of a class, a column per image. With a history, a row per moment, from the real images to the stored ones.

    Attributes:
        url: a data URL.
        experience: experience in which the class was distilled; -1 if that was not recorded.
        history: False for one row of stored images.
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
        moments: iterations of the rows of sheets with a history, the same for all galleries.
        side: height of an image in pixels.
        shown: maximum number of images per class.
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
    """A gallery of each memory. If they need too much room, pictures are compressed first, then fewer are shown."""
    latest = [_latest(memory) for memory in pictured]
    moments = sorted({moment for by_class in latest for part in by_class.values() for moment in part.images})
    plans = [_plans(memory, by_class, moments) for memory, by_class in zip(pictured, latest, strict=True)]
    for shown in (SHOWN, 7, 5, 4, 3, 2, 1):
        for kind, options in WAYS:
            some = [plan for of_memory in plans for plan in of_memory[:: min(SAMPLE, len(of_memory))]]
            share = sum(map(len, plans)) / max(1, len(some))
            if share * sum(len(_sheet(0, plan, shown, kind, options).url) for plan in some) > 1.1 * room:
                continue
            sheets = [
                [_sheet(i, plan, shown, kind, options) for i, plan in enumerate(of_memory)] for of_memory in plans
            ]
            if sum(len(sheet.url) for of_memory in sheets for sheet in of_memory) <= room:
                return [
                    Gallery(memory.label, moments, of_memory, plan[0].rows[0].shape[2], shown)
                    for memory, plan, of_memory in zip(pictured, plans, sheets, strict=True)
                ]
    return []  # thousands of classes


def _latest(memory: Pictured) -> dict[int, RecordedDistillation]:
    """The last distillation of each class; a class that came back has several."""
    recording = memory.recording
    return {} if recording is None else {label: part for part in recording.kept for label in part.classes}


def _plans(memory: Pictured, latest: Mapping[int, RecordedDistillation], moments: Sequence[int]) -> list[_Plan]:
    """Contents of each sheet: the distilled images of a class, then its other stored images."""
    by_class = memory.memory.by_class()
    experiences = {label: latest[label].experience if label in latest else -1 for label in by_class}
    plans = []
    for label in sorted(by_class, key=lambda c: (experiences[c], c)):
        stored = by_class[label][:SHOWN]
        if label in latest:
            images = latest[label].images
            rows = [images[max(m for m in images if m <= moment)][label] for moment in moments]
            plans.append(_Plan(label, experiences[label], rows, True))
            distilled = {image.numpy().tobytes() for image in rows[-1].contiguous()}
            rest = [image for image in stored if image.contiguous().numpy().tobytes() not in distilled]
            stored = torch.stack(rest) if rest and len(distilled) < SHOWN else stored[:0]
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
