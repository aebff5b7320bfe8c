"""Image folders with odd files, names, links and trees in them."""

import contextlib
import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from iid_cl.config.experiment import StreamConfig
from iid_cl.data.datasets import load_dataset
from tests.hardening.fuzzing.mutations import damaged


@cache
def _pictures() -> dict[str, bytes]:
    """Valid image files by suffix: grey, colour, palette, 16 bits, CMYK, animated."""
    pixels = torch.randint(256, (16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    colour = Image.fromarray(pixels)
    made = {}
    for suffix, mode in (
        (".png", "RGB"), (".png", "L"), (".png", "P"), (".png", "RGBA"), (".png", "1"), (".png", "I;16"),
        (".jpg", "RGB"), (".jpg", "L"), (".jpg", "CMYK"), (".bmp", "RGB"), (".gif", "P"), (".webp", "RGB"),
        (".tif", "RGB"),
        (".tif", "F"), (".ppm", "RGB"), (".pgm", "L"),
    ):  # fmt: skip
        file = io.BytesIO()
        image = colour.convert("L").convert(mode) if mode == "I;16" else colour.convert(mode)
        image.save(file, {".jpg": "JPEG", ".tif": "TIFF", ".pgm": "PPM"}.get(suffix, suffix[1:].upper()))
        made[f"{mode.replace(';', '')}{suffix}"] = file.getvalue()
    for suffix in ("gif", "webp", "png", "tiff"):
        file = io.BytesIO()
        colour.save(file, suffix.upper(), save_all=True, append_images=[colour.rotate(90)] * 3)
        made[f"moving.{suffix}"] = file.getvalue()
    file = io.BytesIO()
    colour.save(file, "EPS")
    made["program.png"] = file.getvalue()
    return made


def _huge_png(random_: random.Random) -> bytes:
    """A picture that claims far more pixels than it has bytes."""
    side = random_.choice((9000, 13000, 20000, 65535, 2**31 - 1))
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, random_.choice((1, side)), 8, random_.choice((0, 2, 6)), 0, 0, 0)
    rest = b"IDAT" + zlib.compress(b"\0" * 1000)
    parts = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, rest, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def image_folders(random_: random.Random, folder: Path) -> Callable[[], object]:
    """Two classes of images, with odd files, names, links and trees among them."""
    root = folder / "images"
    pictures = _pictures()
    plain = pictures[random_.choice(("RGB.png", "L.png", "RGB.jpg"))]
    places = [root / part / name for part in ("train", "test") for name in ("a", "b")]
    for place in places:
        place.mkdir(parents=True)
        (place / "0.png").write_bytes(plain)
    for _ in range(random_.choice((0, 1, 1, 2))):
        with contextlib.suppress(FileExistsError):  # the same one twice
            _odd(random_, random_.choice(places), folder.parent / "outside")
    size = random_.choice((None, None, 8, 1)) if random_.random() < 0.5 else random_.choice((16,) * 20 + (4096,))
    config = StreamConfig(dataset="image_folder", experiences=2, image_size=size)
    return lambda: load_dataset(config, root)


def _odd(random_: random.Random, place: Path, outside: Path) -> None:
    """One odd file, name, link or tree in a class's folder."""
    pictures = _pictures()
    name = random_.choice(list(pictures))
    kind = random_.randrange(12)
    if kind <= 3:
        (place / f"x{random_.choice((name, 'x.png', 'x.jpg', 'x.gif'))}").write_bytes(damaged(random_, pictures[name]))
    elif kind == 4:
        (place / f"1{name}").write_bytes(pictures[name])
    elif kind == 5:
        (place / "huge.png").write_bytes(_huge_png(random_))
    elif kind == 6:
        (place / "empty.png").write_bytes(random_.choice((b"", b"\0" * 1000, b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n")))
    elif kind == 7:
        target = random_.choice(
            (
                outside / "kept.txt",
                outside,
                place,
                place.parent,
                Path(".."),
                Path("nowhere"),
                Path("0.png"),
                Path("/dev/zero"),
                Path("loop.png"),
            )
        )
        (place / random_.choice(("loop.png", "link", "link.png"))).symlink_to(target)
    elif kind == 8:
        odd = random_.choice(
            ("a\nb", "\x1b[31mred", "[red]x[/red]", "<script>", "$x_$", "\udcff", "\u202e", "%s", "-rf", " ")
        )
        if random_.random() < 0.5:
            (place / f"{odd.replace('/', '')}.png").write_bytes(random_.choice((pictures["RGB.png"], b"broken")))
        else:
            for part in ("train", "test"):
                other = place.parents[1] / part / odd
                other.mkdir(parents=True, exist_ok=True)
                (other / "0.png").write_bytes(pictures["RGB.png"])
    elif kind == 9:
        deep = place.joinpath(*["d"] * random_.choice((3, 30, 40, 200)))
        deep.mkdir(parents=True)
        (deep / "deep.png").write_bytes(pictures["RGB.png"])
    elif kind == 10:
        os.mkfifo(place / "pipe.png")
    else:
        (place / "folder.png").mkdir()
        (place / "other.png").write_bytes(random_.randbytes(random_.choice((10, 100_000))))
