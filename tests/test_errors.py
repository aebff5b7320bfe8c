"""Foreign text is shown on one line, without what a terminal would obey."""

import pytest

from iid_cl.errors import LONGEST, UserError, is_printable, one_line, printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, [red]x[/red], é, 日本語", "plain, [red]x[/red], é, 日本語"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31m\x07\x7f\x9b", r"\x1b[31m\x07\x7f\x9b"),
        ("\u2028\u202e\u2066", r"\u2028\u202e\u2066"),
        ("\udcff", r"\udcff"),
    ],
)
def test_text_is_printable_afterwards(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert is_printable(text) == (text == expected)
    assert is_printable(printable(text))
    assert len(printable(text).splitlines()) == 1


def test_a_sentence_is_one_line_of_bounded_length() -> None:
    assert one_line(UserError("a\nb\x1b")) == r"a b\x1b"
    long = one_line(UserError("start " + "x" * 10**6 + " end."))
    assert long.startswith("start ")
    assert long.endswith(" end.")
    assert len(long) <= LONGEST + 3


def test_values_are_shown_short() -> None:
    assert shown("a") == "'a'"
    assert shown([1, None, {"a": 0.5}]) == "[1, None, {'a': 0.5}]"
    assert len(shown("x" * 10**6)) <= 120
    assert len(shown(list(range(10**5)))) <= 120
    assert shown(10**5000) == "a number of thousands of digits"
    nested: list[object] = []
    for _ in range(10**5):
        nested = [nested]
    assert shown(nested).endswith("]")
