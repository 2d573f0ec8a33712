"""From an annotation to the functions that read an argument by it."""

import collections.abc
import inspect
import os
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import numpy.typing
from jax.core import Tracer

from cnnjax.door.arrays import as_jax, as_numpy, check, check_shape, converted, is_array, is_key, only_for_jax
from cnnjax.door.axes import axes_of
from cnnjax.door.containers import fixed, mapping, sequence
from cnnjax.door.keys import key_reader
from cnnjax.door.limits import ArraysOrNumbers, AtLeast
from cnnjax.door.scalars import (
    Taker,
    a_bool,
    a_float,
    a_number,
    a_path,
    an_int,
    anything,
    choice,
    function,
    instance,
    refuse,
)
from cnnjax.door.words import a, one_of, shown
from cnnjax.errors import InputError

_SINGLE: dict[Any, Taker] = {
    int: an_int,
    float: a_float,
    bool: a_bool,
    pathlib.Path: a_path,
    os.PathLike: a_path,
    collections.abc.Callable: function(None),
}
_SEQUENCES = (collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable)

_NUMBERS = {np.number, int, float}
"""Among what JAX takes for a single number, or for an array."""


class Reader(typing.NamedTuple):
    """How an argument is read. Both raise InputError, and take its name and its value."""

    read: Callable[[str, Any], Any]
    """The value as the function takes it."""

    fits: Callable[[str, Any], Any] | None
    """Of an array, once it is one: whether its dtype and shape are the annotation's."""

    axes: str = ""
    """Of an array: its axes, as jaxtyping writes them."""


def reader(annotation: Any, *, own: bool = False) -> Reader:
    """How an argument is read by its annotation; by one that says nothing every value is taken as it is.

    An argument that the function checks on its `own` is left to it, unless it should be an array.
    """
    optional, members = _members(annotation)
    taker = _taker(annotation)
    if all(map(is_array, members)):

        def read(name: str, value: Any) -> Any:
            return None if optional and value is None else converted(name, value, members)

        return Reader(read, lambda name, value: taker(name, value, True), axes_of(members))
    left = _left(annotation) if own else ()
    return Reader(lambda name, value: value if isinstance(value, left) else taker(name, value, True), None)


