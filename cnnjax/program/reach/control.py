"""Control flow and nested functions: every branch, every round, as far as they are known."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from cnnjax.program.calls import CALLS
from cnnjax.program.reach.known import Call, Known
from cnnjax.program.reach.merge import concatenate
from cnnjax.program.reach.reach import Reach
from cnnjax.program.reach.value import Value, flagged, join
from cnnjax.program.reach.window import Window
from cnnjax.program.walk import called

Follow = Callable[[Any, Sequence[Value]], list[Value]]
"""What the results of a program read, given what its operands do."""


def _inline(follow: Follow, eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    return follow(called(eqn), values)


def _cond(follow: Follow, eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    which, *args = values
    branches = eqn.params["branches"]
    low, high = (min(max(int(end), 0), len(branches) - 1) for end in which.known.bounds)
    taken = branches[low : high + 1]
    results = [join(of) for of in zip(*(follow(branch, args) for branch in taken), strict=True)]
    if not which.reaches or len(taken) == 1:
        return results
    results = [r if r.reaches else Value(r.known, _spread(which, r.known.shape)) for r in results]
    return [flagged(r, [r, which], [which]) for r in results]


def _spread(scalar: Value, shape: tuple[int, ...]) -> tuple[Reach, ...]:
    return tuple(reach.arrange([None] * len(shape), shape) for reach in scalar.reaches)


def _while(follow: Follow, eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    """Any number of rounds: more of them are followed until nothing new is read."""
    n_cond, n_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    cond_consts, body_consts, carry = values[:n_cond], values[n_cond : n_cond + n_body], values[n_cond + n_body :]
    while True:
        # Joined with itself, a value is no longer known: it changes from round to round.
        results = follow(eqn.params["body_jaxpr"], [*body_consts, *(join([c, c]) for c in carry)])
        joined = [_widened(c, join([c, r])) for c, r in zip(carry, results, strict=True)]
        if all(map(_same, carry, joined)):
            break
        carry = joined
    (going,) = follow(eqn.params["cond_jaxpr"], [*cond_consts, *carry])
    carry = [dataclasses.replace(c, unfollowed=c.unfollowed | {"while"}) if c.reaches else c for c in carry]
    return [flagged(c, [c, going], [going]) if going.reaches else c for c in carry]


def _widened(before: Value, after: Value) -> Value:
    """A rule that still grows will not settle: only the sets decide."""
    if not before.reaches or all(a.ends == b.ends for a, b in zip(before.reaches, after.reaches, strict=True)):
        return after
    return dataclasses.replace(after, reaches=tuple(reach.without_rule() for reach in after.reaches))


def _same(a: Value, b: Value) -> bool:
    """Whether two rounds read the same."""
    if len(a.reaches) != len(b.reaches) or (a.unfollowed, a.selected) != (b.unfollowed, b.selected):
        return False
    return all(
        x.axes == y.axes and x.ends == y.ends and np.array_equal(x.sets, y.sets)
        for x, y in zip(a.reaches, b.reaches, strict=True)
    )


def _scan(follow: Follow, eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    """Every round in its turn, with its own slices; once a round changes nothing, the rest are like it."""
    body, length = eqn.params["jaxpr"], eqn.params["length"]
    # Operands that are cut into slices, and results that are put together from them, have an axis more than the body's.
    # How the rest is told apart has changed between versions of JAX.
    n_carry = sum(len(shape) == len(inner) for shape, inner in _shapes(eqn.outvars, body.out_avals))
    n_slices = sum(len(shape) > len(inner) for shape, inner in _shapes(eqn.invars, body.in_avals))
    n_consts = len(values) - n_carry - n_slices
    consts, carry, xs = values[:n_consts], values[n_consts : n_consts + n_carry], values[n_consts + n_carry :]
    alike = not any(_counted(x.known) or any(reach.varies(0) for reach in x.reaches) for x in xs)
    rounds: list[list[Value]] = []
    steps = range(length)[:: -1 if eqn.params["reverse"] else 1]
    for step in steps:
        results = follow(body, [*consts, *carry, *(_slice(x, step) for x in xs)])
        before, carry = carry, [_settled(result) for result in results[:n_carry]]
        rounds.append(results[n_carry:])
        # Integers may count the rounds, and choose another slice in each.
        if alike and not any(c.known.integral for c in carry) and all(map(_same, before, carry)):
            break
    rounds += rounds[-1:] * (length - len(rounds))
    known = Call(eqn, [value.known for value in values]).outputs()[n_carry:]
    ys = zip(*(rounds if steps.step > 0 else rounds[::-1]), strict=True)
    return [*carry, *(_stack(k, parts) for k, parts in zip(known, ys, strict=True))]


def _shapes(outer: Sequence[Any], inner: Sequence[Any]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(v.aval.shape, aval.shape) for v, aval in zip(outer, inner, strict=True)]


def _counted(known: Known) -> bool:
    """Whether it is a number of the program's own, such as a counter of rounds."""
    return known.integral and known.determined


def _settled(value: Value) -> Value:
    """The value with a counter, or the bounds of one, worked out: so the chain of rounds is not walked again."""
    if not value.known.integral:
        return value
    if value.known.determined:
        return Value.constant(value.known.value)
    known = Known(value.known.shape, value.known.dtype, value.known.origins)
    known.bounds = value.known.bounds
    return dataclasses.replace(value, known=known)


def _slice(x: Value, step: int) -> Value:
    shape = x.known.shape
    known = Known(shape[1:], x.known.dtype, x.known.origins)
    if _counted(x.known):
        known = Known.constant(x.known.value[step])
    window = Window.affine(shape[0], 1, start=step)
    return x.map(lambda reach: reach.read(0, window).arrange(range(1, len(shape)), shape[1:]), known)


def _stack(known: Known, parts: Sequence[Value]) -> Value:
    reading = [part for part in parts if part.reaches]
    if not reading:
        return Value(known)
    reaches = []
    for axis in range(len(reading[0].reaches)):
        pieces = [part.reaches[axis].regroup(0, 0, (1,)) if part.reaches else None for part in parts]
        reaches.append(concatenate(pieces, [1] * len(pieces), 0))
    return flagged(Value(known, tuple(reaches)), reading, ())


CONTROL: Mapping[str, Callable[[Follow, JaxprEqn, list[Value]], list[Value]]] = {
    **dict.fromkeys(CALLS, _inline),
    "cond": _cond,
    "while": _while,
    "scan": _scan,
}
