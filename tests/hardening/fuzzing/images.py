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
from iid_cl.errors import is_printable
from tests.hardening.fuzzing.mutations import damaged


@cache
def _pictures() -> dict[str, bytes]:
    """Valid image files by suffix, of every mode and depth that the formats write."""
    pixels = torch.randint(256, (16, 16, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    layers = Image.fromarray(pixels)
    colour = layers.convert("RGB")
    made = {}
    for suffix, kind, modes in (
        ("png", "PNG", ("RGB", "L", "P", "RGBA", "LA", "1", "I;16")),
        ("jpg", "JPEG", ("RGB", "L", "CMYK")),
        ("tif", "TIFF", ("RGB", "F", "I", "I;16B", "LA", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "1", "P")),
        ("bmp", "BMP", ("RGB", "L", "P", "1")),
        ("gif", "GIF", ("P", "L")),
        ("webp", "WEBP", ("RGB", "RGBA")),
        ("avif", "AVIF", ("RGB", "RGBA")),
        ("jp2", "JPEG2000", ("RGB", "RGBA", "L", "LA", "I;16")),
        ("tga", "TGA", ("RGB", "RGBA", "L", "P", "LA")),
        ("ppm", "PPM", ("RGB", "L", "1", "I", "F", "I;16")),
    ):
        for mode in modes:
            file = io.BytesIO()
            source = layers.convert("L") if mode.startswith("I;16") else colour if mode == "LAB" else layers
            with contextlib.suppress(OSError, KeyError):  # older Pillows write fewer
                source.convert(mode).save(file, kind)
                made[f"{mode.replace(';', '')}.{suffix}"] = file.getvalue()
    for suffix, kind in (("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG"), ("tif", "TIFF"), ("jpg", "MPO")):
        file = io.BytesIO()
        colour.save(file, kind, save_all=True, append_images=[colour.rotate(90)] * 3)
        made[f"moving.{suffix}"] = file.getvalue()
    for name, image, options in (
        ("key.png", colour, {"transparency": (1, 2, 3)}),
        ("entry.png", colour.quantize(16), {"transparency": 3}),
        ("entries.png", colour.quantize(16), {"transparency": bytes(range(16))}),
        ("entry.gif", colour.quantize(16), {"transparency": 3}),
        ("white-is-0.tif", layers.convert("L").convert("I;16"), {"tiffinfo": {262: 0}}),
        ("signed.tif", layers.convert("L"), {"tiffinfo": {339: 2}}),
    ):
        file = io.BytesIO()
        image.save(file, {"tif": "TIFF"}.get(name[-3:], name[-3:].upper()), **options)
        made[name] = file.getvalue()
    file = io.BytesIO()
    colour.save(file, "EPS")
    made["program.png"] = file.getvalue()
    return made


@cache
def _large(mode: str) -> bytes:
    """A PNG of 81 million pixels of one colour, just below what is taken for a bomb."""
    file = io.BytesIO()
    Image.new(mode, (9000, 9000)).save(file, "PNG", compress_level=1)
    return file.getvalue()


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
    if random_.random() < 1 / 300:
        (places[0] / "0.png").write_bytes(_large(random_.choice(("1", "L", "RGBA", "I;16"))))
    size = random_.choice((None, None, 8, 1)) if random_.random() < 0.5 else random_.choice((16,) * 20 + (4096,))
    config = StreamConfig(dataset="image_folder", experiences=2, image_size=size)

    def read() -> None:
        remarks = load_dataset(config, root).remarks
        assert all(map(is_printable, remarks)), "a control character got through"

    return read


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
    elif kind == 6 and random_.random() < 0.3:
        with (place / "endless.png").open("wb") as file:  # as large as is read, or a byte more
            file.write(random_.choice((b"", pictures["RGB.png"], pictures["RGB.tif"], b"RIFF\xff\xff\xff\xffWEBPVP8 ")))
            file.truncate(2**29 + random_.randrange(2))
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