def _left(annotation: Any) -> Any:
    """The type of values that a function which checks an argument on its own is left to judge."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return str
    if origin in (collections.abc.Sequence, collections.abc.Mapping):
        return origin
    members = set(_members(annotation)[1])
    return (int, float) if annotation is float or members == {int, float} or members >= _NUMBERS else object


def _members(annotation: Any) -> tuple[bool, list[Any]]:
    """Whether None is one of the members of a union, and the others; what is not a union has one member."""
    annotation = _meant(annotation)
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    parts = typing.get_args(annotation) if union else (annotation,)
    return union and type(None) in parts, [part for part in parts if not (union and part is type(None))]


def _meant(annotation: Any) -> Any:
    """What an alias is short for: newer NumPys have one for what is like an array; otherwise the annotation."""
    return getattr(annotation, "__value__", annotation)


def _taker(annotation: Any) -> Taker:
    annotation = _meant(annotation)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        optional, members = _members(annotation)
        return _or_none(_union(members)) if optional else _union(members)
    if origin is Annotated:
        return _limited(_taker(parts[0]), parts[1:])
    if origin is Literal:
        return choice(parts)
    if origin is collections.abc.Callable:
        return function(len(parts[0]) if parts and isinstance(parts[0], list) else None)
    if origin is tuple:
        return sequence(tuple, _taker(parts[0])) if parts[1:] == (Ellipsis,) else fixed([_taker(p) for p in parts])
    if origin in _SEQUENCES:
        return sequence(origin, _taker(parts[0]))
    if origin is collections.abc.Mapping:
        return mapping(*map(_taker, parts))
    if is_array(annotation):
        return _array(annotation)
    if is_key(annotation):
        return key_reader(annotation.dim_str)
    if origin is type or not isinstance(annotation, type):
        return instance(type) if origin is type else anything
    if annotation is jaxtyping.PyTree:
        return _limited(anything, (ArraysOrNumbers(),))
    if annotation in _SINGLE:
        return _SINGLE[annotation]
    says_nothing = annotation in (Any, object, inspect.Parameter.empty) or annotation.__module__.startswith("jaxtyping")
    unseen = getattr(annotation, "_is_protocol", False) and not getattr(annotation, "_is_runtime_protocol", False)
    return anything if says_nothing or unseen else instance(annotation)


def _union(members: list[Any]) -> Taker:
    if len(members) == 1:
        return _taker(members[0])
    if set(members) == set(typing.get_args(_meant(numpy.typing.ArrayLike))):
        return lambda name, value, lenient: _array_like(name, value)
    if np.number in members:  # JAX's ArrayLike, or one of its kind of a single number
        typed = [
            member for member in members if isinstance(member, type) and issubclass(member, jaxtyping.AbstractArray)
        ]
        single = bool(typed) and all(m.dim_str == "" for m in typed)
        if jax.ShapeDtypeStruct in members:
            return _images
        return lambda name, value, lenient: _array_like(name, value, single=single)
    if any(map(is_key, members)):
        return key_reader("")
    if set(members) == {int, float}:
        return a_number
    if int in members and any(typing.get_origin(member) is collections.abc.Sequence for member in members):
        return anything if any(map(is_array, members)) else _per_axis
    takers, arrays = [_taker(member) for member in members], all(map(is_array, members))
    expected = one_of(list(dict.fromkeys(map(_words, members))))

    def take(name: str, value: Any, lenient: bool) -> Any:
        reasons = []
        for convert in (False, True) if lenient else (False,):
            for one in takers:
                try:
                    return one(name, value, convert)
                except InputError as reason:
                    reasons.append(reason)
        if arrays:
            raise reasons[-1]
        return refuse(name, value, expected)

    return take


def _per_axis(name: str, value: Any, lenient: bool) -> Any:
    """One for all axes or one for each: how many these are, the function knows."""
    if isinstance(value, (np.ndarray, jax.Array)) and not isinstance(value, Tracer):
        array = as_numpy(name, value)
        return tuple(array.tolist()) if array.ndim else array.item()
    return value


def _limited(taker: Taker, limits: tuple[Any, ...]) -> Taker:
    def take(name: str, value: Any, lenient: bool) -> Any:
        value = taker(name, value, lenient)
        for limit in limits:
            limit.check(name, value)
        return value

    return take


def _or_none(taker: Taker) -> Taker:
    return lambda name, value, lenient: None if value is None else taker(name, value, lenient)


def _array(annotation: Any) -> Taker:
    kind = getattr(annotation, "array_type", annotation)

    def take(name: str, value: Any, lenient: bool) -> Any:
        if not (lenient or isinstance(value, kind)):
            refuse(name, value, "an array")
        array = converted(name, value, [annotation])
        check(name, array, annotation)
        return array

    return take


def _images(name: str, value: Any, lenient: bool) -> Any:
    """Arrays, and shapes with dtypes, which are for functions that are only traced; a list has no dtype to go by."""
    if isinstance(value, list | tuple):
        raise InputError(f"{name}={shown(value)} is {a(type(value).__name__)}; give an array.")
    return value if isinstance(value, jax.ShapeDtypeStruct) else _array_like(name, value)


def _array_like(name: str, value: Any, *, single: bool = False) -> Any:
    """What NumPy and JAX take for an array, as an array; numbers of Python stay what they are."""
    if type(value) is int and not (kept := np.iinfo(jax.dtypes.canonicalize_dtype(int))).min <= value <= kept.max:
        raise InputError(f"{name}={shown(value)} is beyond {kept.bits} bits; give a number that fits.")
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.extended):
        raise InputError(f"{name}={shown(value)} is a key; give an array of numbers.")
    if isinstance(value, jax.Array) or type(value) in (int, float, bool):
        array = value
    else:
        array = as_jax(name, value) if only_for_jax(value) else as_numpy(name, value)
    if single:
        check_shape(name, np.shape(array), [])
        if isinstance(value, bool | np.bool_):
            refuse(name, value, "a number")
    return array


def _words(annotation: Any, *, many: bool = False) -> str:
    """What an annotation asks for, in words: "an int", "a list of ints"."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return one_of(list(dict.fromkeys(_words(part, many=many) for part in parts)))
    if origin is Annotated:
        least = [f"at least {limit.least}" for limit in parts[1:] if isinstance(limit, AtLeast)]
        return " of ".join([_words(parts[0], many=many), *least])
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    name = "array" if is_array(annotation) else getattr(annotation, "__name__", "value")
    inside = ""
    if origin in (*_SEQUENCES, tuple):
        name, inside = "tuple" if origin is tuple else "list", f" of {_words(parts[0], many=True)}"
    elif origin is not None:
        name = {collections.abc.Mapping: "dict", collections.abc.Callable: "function"}.get(origin, name)
    return (f"{name}s" if many else a(name)) + inside
