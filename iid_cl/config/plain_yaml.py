"""YAML as plain data: text, numbers, lists and mappings, within fixed bounds.

Reading must end for any input: files are small, nesting is shallow, and an alias counts each time it is used. So a few
lines cannot stand for a million values.
"""

from collections import Counter
from typing import Any

import yaml

MOST_BYTES = 2**17  # of a file; the largest shipped file has 3,000
MOST_SPELT_OUT = 2**20  # characters and values, with aliases spelt out
DEEPEST = 20  # levels of nested lists and mappings; a configuration needs 6

_TAGS = [f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")]
_MERGE = "tag:yaml.org,2002:merge"


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that reads dates, bytes and sets as text and refuses duplicate keys."""

    yaml_constructors = {  # noqa: RUF012, PyYAML's way
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _TAGS
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in patterns if tag in (*_TAGS, _MERGE)]
        for first, patterns in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. A duplicate key is refused: the later value would silently win."""
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.items():
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """An integer that fits into 64 bits."""
        value = super().construct_yaml_int(node) if len(node.value) <= 80 else 2**63
        if not -(2**63) <= value < 2**63:
            raise yaml.constructor.ConstructorError(None, None, "a number has too many digits", node.start_mark)
        return int(value)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_number)


def parse_yaml(text: str) -> Any:
    """The value of a YAML document; None if it is empty.

    Raises:
        ValueError: it is not YAML, not plain data, or beyond the bounds. The message is part of a sentence.
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
    """Number of characters and values below a node; the target of an alias counts each time it is used."""
    if (size := sizes.get(id(node))) is not None:
        if size < 0:
            raise ValueError("a value contains itself")
        return size
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(node, yaml.ScalarNode):
        if any("\ud800" <= letter <= "\udfff" for letter in node.value):
            raise ValueError("a text holds half of a character")
        return 1 + len(node.value)
    sizes[id(node)] = -1
    children = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    size = 1 + sum(_spelt_out(child, sizes, depth + 1) for child in children)
    if size > MOST_SPELT_OUT:
        raise ValueError("its aliases stand for too much")
    sizes[id(node)] = size
    return size
