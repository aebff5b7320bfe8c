"""Docstrings in the pages: Sphinx's :class:`name` becomes `name`, as Markdown knows no roles."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|data|meth|mod|attr):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrites each docstring when its object has been read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda match: f"`{match[1].rsplit('.', 1)[-1]}`", obj.docstring.value)
