"""Distilled sets in the files of the field: those of DC, DSA, DM, IDM, MTT and NCFM are read, DM's layout is written.

| from | file | holds |
|---|---|---|
| DC, DSA, DM, IDM | ``res_*.pt`` | ``{"data": [[images, labels], ...]}``, an entry for each of several sets |
| MTT | ``images_*.pt`` beside ``labels_*.pt`` | a tensor each |
| NCFM | ``*.pt`` | ``[images, labels]`` |

Images are floats (N, C, H, W): pixels from 0 to 1, or normalised by their data set's mean and standard deviation.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iid_cl.data.images import Normalization
from iid_cl.errors import UserError, shown
from iid_cl.files import check_output, read_pt, write_bytes
from iid_cl.memory.exemplars import ExemplarSet
from iid_cl.memory.files import load_memory

LAYOUTS = "[images, labels], {'data': [[images, labels], ...]}, or images_*.pt beside labels_*.pt"


def read_published(path: Path, number: int = 0) -> tuple[Tensor, Tensor]:
    """The images (N, C, H, W) and labels (N,) of a published set, as they are in the file.

    Args:
        path: the file.
        number: which of several sets.

    Raises:
        UserError: there is no such file, or it holds something else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "data.pt")
    ...     torch.save([torch.zeros(2, 3, 8, 8), torch.tensor([0, 1])], file)
    ...     images, labels = read_published(file)
    >>> images.shape, labels.tolist()
    (torch.Size([2, 3, 8, 8]), [0, 1])
    """
    content = _read(path)
    if isinstance(content, Mapping) and isinstance(content.get("data"), list | tuple) and content["data"]:
        sets = content["data"]
        if not 0 <= number < len(sets):
            raise UserError(f"{path}: holds {len(sets)} sets, so there is no number {number}; count from 0.")
        content = sets[number]
    elif number:
        raise UserError(f"{path}: holds one set, so there is no number {number}; leave it out.")
    if isinstance(content, Tensor):
        beside = path.with_name(path.name.replace("images", "labels").replace("_zca", ""))
        if beside == path or not beside.is_file():
            raise UserError(f"{path}: holds images alone; their labels belong beside them, as labels_*.pt.")
        content = [content, _read(beside)]
    if not isinstance(content, list | tuple) or len(content) < 2:
        raise UserError(f"{path}: holds no distilled set of a known layout; save it as {LAYOUTS}.")
    return _checked(path, content[0], content[1])


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a distilled set.")
    try:
        return read_pt(path)
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path}: holds no distilled set that can be read safely ({error}); save its tensors again by torch.save."
        ) from None


def _checked(path: Path, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        raise UserError(f"{path}: its images are {_kind(images)}; they must be a tensor (N, C, H, W).")
    if not isinstance(labels, Tensor) or labels.shape != images.shape[:1]:
        raise UserError(f"{path}: its labels are {_kind(labels)}; they must be class indices ({len(images)},).")
    labels = labels.detach()
    if bool((labels != labels.long()).any()) or int(labels.min()) < 0 or int(labels.max()) >= 2**15:
        raise UserError(f"{path}: its labels are no class indices from 0 to 32767.")
    images = images.detach()
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise UserError(f"{path}: its images hold NaN or infinite numbers.")
    return images, labels.long()


def _kind(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else shown(type(value).__name__)


def to_memory(
    images: Tensor,
    labels: Tensor,
    normalization: Normalization,
    partition: int = 1,
    metadata: Mapping[str, Any] | None = None,
) -> ExemplarSet:
    """A published set as a memory of uint8 images.

    Args:
        images: (N, C, H, W), uint8, floats from 0 to 1, or normalised floats.
        labels: (N,) class indices.
        normalization: of the data set; undone where some float lies outside 0 to 1.
        partition: images along each side of a stored image (IDM and NCFM: 2).
        metadata: joins the memory's own, which say what share of the values were clipped to what a pixel can show.

    Raises:
        UserError: the normalisation or the partition does not fit the images.

    >>> grey = Normalization((0.5,), (0.25,))
    >>> memory = to_memory(torch.tensor([[[[-2.0, 4.0]]]]), torch.tensor([3]), grey)
    >>> memory.images.flatten().tolist(), memory.metadata["clipped"]  # 0 is black, 1.5 is clipped to white
    ([0, 255], 0.5)
    """
    clipped = 0.0
    if images.dtype != torch.uint8:
        pixels = images.to(torch.float32)
        if float(pixels.min()) < 0 or float(pixels.max()) > 1:
            channels = images.shape[1]
            if len(normalization.mean) not in (1, channels):
                raise UserError(
                    f"images of {channels} channels do not fit a mean of {len(normalization.mean)} numbers."
                )
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (normalization.mean, normalization.std))
            pixels = pixels * std + mean
        clipped = float(((pixels < -1e-3) | (pixels > 1 + 1e-3)).float().mean())
        images = (255 * pixels).round().clamp(0, 255).to(torch.uint8)
    by_class = {int(label): images[labels == label] for label in labels.unique()}
    try:
        return ExemplarSet.from_classes(by_class, {**(metadata or {}), "clipped": round(clipped, 4)}, partition)
    except ValueError as error:
        raise UserError(f"partition: {error}; use a factor of both sides.") from None


def export_pt(path: Path, file: Path) -> int:
    """Writes a memory's decoded images in DM's layout, normalised by its data set's mean and standard deviation.

    Raises:
        UserError: the memory does not say how its data set is normalised, or the file exists or cannot be written.

    >>> import tempfile
    >>> from iid_cl.memory.files import save_memory
    >>> memory = ExemplarSet.from_classes({0: torch.zeros(2, 1, 8, 8, dtype=torch.uint8)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_memory(Path(folder, "m.safetensors"), memory, {"mean": [0.5], "std": [0.25]})
    ...     count = export_pt(Path(folder, "m.safetensors"), Path(folder, "m.pt"))
    ...     float(read_published(Path(folder, "m.pt"))[0].max())  # black, normalised
    -2.0
    """
    check_output(file)
    memory = load_memory(path)
    try:
        mean, std = (tuple(map(float, memory.metadata[key])) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path}: does not say how its data set is normalised, which this layout needs; export it as hf or folder."
        ) from None
    data = memory.decoded()
    images = Normalization(mean, std).apply(data.images)
    buffer = io.BytesIO()
    torch.save({"data": [[images, data.labels]], "accs_all_exps": {}}, buffer)
    write_bytes(file, buffer.getvalue())
    return len(images)
