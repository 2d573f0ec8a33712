"""Where a function rectifies: max(x, 0) in its several spellings, and what only looks like it."""

import dataclasses
import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr

from cnnjax.analysis.attribution.backward.rectifier_forms import array_of, classified, is_activation
from cnnjax.door import checked
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.equations import Equation, Equations, Place
from cnnjax.program.names import named
from cnnjax.program.tracing import program_of


@dataclasses.dataclass(frozen=True)
class Nonlinearity:
    """One activation function in the program of a function."""

    form: str
    """How it is written: "max", "where" or "mask" of a rectifier; of others, the name of the function or primitive."""
    layer: str | None
    """The first activation, of those that the function returns, that it has a part in."""
    scope: str
    """The names that it was traced under, as modules of Flax name themselves: "AllConv/stage1_conv1/..."."""
    line: str
    """File, line and function in which it was called."""
    shape: tuple[int, ...]
    dtype: Any


@dataclasses.dataclass(frozen=True)
class Rectifiers:
    """The activation functions of a function of arrays, each in the order of computation.

    One in the body of a loop counts once, whatever the number of rounds; one in a function that is called twice, twice.
    """

    found: tuple[Nonlinearity, ...]
    """Rectifiers."""
    others: tuple[Nonlinearity, ...]
    """Other activations, those that contain a rectifier among them (`relu6`, `celu`); and operations that are not
    known or cannot be looked into, as kernels and callbacks, for they may be one."""
    guards: tuple[Nonlinearity, ...]
    """Rectified numbers that are only divided by, as the variance of a normalisation, which rounding may make < 0."""


@checked()
def rectifiers(f: Callable[..., Any], *args: Any) -> Rectifiers:
    """The rectifiers of the function `f`, and its other activations, read off its jaxpr; f is traced, not run.

    A rectifier is `max(x, 0)` of floating-point numbers that the arguments have a part in, written as `jax.nn.relu(x)`,
    `maximum(x, 0)`, `where(x > 0, x, 0)` or `x * (x > 0)`, with either order and any comparison, in `jit`,
    `checkpoint`, functions with derivatives of their own, branches and loops. Not found: `(x + |x|) / 2`, of which
    `abs` is named among the others. The maxima inside max pooling are none, nor are weights such as resizing's.

    `args` may be `jax.ShapeDtypeStruct`s.
    """
    program, result = program_of(f, *args)
    return located(program, result).report


class Located(NamedTuple):
    """Where the rectifiers of a program stand, and which of their operands is rectified."""

    operands: dict[Place, int]
    report: Rectifiers


def located(program: ClosedJaxpr, result: Any) -> Located:
    """The rectifiers of a program with this result, a tree of shapes.

    Raises InputError where one stands in a program that is not looked into.
    """
    graph = Equations(program, whole=is_activation)
    names = named(result, flow := Dataflow(program))
    layers = {array: names[value][0] for array, value in zip(graph.results, flow.results, strict=True)}
    operands: dict[Place, int] = {}
    kinds: dict[str, list[Nonlinearity]] = {"found": [], "others": [], "guards": []}
    for equation, kind, form, operand in classified(graph):
        kinds[kind].append(_described(graph, layers, equation, form))
        if kind == "found":
            operands[equation.place] = operand
    return Located(operands, Rectifiers(**{kind: tuple(found) for kind, found in kinds.items()}))


def _described(graph: Equations, layers: dict[int, str], equation: Equation, form: str) -> Nonlinearity:
    array = array_of(equation)
    infos = [eqn.source_info for eqn in (*equation.within, equation.eqn)]
    # Inside JAX's own functions a line of the caller's program is known only to the call.
    lines = filter(None, map(source_info_util.summarize, reversed(infos)))
    return Nonlinearity(
        form,
        _first_layer(graph, layers, equation.makes[0]),
        "/".join(filter(None, (str(info.name_stack) for info in infos))),
        next(lines, ""),
        array.shape,
        array.dtype,
    )


def _first_layer(graph: Equations, layers: dict[int, str], array: int) -> str | None:
    pending, seen = [(graph.position[array], array)], {array}
    while pending:
        _, array = heapq.heappop(pending)
        if array in layers:
            return layers[array]
        made = {a for reader in graph.read_by.get(array, []) for a in reader.makes} - seen
        seen |= made
        for a in made:
            heapq.heappush(pending, (graph.position[a], a))
    return None
