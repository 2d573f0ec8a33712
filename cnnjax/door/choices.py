"""One of several names or numbers: the sentence for what is none of them, with the nearest."""

import difflib
from collections.abc import Iterable
from typing import Any

from cnnjax.door.words import one_of, shown
from cnnjax.errors import InputError

MOST = 40
"""Choices that a message lists."""


def check_choice(name: str, value: Any, choices: Iterable[Any], *, otherwise: str = "") -> None:
    """Raise InputError unless `value` is one of the choices, with near ones; `otherwise`, what else would be right."""
    choices = list(choices)
    if any(isinstance(value, type(one)) and value == one for one in choices):
        return
    names = [str(one) for one in choices]
    near = difflib.get_close_matches(value, names, 3) if isinstance(value, str) else []
    nearest = f" (perhaps you meant {one_of(near)})" if near else ""
    listed = ", ".join([*names[:MOST], *(["..."] if len(names) > MOST else [])])
    raise InputError(f"{name}={shown(value)} is unknown; use one of {listed}{otherwise}{nearest}.")
