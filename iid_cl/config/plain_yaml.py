"""YAML as plain data: text, numbers, lists and mappings, within bounds that hold for any input.

A parser of foreign text has to end: files are small, nesting is shallow, and aliases count as often as they are used,
so that a few lines cannot stand for a million values.
"""

from collections import Counter
from typing import Any

import yaml

MOST_BYTES = 2**17  # of a file; the largest shipped one has 3,000
MOST_SPELT_OUT = 2**20  # characters and values, aliases spelt out
DEEPEST = 20  # lists and mappings in one another; a configuration needs 6

_TAGS = [f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")]
_MERGE = "tag:yaml.org,2002:merge"


class _PlainLoader(yaml.SafeLoader):
    """A safe loader without dates, bytes and sets, which are text here; it refuses a key given twice."""

    yaml_constructors = {  # noqa: RUF012, PyYAML's way
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _TAGS
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in known if tag in (*_TAGS, _MERGE)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, if its keys differ: of two, the later one would win in silence."""
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """A whole number that fits into 64 bits."""
        value = super().construct_yaml_int(node) if len(node.value) <= 80 else 2**63
        if not -(2**63) <= value < 2**63:
            raise yaml.constructor.ConstructorError(None, None, "a number has too many digits", node.start_mark)
        return int(value)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_number)


def parse_yaml(text: str) -> Any:
    """The value that a YAML document stands for; None for an empty one.

    Raises:
        ValueError: no YAML, or more than plain data within the bounds; the message is part of a sentence.
    """
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _spelt_out(node, {}, 0)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    except (LookupError, AttributeError, ArithmeticError, TypeError):  # PyYAML, e.g. on !!bool perhaps
        raise ValueError("a tag does not fit its value, or a number is out of range") from None


def _spelt_out(node: yaml.Node, sizes: dict[int, int], depth: int) -> int:
    """Characters and values below a node, what an alias stands for counted each time it is used."""
    known = sizes.get(id(node))
    if known is not None:
        if known < 0:
            raise ValueError("a value contains itself")
        return known
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(node, yaml.ScalarNode):
        if any("\ud800" <= letter <= "\udfff" for letter in node.value):
            raise ValueError("a text holds half of a character")
        return 1 + len(node.value)
    sizes[id(node)] = -1
    pairs = node.value if isinstance(node, yaml.MappingNode) else [(each,) for each in node.value]
    size = 1 + sum(_spelt_out(each, sizes, depth + 1) for pair in pairs for each in pair)
    if size > MOST_SPELT_OUT:
        raise ValueError("its aliases stand for too much")
    sizes[id(node)] = size
    return size
