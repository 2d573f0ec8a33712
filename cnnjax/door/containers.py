"""Tuples, lists and dicts at the door: their entries are read one by one, under names such as `stride[1]`."""

import collections.abc
import operator
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from cnnjax.door.scalars import Taker, refuse
from cnnjax.door.words import a


def fixed(takers: list[Taker]) -> Taker:
    """Take a tuple with an entry for each taker."""
    expected = a(f"tuple of {len(takers)}")

    def take(name: str, value: Any, lenient: bool) -> Any:
        items = value if isinstance(value, tuple) else _items(name, value, lenient, expected)
        if len(items) != len(takers):
            refuse(name, value, expected)
        read = [one(f"{name}[{i}]", item, lenient) for i, (one, item) in enumerate(zip(takers, items, strict=True))]
        return value if isinstance(value, tuple) and all(map(operator.is_, read, value)) else tuple(read)

    return take


def sequence(kind: type, one: Taker) -> Taker:
    """Take a sequence, or any collection or iterable where `kind` is that; an iterator is left unread."""

    def take(name: str, value: Any, lenient: bool) -> Any:
        if isinstance(value, collections.abc.Iterator) and kind is collections.abc.Iterable:
            return value
        right = isinstance(value, kind) and not isinstance(value, (str, bytes, np.ndarray, jax.Array))
        items = value if right else _items(name, value, lenient, a("tuple" if kind is tuple else "list"))
        read = [one(f"{name}[{i}]", item, lenient) for i, item in enumerate(items)]
        return value if right and all(map(operator.is_, read, value)) else tuple(read)

    return take


def mapping(key: Taker, one: Taker) -> Taker:
    """Take a dict, or what is like one."""

    def take(name: str, value: Any, lenient: bool) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            refuse(name, value, "a dict")
        read = {key(f"a key of {name}", k, lenient): one(f"{name}[{k!r}]", v, lenient) for k, v in value.items()}
        return value if all(read.get(k) is v for k, v in value.items()) else read

    return take


def _items(name: str, value: Any, lenient: bool, expected: str) -> Any:
    """The entries of what is nearly a sequence: a list for a tuple, an array of one axis or more."""
    if lenient and isinstance(value, list):
        return value
    if lenient and isinstance(value, (np.ndarray, jax.Array)) and value.ndim and not isinstance(value, Tracer):
        return value.tolist()
    return refuse(name, value, expected)
