"""Bounds on integers: what an operation makes of the least and the greatest values of its operands."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

FAR = 2**30 - 1
"""An integer of which nothing is known is taken to lie within ± this: the sum of two does not overflow."""

Bounds = tuple[Any, Any]
"""The least and the greatest value: NumPy arrays, or scalars as NumPy makes of arrays without axes."""

Operation = Callable[[Sequence[Any]], Any]
Rule = Callable[[Operation, Sequence[Bounds], np.dtype], Bounds]
"""From the operation, the bounds of its operands and the dtype of its result."""


def followed(dtype: Any) -> bool:
    """Whether bounds are propagated through arrays of it: unsigned and short integers wrap round too easily."""
    return isinstance(dtype, np.dtype) and dtype.name in ("bool", "int32", "int64")


def unknown(dtype: np.dtype) -> Bounds:
    """The bounds of an integer of which nothing is known."""
    limits = (0, 1) if dtype == np.dtype(bool) else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.asarray(max(limits[0], -FAR), dtype), np.asarray(min(limits[1], FAR), dtype)


def _monotone(operation: Operation, operands: Sequence[Bounds], dtype: np.dtype) -> Bounds:
    """Results that do not fall as an operand grows."""
    low, high = (np.asarray(operation([ends[i] for ends in operands])) for i in (0, 1))
    return (low, high) if dtype == np.dtype(bool) else (np.clip(low, -FAR, FAR), np.clip(high, -FAR, FAR))


def _convert(operation: Operation, operands: Sequence[Bounds], dtype: np.dtype) -> Bounds:
    # As a truth value, a negative number counts as the greatest.
    return unknown(dtype) if dtype == np.dtype(bool) else _monotone(operation, operands, dtype)


def _of_ends(ends: Callable[..., Bounds]) -> Rule:
    """A rule from a function of the operands' bounds, in int64 so that nothing overflows."""

    def rule(_: Operation, operands: Sequence[Bounds], dtype: np.dtype) -> Bounds:
        low, high = ends(*([end.astype(np.int64) for end in pair] for pair in operands))
        return np.clip(low, -FAR, FAR).astype(dtype), np.clip(high, -FAR, FAR).astype(dtype)

    return rule


def _of_truth(ends: Callable[..., Bounds]) -> Rule:
    """A rule for logical operators, which are bitwise ones on integers."""

    def rule(operation: Operation, operands: Sequence[Bounds], dtype: np.dtype) -> Bounds:
        return _of_ends(ends)(operation, operands, dtype) if dtype == np.dtype(bool) else unknown(dtype)

    return rule


def _mul(a: Sequence[Any], b: Sequence[Any]) -> Bounds:
    products = [x * y for x in a for y in b]
    return functools.reduce(np.minimum, products), functools.reduce(np.maximum, products)


def _div(a: Sequence[Any], b: Sequence[Any]) -> Bounds:
    # XLA's division truncates. A divisor that may be 0 or negative says nothing.
    good = b[0] > 0
    quotients = [np.sign(x) * (np.abs(x) // np.maximum(y, 1)) for x in a for y in b]
    low, high = functools.reduce(np.minimum, quotients), functools.reduce(np.maximum, quotients)
    return np.where(good, low, -FAR), np.where(good, high, FAR)


def _rem(a: Sequence[Any], b: Sequence[Any]) -> Bounds:
    n = np.maximum(b[0], 1)
    within = (b[0] == b[1]) & (b[0] > 0) & (a[0] >= 0) & (a[0] // n == a[1] // n)
    most = np.maximum(np.abs(b[0]), np.abs(b[1]))
    return np.where(within, a[0] % n, np.where(a[0] < 0, -most, 0)), np.where(within, a[1] % n, most - (b[0] > 0))


def _less(a: Sequence[Any], b: Sequence[Any]) -> Bounds:
    return a[1] < b[0], a[0] < b[1]


def _at_most(a: Sequence[Any], b: Sequence[Any]) -> Bounds:
    return a[1] <= b[0], a[0] <= b[1]


def _equal(a: Sequence[Any], b: Sequence[Any]) -> Bounds:
    return (a[0] == b[1]) & (a[1] == b[0]), (a[0] <= b[1]) & (b[0] <= a[1])


def _not(a: Sequence[Any]) -> Bounds:
    return 1 - a[1].astype(np.int64), 1 - a[0].astype(np.int64)


def _select(which: Sequence[Any], *cases: Sequence[Any]) -> Bounds:
    possible = [(which[0] <= i) & (i <= which[1]) for i in range(len(cases))]
    lows = [np.where(p, case[0], FAR) for p, case in zip(possible, cases, strict=True)]
    highs = [np.where(p, case[1], -FAR) for p, case in zip(possible, cases, strict=True)]
    return functools.reduce(np.minimum, lows), functools.reduce(np.maximum, highs)


MONOTONE = (
    *("add", "max", "min", "clamp", "copy", "reduce_max", "reduce_min"),
    *("broadcast_in_dim", "reshape", "squeeze", "transpose", "concatenate", "slice", "split", "stack", "rev"),
)

BOUNDS: Mapping[str, Rule] = {
    **dict.fromkeys(MONOTONE, _monotone),
    "sub": _of_ends(lambda a, b: (a[0] - b[1], a[1] - b[0])),
    "mul": _of_ends(_mul),
    "div": _of_ends(_div),
    "rem": _of_ends(_rem),
    "lt": _of_ends(_less),
    "gt": _of_ends(lambda a, b: _less(b, a)),
    "le": _of_ends(_at_most),
    "ge": _of_ends(lambda a, b: _at_most(b, a)),
    "eq": _of_ends(_equal),
    "ne": _of_ends(lambda a, b: _not(_equal(a, b))),
    "not": _of_truth(_not),
    "and": _of_truth(lambda a, b: (a[0] & b[0], a[1] & b[1])),
    "or": _of_truth(lambda a, b: (a[0] | b[0], a[1] | b[1])),
    "convert_element_type": _convert,
    "select_n": _of_ends(_select),
}
