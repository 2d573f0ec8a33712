"""Following a program equation by equation: what each array reads of the images."""

import functools
from collections.abc import Callable, Sequence

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.reach.control import CONTROL, Follow
from cnnjax.program.reach.known import Call, Known
from cnnjax.program.reach.reach import Reach
from cnnjax.program.reach.rules import RULES, SELECTORS
from cnnjax.program.reach.value import Value, flagged
from cnnjax.program.walk import opened, walk


@checked()
def follow(
    program: Jaxpr | ClosedJaxpr, args: Sequence[Value], *, see: Callable[[Value], object] = lambda value: None
) -> list[Value]:
    """What the results of a program read, given what its operands do; `see` is shown each array on the way."""
    wanted = len(opened(program)[0].invars)
    if len(args) != wanted:
        raise InputError(f"args are {len(args)}, but the program has {wanted} operands: give one for each")

    def step(position: int, eqn: JaxprEqn, values: list[Value]) -> list[Value]:
        results = _apply(eqn, values, functools.partial(follow, see=see))
        for value in results:
            see(value)
        return results

    return walk(program, args, step, constant=Value.constant)


def _apply(eqn: JaxprEqn, values: list[Value], follow: Follow) -> list[Value]:
    name = eqn.primitive.name
    call = Call(eqn, [value.known for value in values])
    known = call.outputs()
    if not any(value.reaches for value in values):
        return [Value(k) for k in known]
    if name in CONTROL:
        return CONTROL[name](follow, eqn, values)
    if name not in RULES:
        return _everything(name, known, values)
    selectors = range(len(values))[SELECTORS.get(name, slice(0))]
    selecting = []
    if any(value.reaches for i, value in enumerate(values) if i not in selectors):
        # What is read counts, not what decides where: derivatives see it the same way.
        selecting = [values[i] for i in selectors]
        values = [Value(value.known) if i in selectors else value for i, value in enumerate(values)]
    reading = [value for value in values if value.reaches]
    by_axis = []
    for axis in range(len(reading[0].reaches)):
        reaches = [value.reaches[axis] if value.reaches else None for value in values]
        result = RULES[name](call, reaches)
        by_axis.append(result if isinstance(result, list) else [result] * len(known))
    results = [Value(k, () if of[0] is None else of) for k, of in zip(known, zip(*by_axis, strict=True), strict=True)]
    return [flagged(result, [*reading, *selecting], selecting) for result in results]


def _everything(name: str, results: Sequence[Known], values: Sequence[Value]) -> list[Value]:
    """The results of a primitive without a rule: they read everything, for all that is known."""
    extents = [reach.extent for reach in next(value.reaches for value in values if value.reaches)]
    unfollowed = frozenset([name]).union(*(value.unfollowed for value in values))
    return [Value(r, tuple(Reach.everywhere(r.shape, n) for n in extents), unfollowed) for r in results]
