"""What the categories of :mod:`tests.hardening.fuzz` change their inputs with."""

import random
from typing import Any


class Refused(Exception):
    """An input that is left aside without an error."""


NUMBERS: list[Any] = [
    0, -1, 1, 2, 255, 256, 2**31, 2**32, 2**63 - 1, 2**63, -(2**63), 10**18, 10**400, 0.0, -0.0, 0.5, 1.0, 1e-300,
    1e300, float("nan"), float("inf"), -float("inf"), True, False, None,
]  # fmt: skip


TEXTS = [
    "", " ", "a", "é", "日本語", "\u202egnp.x", "[red]x[/red]", "[/]", "<script>alert(1)</script>", "$x_$", "%s%n",
    "../../x", "/etc/passwd", "a\nb", "\x1b[31m", "\x00", "\ud800", "k" * 5000, "null", "~", "1e9", "1_000", "0x10",
    "1:30", "2001-01-01", ".nan", "!!python/object/apply:os.system [id]", "cuda:99999999999", "cuda:٣", "none",
    "joint", "distilled", "={}",
]  # fmt: skip


def damaged(random_: random.Random, data: bytes) -> bytes:
    """Bits flipped, a stretch cut out, doubled, overwritten or appended, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 5, 30))):
        where = random_.randrange(len(changed)) if changed else 0
        until = min(len(changed), where + random_.choice((1, 2, 8, 100, 5000)))
        kind = random_.randrange(6)
        if kind == 0 and changed:
            changed[where] ^= 1 << random_.randrange(8)
        elif kind == 1:
            del changed[where:until]
        elif kind == 2:
            changed[where:where] = changed[where:until] * random_.choice((1, 3))
        elif kind == 3:
            changed[where:until] = random_.randbytes(until - where)
        elif kind == 4:
            del changed[where:]
        else:
            changed += random_.randbytes(random_.choice((1, 8, 1000)))
    return bytes(changed)


def endless(random_: random.Random, most: int) -> bytes:
    """A text as long as is read, or a byte more: JSON of many small parts, or lines without end."""
    head, part, tail = random_.choice(
        ((b'{"results": [', b"{},", b"1]}"), (b'{"results": [[', b"[],", b"1]]}"), (b'{"summary": [', b"1,", b"1]}"),
         (b"[", b'"a",', b"1]"), (b"", b"12\n", b""), (b"", b"\n", b""), (b"", b"{}\n", b""))
    )  # fmt: skip
    room = most + random_.randrange(2) - len(head) - len(tail)
    return head + part * (room // len(part)) + b" " * (room % len(part)) + tail


def altered(random_: random.Random, value: Any) -> Any:
    """Plain nested data with one value or key changed."""
    if isinstance(value, dict) and value and random_.random() < 0.85:
        key = random_.choice(list(value))
        changed, kind = dict(value), random_.randrange(10)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[random_.choice([*TEXTS, 1, None])] = changed.pop(key)
        else:
            changed[key] = altered(random_, value[key])
        return changed
    if isinstance(value, list) and value and random_.random() < 0.7:
        index = random_.randrange(len(value))
        changed_list = list(value)
        if random_.random() < 0.2:
            return changed_list * random_.choice((0, 2, 50))
        changed_list[index] = altered(random_, value[index])
        return changed_list
    nested: Any = 1
    for _ in range(random_.choice((1, 3, 30, 600))):
        nested = [nested] if random_.random() < 0.5 else {random_.choice(("x", "name", "weight", "")): nested}
    return random_.choice([*NUMBERS, *TEXTS, [], {}, nested])
