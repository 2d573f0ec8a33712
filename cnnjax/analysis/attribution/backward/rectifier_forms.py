"""How rectifiers and other activations look in a traced program, and what only looks like a rectifier."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import JaxprEqn

from cnnjax.errors import InputError
from cnnjax.program.equations import LOOPS, Equation, Equations
from cnnjax.program.primitives import is_known
from cnnjax.program.walk import programs

ACTIVATIONS = frozenset(
    [
        *("celu", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu"),
        *("log_sigmoid", "mish", "relu6", "selu", "silu", "soft_sign", "softplus", "sparse_plus", "sparse_sigmoid"),
        *("squareplus", "swish"),
    ]
)
"""Functions of `jax.nn` that are no rectifiers, some of them made of one."""
CURVES = frozenset(["abs", "clamp", "cos", "erf", "erfc", "logistic", "sin", "tanh"])
"""Primitives that are an activation by themselves, or the heart of one."""
SAME = frozenset(["broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "stop_gradient"])
"""Primitives that hand numbers on."""


def classified(graph: Equations) -> Iterator[tuple[Equation, str, str, int]]:
    """Each activation: its equation, its kind, how it is written and which operand it is a function of."""
    for equation in graph.list:
        if equation.kind in ("enter", "leave") or graph.dependent.isdisjoint(equation.makes):
            continue
        if not jnp.issubdtype(array_of(equation).dtype, jnp.floating):
            continue
        form = _form(graph, equation)
        if form is not None:
            yield equation, _kind(graph, equation, form[1]), *form
        elif is_activation(equation.eqn):
            yield equation, "others", equation.eqn.params["name"], 0
        elif equation.kind in CURVES or _leaks(graph, equation):
            yield equation, "others", equation.kind.replace("select_n", "where"), 0
        else:
            _check_inside(equation)
            if not is_known(equation.eqn):
                # Whatever it does, it may be an activation.
                yield equation, "others", equation.kind, 0


def is_activation(eqn: JaxprEqn) -> bool:
    """Whether an equation calls a function of `jax.nn` that is an activation but no rectifier."""
    return eqn.params.get("name") in ACTIVATIONS


def _form(graph: Equations, equation: Equation) -> tuple[str, int] | None:
    """How an equation spells max(x, 0), and which operand is x."""
    reads = equation.reads
    if equation.kind == "max":
        spelt = [("max", i) for i in (0, 1) if _is_zero(graph, reads[1 - i])]
    elif equation.kind == "select_n" and len(reads) == 3:
        spelt = [
            ("where", i) for i, other in ((1, 2), (2, 1)) if _keeps(graph, reads, i) and _is_zero(graph, reads[other])
        ]
    elif equation.kind == "mul":
        spelt = [("mask", i) for i in (0, 1) if _sign(graph, _origin(graph, reads[1 - i])) == (reads[i], True)]
    else:
        spelt = []
    return next(((form, operand) for form, operand in spelt if reads[operand] in graph.dependent), None)


def _keeps(graph: Equations, reads: list[int], case: int) -> bool:
    """Whether a choice between two arrays takes the one at `case` where that is positive."""
    return _sign(graph, reads[0]) == (reads[case], case == 2)


def _sign(graph: Equations, condition: int) -> tuple[int, bool] | None:
    """The array whose sign a condition is about, and whether it holds where that is positive."""
    made = graph.made_by.get(condition)
    if made is not None and made.kind in ("gt", "ge", "lt", "le"):
        greater = made.kind in ("gt", "ge")
        for x, bound, positive in ((0, 1, greater), (1, 0, not greater)):
            if _is_zero(graph, made.reads[bound]):
                return made.reads[x], positive
    return None


def _leaks(graph: Equations, equation: Equation) -> bool:
    """Whether an equation keeps what is positive, and lets something of the rest through."""
    reads = equation.reads
    if equation.kind == "select_n" and len(reads) == 3:
        return any(_keeps(graph, reads, case) for case in (1, 2))
    makers = [graph.made_by.get(array) for array in reads]
    return equation.kind == "max" and any(
        maker is not None and maker.kind == "mul" and x in maker.reads
        for maker, x in zip(makers, reversed(reads), strict=True)
    )


def _kind(graph: Equations, equation: Equation, operand: int) -> str:
    (y,), x = equation.makes, equation.reads[operand]
    if _only_divides(graph, y):
        return "guards"
    readers, maker = graph.read_by.get(y, []), graph.made_by.get(x)
    clipped = bool(readers) and all(_is_min(graph, reader) for reader in readers)
    leaky = any(_is_min(graph, reader, zero=True) for reader in graph.read_by[x])
    return "others" if clipped or leaky or (maker is not None and _is_min(graph, maker)) else "found"


def _is_min(graph: Equations, equation: Equation, *, zero: bool = False) -> bool:
    """Whether an equation is the minimum with a number that the arguments have no part in."""
    bounds = [array for array in equation.reads if array not in graph.dependent]
    return equation.kind == "min" and bool(bounds) and (not zero or _is_zero(graph, bounds[0]))


def _only_divides(graph: Equations, array: int) -> bool:
    """Whether an array is divided by, itself or its root, after sums and products, and has no other use.

    Such a number may also be returned, after sums and products, as running statistics are.
    """
    divides, pending, seen = False, [array], {array}
    while pending:
        array = pending.pop()
        for reader in graph.read_by.get(array, []):
            if reader.kind == "rsqrt" or (reader.kind == "div" and reader.reads[0] != array):
                divides = True
            elif reader.kind in (*SAME, "add", "mul", "sqrt", "leave") and reader.eqn.primitive.name not in LOOPS:
                pending += (made for made in reader.makes if made not in seen)
                seen.update(reader.makes)
            else:
                return False
    return divides


def _is_zero(graph: Equations, array: int) -> bool:
    array = _origin(graph, array)
    value = graph.constants.get(array)
    if value is None or isinstance(value, Tracer) or not jnp.issubdtype(value.dtype, jnp.number):
        return False
    return not np.any(np.asarray(value))


def _origin(graph: Equations, array: int) -> int:
    """The array that this one has its numbers from."""
    while (maker := graph.made_by.get(array)) is not None and maker.kind in SAME:
        (array,) = maker.reads
    return array


def _check_inside(equation: Equation) -> None:
    for program in programs(equation.eqn):
        inside = Equations(program, whole=is_activation)
        if any(kind == "found" for _, kind, _, _ in classified(inside)):
            raise InputError(
                f"a rectifier inside {equation.kind} cannot be given another derivative: call the function without it"
            )


def array_of(equation: Equation) -> Any:
    """The first result of an equation, its shape and dtype."""
    return equation.eqn.outvars[0].aval
