"""The one place below the command line that reads the environment: `$NAME` in texts that name data.

Filled in are `data` and `data_quarantine` of a configuration, and the URLs of a `databases.yaml`, so that neither a place
nor a password need stand in a file. Nothing else is looked up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_NAME = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class NotSet(Exception):
    """A variable that a text names is not set; the caller says where the text stands."""

    def __init__(self, name: str) -> None:
        super().__init__(f"needs the environment variable {name}, which is not set")


def expand(text: str, encode: Callable[[str], str] = str) -> str:
    """The text with every `$NAME` and `${NAME}` filled in; `encode` makes a value fit its place. Raises `NotSet`."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise NotSet(name)
        return encode(os.environ[name])

    return _NAME.sub(value, text)


def has_names(text: str) -> bool:
    """Does the text name a variable?"""
    return _NAME.search(text) is not None


def without_names(text: str) -> str:
    """What of the text stands there itself."""
    return _NAME.sub("", text)
