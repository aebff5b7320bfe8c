"""What a user should know about how image files were read: transparency, further pictures, narrow ranges."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from iid_cl.data.folders import Decoded, some_names
from iid_cl.data.mapped import chunks

NARROW = 64  # grey levels, a quarter of all: 12 bits in 16 span 16 of them


def reading_remarks(root: Path, parts: Sequence[tuple[Decoded, Sequence[Path]]]) -> tuple[str, ...]:
    """Sentences about the images of a data set's parts, with their files; none where there is nothing to say.

    File names are relative to ``root``.
    """
    remarks = []
    for flag, what in (
        ("transparent", "transparent images, laid on white"),
        ("several", "files of several pictures, of which the first is read"),
    ):
        marked = [
            path for part, paths in parts for path, is_so in zip(paths, getattr(part, flag), strict=True) if is_so
        ]
        if marked:
            remarks.append(f"{what}: {some_names(root, marked)}")
    remark = _range_remark("images", [part.images for part, _ in parts])
    if not remark:  # dark ones of 16 bits may hide among others of 8
        remark = _range_remark("images of more than 8 bits", [part.images[part.deep] for part, _ in parts])
    return (*remarks, *remark)


def _range_remark(what: str, images: Sequence[Tensor]) -> tuple[str, ...]:
    low, high = 255, 0
    for chunk in (chunk for part in images if part.numel() for chunk in chunks(part)):
        low, high = min(low, int(chunk.min())), max(high, int(chunk.max()))
        if high - low >= NARROW:  # which most images are known by
            return ()
    if low > high:
        return ()  # no images
    return (
        f"the {what} use only the range from {low} to {high} of 0 to 255, which networks can hardly see; stretch their "
        "values to the full range, such as 12 bits in a file of 16",
    )
