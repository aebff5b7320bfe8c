"""YAML as plain data: every trap ends in a ValueError, at once."""

import time

import pytest

from iid_cl.config.plain_yaml import DEEPEST, MOST_SPELT_OUT, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: [1, 2.5, true, null, x]", {"a": [1, 2.5, True, None, "x"]}),
        ("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}),
        ("a: 2001-01-01", {"a": "2001-01-01"}),  # a date is text
        ("a: =", {"a": "="}),
        ("a: 0x10", {"a": 16}),
        (f"a: {2**63 - 1}", {"a": 2**63 - 1}),
        (f"a: {-(2**63)}", {"a": -(2**63)}),
        ("a: .inf", {"a": float("inf")}),
    ],
)
def test_plain_data_is_read(text: str, value: object) -> None:
    assert parse_yaml(text) == value


def bomb(form: str) -> str:
    """Nine times nine times ... the same."""
    levels = [f"a{i}: &a{i} " + form.format(", ".join([f"*a{i - 1}"] * 9), i) for i in range(1, 30)]
    return "\n".join(["a0: &a0 {x: 1}", *levels])


TRAPS = {
    "aliases": (bomb("[{}]"), "aliases stand for too much"),
    "merged aliases": (bomb("{{<<: [{}], y{}: 1}}"), "aliases stand for too much"),
    "long text, often": ("a: &a " + "x" * 10_000 + "\nb: [" + "*a, " * 1000 + "]", "aliases stand for too much"),
    "a list in itself": ("&a [*a]", "contains itself"),
    "a mapping in itself": ("&a {x: *a}", "contains itself"),
    "a mapping merged with itself": ("&a {<<: *a}", "contains itself"),
    "open lists": ("[" * 100_000, "nested"),
    "open mappings": ("{a: " * 30_000, "nested"),
    "open items": ("- " * 60_000, "nested"),
    "open keys": ("? " * 60_000, "nested"),
    "nested": ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), f"more than {DEEPEST} deep"),
    "same keys": ("{" + "a: 1, " * 10_000 + "}", "given twice"),
    "same key, nested": ("a: {b: 1, b: 2}", "given twice"),
    "64 bits": (f"a: {2**63}", "too many digits"),
    "decimal digits": ("a: " + "9" * 100_000, "too many digits"),
    "hexadecimal digits": ("a: 0x" + "f" * 100_000, "too many digits"),
    "sexagesimal digits": ("a: 1:" + ":".join(["59"] * 30_000), "too many digits"),
    "sexagesimal fraction": ("a: 1:" + ":".join(["59"] * 1000) + ".5", "out of range"),
    "half a character": (r'a: "\ud800"', "half of a character"),
    "half a character as key": (r'"\ud800": 1', "half of a character"),
    "no truth": ("!!bool perhaps", "tag"),
    "no number": ("!!int ''", "tag"),
    "no fraction": ("!!float ''", "tag"),
    "bytes": ("!!binary gICA", "tag"),
    "a date": ("!!timestamp 2001-01-01", "tag"),
    "a set": ("!!set {a}", "tag"),
    "pairs": ("!!omap [a: 1]", "tag"),
    "a program": ("!!python/object/apply:os.system [echo]", "tag"),
    "a key that is a list": ("? [a]\n: 1", "unhashable"),
    "a merge with a number": ("{<<: 1}", "expected a mapping"),
    "two documents": ("a: 1\n---\nb: 2", "single document"),
    "a control character": ("a: \x1b", "not allowed"),
    "an unknown alias": ("*a", "undefined alias"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_refused_at_once(trap: str) -> None:
    text, said = TRAPS[trap]
    start = time.process_time()
    with pytest.raises(ValueError, match=said) as caught:
        parse_yaml(text)
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 1000


def test_aliases_are_counted_each_time() -> None:
    several = (MOST_SPELT_OUT - 200) // 1002  # 1,001 for each, one for the list, a few for the rest
    text = "a: &a " + "x" * 1000 + "\nb: [" + "*a, " * (several - 1) + "]"
    assert len(parse_yaml(text)["b"]) == several - 1
    with pytest.raises(ValueError, match="too much"):
        parse_yaml("a: &a " + "x" * 1000 + "\nb: [" + "*a, " * (several + 5) + "]")
