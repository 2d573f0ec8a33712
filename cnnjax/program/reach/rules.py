"""The rules of the primitives: what results read along one image axis, given what the operands do.

A rule takes the call and the reach of each operand, None where nothing is read; it returns the reach of the result, or
a list with one for each. This file holds those that keep elements apart or put them elsewhere.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cnnjax.program.reach.indexing import INDEXING, SCATTERS
from cnnjax.program.reach.known import Call
from cnnjax.program.reach.merge import concatenate, union
from cnnjax.program.reach.reach import Reach
from cnnjax.program.reach.sums import SUMS
from cnnjax.program.reach.window import Window

Operands = Sequence[Reach | None]
Rule = Callable[[Call, Operands], Reach | list[Reach | None]]


def _elementwise(call: Call, operands: Operands) -> Reach:
    """Elements made of those with the same index; a scalar, or a single index, goes with all of them."""
    shape = call.shape

    def expanded(x: Reach) -> Reach:
        return x if x.shape == shape else x.arrange(range(len(shape)) if x.axes else [None] * len(shape), shape)

    return union([x and expanded(x) for x in operands])


def _mul(call: Call, operands: Operands) -> Reach:
    for x, other in zip(operands, call.inputs[::-1], strict=True):
        if x is not None and other.positional and other.shape == x.shape:
            return x.mask(_distinct(other.value != 0))
    return _elementwise(call, operands)


def _select(call: Call, operands: Operands) -> Reach:
    which, cases = call.inputs[0], operands[1:]
    if not which.positional or which.shape != call.shape:
        return _elementwise(call, operands)
    return union([None if x is None else x.mask(_distinct(which.value == i)) for i, x in enumerate(cases)])


def _distinct(keep: np.ndarray) -> np.ndarray:
    """The mask with size 1 on the axes along which nothing changes."""
    for axis in range(keep.ndim):
        first = keep.take([0], axis)
        keep = first if (keep == first).all() else keep
    return keep


def _of_one(change: Callable[[Reach, Call], Reach]) -> Rule:
    """The rule of a primitive with one array and one result."""

    def rule(call: Call, operands: Operands) -> Reach:
        (x,) = operands
        assert x is not None
        return change(x, call)

    return rule


def _broadcast(x: Reach, call: Call) -> Reach:
    shape, placed = call.params["shape"], call.params["broadcast_dimensions"]
    return x.arrange([placed.index(a) if a in placed else None for a in range(len(shape))], shape)


def _squeeze(x: Reach, call: Call) -> Reach:
    kept = [a for a in range(len(x.axes)) if a not in call.params["dimensions"]]
    return x.arrange(kept, call.shape)


def _reverse(x: Reach, call: Call) -> Reach:
    for axis in call.params["dimensions"]:
        n = x.shape[axis]
        x = x.read(axis, Window.affine(n, n, stride=-1, start=n - 1))
    return x


def _slice(x: Reach, call: Call) -> Reach:
    starts, shape = call.params["start_indices"], call.shape
    strides = call.params["strides"] or (1,) * len(shape)
    for axis, (n, size, start, stride) in enumerate(zip(x.shape, shape, starts, strides, strict=True)):
        if size != n:
            x = x.read(axis, Window.affine(n, size, stride=stride, start=start))
    return x


def _pad(call: Call, operands: Operands) -> Reach:
    x, value = operands
    shape = call.shape
    filled = None if value is None else value.arrange([None] * len(shape), shape)
    if x is None:
        return union([filled])
    for axis, (size, (low, high, inside)) in enumerate(zip(shape, call.params["padding_config"], strict=True)):
        if (low, high, inside) != (0, 0, 0):
            x = x.read(axis, Window.affine(x.shape[axis], size, start=-low, base=inside + 1))
    return union([x, filled])


def _concatenate(call: Call, operands: Operands) -> Reach:
    axis = call.params["dimension"]
    return concatenate(operands, [k.shape[axis] for k in call.inputs], axis)


def _stack(call: Call, operands: Operands) -> Reach:
    axis = call.params["axis"]
    return concatenate([x and x.regroup(axis, axis, (1,)) for x in operands], [1] * len(operands), axis)


def _split(call: Call, operands: Operands) -> list[Reach | None]:
    (x,), axis = operands, call.params["axis"]
    assert x is not None
    results, start = [], 0
    for size in call.params["sizes"]:
        results.append(x.read(axis, Window.affine(x.shape[axis], size, start=start)))
        start += size
    return results


def _unstack(call: Call, operands: Operands) -> list[Reach | None]:
    (x,), axis = operands, call.params["axis"]
    assert x is not None
    kept = [a for a in range(len(x.axes)) if a != axis]
    parts = [x.read(axis, Window.affine(x.shape[axis], 1, start=i)) for i in range(len(call.avals))]
    return [part.arrange(kept, v.shape) for part, v in zip(parts, call.avals, strict=True)]


def _tile(x: Reach, call: Call) -> Reach:
    for axis, times in enumerate(call.params["reps"]):
        x = concatenate([x] * times, [x.shape[axis]] * times, axis)
    return x


def _new_map(rule: Rule) -> Rule:
    """The rule of a primitive whose result is another map than its operand, one that a branch may bring."""

    def remade(call: Call, operands: Operands) -> Reach | list[Reach | None]:
        result = rule(call, operands)
        results = result if isinstance(result, list) else [result]
        new = [x and dataclasses.replace(x, origin=object()) for x in results]
        return new if isinstance(result, list) else union(new)

    return remade


def _each(call: Call, operands: Operands) -> list[Reach | None]:
    return list(operands)


ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz complex conj
    convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt igamma igamma_grad_a
    igammac imag integer_pow is_finite layout_constraint le lgamma log log1p logistic lt max min mulhi name ne neg
    nextafter not or polygamma population_count pow pvary real reduce_precision regularized_incomplete_beta rem reshard
    round rsqrt sharding_constraint shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square
    stop_gradient sub tan tanh xor zeta
"""

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE.split(), _elementwise),
    "optimization_barrier": _each,
    "device_put": _each,
    "mul": _mul,
    "select_n": _select,
    "broadcast_in_dim": _of_one(_broadcast),
    "reshape": _of_one(lambda x, call: x.reshape(call.shape)),
    "transpose": _of_one(lambda x, call: x.arrange(call.params["permutation"], call.shape)),
    "squeeze": _of_one(_squeeze),
    "rev": _of_one(_reverse),
    "slice": _of_one(_slice),
    "tile": _of_one(_tile),
    "pad": _pad,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "unstack": _unstack,
    **{name: _new_map(rule) for name, rule in SUMS.items()},
    **INDEXING,
}

SELECTORS: Mapping[str, slice] = {
    "select_n": slice(0, 1),
    "gather": slice(1, 2),
    "dynamic_slice": slice(1, None),
    "dynamic_update_slice": slice(2, None),
    **{name: slice(1, 2) for name in SCATTERS},
}
"""The operands that say which elements are read, and are not read themselves."""
