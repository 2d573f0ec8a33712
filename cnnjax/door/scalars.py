"""Single values at the door: numbers, switches, choices, paths, functions, objects of a class."""

import inspect
import operator
import os
import pathlib
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from cnnjax.door.choices import check_choice
from cnnjax.door.words import a, shown
from cnnjax.errors import InputError

Taker: TypeAlias = Callable[[str, Any, bool], Any]
"""Of an argument's name, its value and whether to convert what is of another type: the value as the function takes it.

Raises InputError for what it does not take.
"""


def refuse(name: str, value: Any, expected: str) -> typing.NoReturn:
    """Raise the InputError that names the argument, its value and what it must be."""
    raise InputError(f"{name}={shown(value)} must be {expected}.")


def anything(name: str, value: Any, lenient: bool) -> Any:
    """Take every value as it is."""
    return value


def an_int(name: str, value: Any, lenient: bool) -> int:
    """Take integers of 64 bits; NumPy's and arrays of a single one become Python's."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            refuse(name, value, "an int")
        try:
            value = operator.index(value)
        except TypeError:
            refuse(name, value, "an int")
    if not -(2**63) <= value < 2**63:
        raise InputError(f"{name}={shown(value)} is beyond 64 bits; give an int that fits.")
    return value


def a_float(name: str, value: Any, lenient: bool) -> Any:
    """Take finite numbers, as floats."""
    value = a_number(name, value, lenient)
    return value if isinstance(value, Tracer) else float(value)


def a_number(name: str, value: Any, lenient: bool) -> Any:
    """Take finite real numbers; NumPy's and arrays of a single one become Python's, and a traced one stays."""
    if type(value) is not float and isinstance(value, (np.generic, np.ndarray, jax.Array)):
        if value.ndim or not (jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(value.dtype, jnp.floating)):
            refuse(name, value, "a number")
        if isinstance(value, Tracer):
            return value
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse(name, value, "a number")
    # A comparison of Python's integers with a float is exact, and NaN compares false.
    if not -_LARGEST <= value <= _LARGEST:
        refuse(name, value, "a finite number")
    return float(value) if abs(value) >= 2**63 else value


_LARGEST = float(np.finfo(np.float64).max)


def a_bool(name: str, value: Any, lenient: bool) -> bool:
    """Take True and False."""
    if not isinstance(value, (bool, np.bool_)):
        refuse(name, value, "True or False")
    return bool(value)


def a_path(name: str, value: Any, lenient: bool) -> pathlib.Path:
    """Take text and paths, as paths."""
    if not isinstance(value, (str, os.PathLike)) or value == "":
        refuse(name, value, "a path")
    return value if isinstance(value, pathlib.Path) else pathlib.Path(value)


def choice(choices: tuple[Any, ...]) -> Taker:
    """Take one of the choices."""

    def take(name: str, value: Any, lenient: bool) -> Any:
        check_choice(name, value, choices)
        return value

    return take


def instance(kind: type) -> Taker:
    """Take objects of a class."""

    def take(name: str, value: Any, lenient: bool) -> Any:
        if not isinstance(value, kind):
            refuse(name, value, "None" if kind is type(None) else a(kind.__name__))
        return value

    return take


def function(count: int | None) -> Taker:
    """Take what can be called, with `count` arguments where that is known."""

    def take(name: str, value: Any, lenient: bool) -> Any:
        if not callable(value):
            refuse(name, value, "a function")
        if count is not None and (signature := _signature(value)) is not None:
            try:
                signature.bind(*(None,) * count)
            except TypeError as error:
                arguments = f"{count} argument{'s' * (count != 1)}"
                raise InputError(f"{name}={shown(value)} must take {arguments}; it takes {signature}.") from error
        return value

    return take


def check_keywords(name: str, f: Callable, keywords: tuple[str, ...]) -> None:
    """Raise InputError unless `f` can be called with these keywords, where that is known."""
    if (signature := _signature(f)) is not None:
        try:
            signature.bind(**dict.fromkeys(keywords))
        except TypeError as error:
            given = ", ".join(keywords)
            raise InputError(f"{name}={shown(f)} must take the keywords {given}; it takes {signature}.") from error


def _signature(f: Callable) -> inspect.Signature | None:
    try:
        return inspect.signature(f)
    except (TypeError, ValueError):  # that of a function written in C may not be known
        return None
