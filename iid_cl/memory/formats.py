"""From settings to the way in which a memory stores images."""

from typing import Literal

from iid_cl.errors import UserError
from iid_cl.memory.dct_storage import Dct
from iid_cl.memory.storage import Jpeg, Storage, Whole

DctStep = float | Literal["auto"]


def storage_of(factor: int = 1, jpeg: int | None = None, dct: DctStep | None = None) -> Storage:
    """How images are stored: whole, at 1 / factor of their side, as JPEG of a quality, or as cosine coefficients.

    Coefficients are in steps of ``dct`` grey levels, or of the step that suits them, ``auto``.

    Raises:
        UserError: several of them, or one out of range.
    """
    if (factor > 1) + (jpeg is not None) + (dct is not None) > 1:
        raise UserError("memory: downscale (or distill.partition), jpeg and dct exclude each other; keep one of them.")
    if dct is not None:
        return Dct(None if dct == "auto" else dct)
    return Whole(factor) if jpeg is None else Jpeg(jpeg)
