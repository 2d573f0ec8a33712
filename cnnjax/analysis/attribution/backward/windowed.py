"""The way back from single units, through only the windows that each of them reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jax.tree_util import Partial
from jaxtyping import Array

from cnnjax.analysis.attribution.backward.rectifier_forms import array_of, is_activation
from cnnjax.analysis.attribution.backward.rectifiers import located
from cnnjax.analysis.attribution.backward.relu_rules import Others, Rule, check_report, sent_back
from cnnjax.ops.windows import Slide, first_maximum
from cnnjax.program import window_rules as rules
from cnnjax.program.equations import Equation, Equations, Place
from cnnjax.program.evaluate import run
from cnnjax.program.tracing import program_of
from cnnjax.program.walk import Program, equations, programs
from cnnjax.program.windows import Axis, Signal, Space, Units, cut, fitted, spread, summed

NHWC_HWIO = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
"""The dimension numbers of convolutions of maps (batch, height, width, channels)."""
HANDED_ON = ("add", "sub", "copy", "convert_element_type", "neg")
MAPPED = ("conv_general_dilated", "concatenate", "pad", "slice", "reduce_window_max")
"""Primitives whose operands have another shape than their result."""


class Step(NamedTuple):
    """One equation backwards: from the signal at an array to that at another, by a rule."""

    rule: Callable[..., Signal]
    source: int
    into: int
    space: Space
    """Height and width of the map that the signal goes to."""
    residuals: tuple[int, ...] = ()
    """What the rule needs, by position among the residuals."""
    options: tuple[Any, ...] = ()


class Way(NamedTuple):
    """The steps from units of one map to the image; the same object for images alike, so that it is compiled once."""

    steps: tuple[Step, ...]
    target: int
    channels: int
    image: int
    space: Space

    def __call__(self, residuals: Sequence[Array], index: Array, values: Array) -> Array:
        """The pictures of units at `index` (units, 3), which hold these values."""
        at = index[:, 0], index[:, 1]
        seed = jnp.where(index[:, 2:] == jnp.arange(self.channels)[None], values[:, None], jnp.zeros((), values.dtype))
        signals = {self.target: Signal(seed[:, None, None], (Axis(1, 1, 0), Axis(1, 1, 0)))}
        for step in self.steps:
            signal = step.rule(signals[step.source], at, *(residuals[i] for i in step.residuals), *step.options)
            signal = fitted(signal, at, step.space)
            before = signals.get(step.into)
            signals[step.into] = signal if before is None else summed(before, signal, at, step.space)
        picture = signals[self.image]
        for axis in (0, 1):
            picture = spread(picture, at, axis, self.space[axis])
        return picture.values


def windowed(
    f: Callable[[Array], Any], images: Array, position: int, rule: Rule, others: Others
) -> tuple[Array, Partial] | None:
    """The activation at that position of f's result, and the way back from single units of it: `way(index, values)`.

    The way gives what the vector-Jacobian product of `with_relu_rule(f, rule)` gives, but computes at every map the
    window that the unit reads, which towards the units is a small part of it. None where f has on the way what is no
    convolution, rectifier, max pool, sum or product with numbers that the image has no part in, and where it calls a
    function with another derivative than its program's.

    Raises InputError as `with_relu_rule` does.
    """
    program, result = program_of(f, images)
    operands, report = located(program, result)
    check_report(report, rule, others)
    graph = Equations(program, whole=is_activation)
    target = graph.results[position]
    if images.ndim != 4 or any(equation.kind in ("enter", "leave") for equation in graph.list):
        return None
    if _has_own_derivative(program, operands):
        return None
    values = _evaluated(program, graph, images)
    if values[target].ndim != 4 or target not in graph.made_by:
        return None
    steps: list[Step] = []
    residuals: list[Array] = []
    reached = {target}
    for equation in reversed(graph.list):
        if reached.isdisjoint(equation.makes):
            continue
        rectified = operands.get(equation.place)
        found: list[Step] | None
        if equation.kind == "split":
            found = _split_steps(equation, values, reached)
        else:
            found = _steps(graph, equation, rectified, rule, values, residuals)
        if found is None:
            return None
        steps += found
        reached.update(step.into for step in found)
    (image,) = graph.inputs
    if image not in reached:
        return None
    height, width = images.shape[1:3]
    way = Way(tuple(steps), target, values[target].shape[-1], image, (height, width))
    return values[target], Partial(way, tuple(residuals))


def _has_own_derivative(program: Program, operands: Mapping[Place, int], place: Place = ()) -> bool:
    """Whether a function with a derivative of its own is called, one that is neither a rectifier's nor a pool's."""
    for position, eqn in enumerate(equations(program)):
        here = (*place, position)
        inside = programs(eqn)
        if eqn.primitive.name.startswith("custom") and not any(other[: len(here)] == here for other in operands):
            if [[inner.primitive.name for inner in equations(one)] for one in inside] != [["reduce_window_max"]]:
                return True
        elif any(_has_own_derivative(one, operands, (*here, number)) for number, one in enumerate(inside)):
            return True
    return False


def _evaluated(program: ClosedJaxpr, graph: Equations, images: Array) -> dict[int, Any]:
    """The value of every array of a program without loops."""
    values: dict[int, Any] = {**graph.constants, graph.inputs[0]: images}
    for equation in graph.list:
        results = run(program.jaxpr, equation.eqn, [values[array] for array in equation.reads])
        values.update(zip(equation.makes, results, strict=True))
    return values


def _steps(
    graph: Equations,
    equation: Equation,
    rectified: int | None,
    rule: Rule,
    values: dict[int, Any],
    residuals: list[Array],
) -> list[Step] | None:
    """The steps from an equation's result to those of its operands that the image has a part in."""
    (made,), reads, kind, params = equation.makes, equation.reads, equation.kind, equation.eqn.params
    shape = array_of(equation).shape
    if len(shape) != 4 or not jnp.issubdtype(array_of(equation).dtype, jnp.floating):
        return None

    def kept(arrays: Sequence[Any]) -> tuple[int, ...]:
        residuals.extend(map(jnp.asarray, arrays))
        return tuple(range(len(residuals) - len(arrays), len(residuals)))

    def step(rule: Callable[..., Signal], into: int, *arrays: Any, options: tuple[Any, ...] = ()) -> Step:
        return Step(rule, made, into, values[into].shape[1:3], kept(arrays), options)

    if rectified is not None:
        if values[reads[rectified]].shape != shape:
            return None
        mask = () if rule == "deconvnet" else (values[made] > 0,)
        return [step(_rectify, reads[rectified], *mask, options=(rule,) if mask else (None, rule))]
    dependent = [i for i, array in enumerate(reads) if array in graph.dependent]
    if kind == "concatenate" and params["dimension"] != 3:
        return None
    if any(values[reads[i]].shape != shape for i in dependent) and kind not in MAPPED:
        return None
    if kind in HANDED_ON:
        signs = [-1 if kind == "neg" or (kind == "sub" and i == 1) else 1 for i in dependent]
        return [
            step(rules.hand_on, reads[i], options=(sign, values[reads[i]].dtype))
            for i, sign in zip(dependent, signs, strict=True)
        ]
    if kind in ("mul", "div") and dependent in ([0], [1][: kind == "mul"]):
        other = jnp.asarray(values[reads[1 - dependent[0]]])
        factor = 1 / other if kind == "div" else other
        return [step(rules.scale, reads[dependent[0]], factor.reshape((1,) * (4 - factor.ndim) + factor.shape))]
    if kind == "conv_general_dilated" and dependent == [0]:
        if tuple(params["dimension_numbers"]) != NHWC_HWIO or params["lhs_dilation"] != (1, 1):
            return None
        if params["batch_group_count"] != 1:
            return None
        before = tuple(low for low, _ in params["padding"])
        options = params["window_strides"], before, params["rhs_dilation"], params["feature_group_count"]
        return [step(rules.conv, reads[0], values[reads[1]], options=options)]
    if kind == "pad" and dependent == [0]:
        low, _, between = zip(*(map(int, edges) for edges in params["padding_config"]), strict=True)
        # What is padded with has no part in the signal; cropping would lose a part of the map.
        if any(map(any, (*params["padding_config"][:1], between))) or min(low) < 0:
            return None
        return [step(rules.unpad, reads[0], options=(low[1:3], low[3], values[reads[0]].shape[3]))]
    if kind == "slice":
        first, strides = (tuple(map(int, of)) for of in (params["start_indices"], params["strides"] or (1, 1, 1, 1)))
        if strides[0] != 1 or strides[3] != 1 or shape[0] != values[reads[0]].shape[0]:
            return None
        options = first[1:3], strides[1:3], first[3], values[reads[0]].shape[3]
        return [step(rules.unslice, reads[0], options=options)]
    if kind == "concatenate":
        ends = np.cumsum([values[array].shape[3] for array in reads]).tolist()
        parts = [(ends[i] - values[reads[i]].shape[3], ends[i]) for i in dependent]
        return [step(rules.take, reads[i], options=part) for i, part in zip(dependent, parts, strict=True)]
    if kind == "reduce_window_max":
        return _pool_steps(equation, values[reads[0]], made, residuals)
    return None


def _rectify(signal: Signal, at: Units, mask: Array | None, rule: Rule) -> Signal:
    """Through a rectifier."""
    active = None if mask is None else cut(mask, signal.axes, at)
    return signal._replace(values=sent_back(rule, active, signal.values))


def _split_steps(equation: Equation, values: dict[int, Any], reached: set[int]) -> list[Step] | None:
    """From parts of the channels, as grouped convolutions read them, to all."""
    (whole,), shape = equation.reads, values[equation.reads[0]].shape
    if len(shape) != 4 or equation.eqn.params["axis"] != 3:
        return None
    ends = np.cumsum([values[array].shape[3] for array in equation.makes]).tolist()
    return [
        Step(rules.put, array, whole, shape[1:3], (), (end - values[array].shape[3], shape[3]))
        for array, end in zip(equation.makes, ends, strict=True)
        if array in reached
    ]


def _pool_steps(equation: Equation, x: Array, made: int, residuals: list[Array]) -> list[Step] | None:
    """Max pooling along the last axis and then along the one before: unpooling the other way round."""
    params = equation.eqn.params
    windows, strides, padding = (params[n] for n in ("window_dimensions", "window_strides", "padding"))
    if {*params["base_dilation"], *params["window_dilation"], windows[0], windows[3]} != {1}:
        return None
    if strides[0] != 1 or strides[3] != 1 or any((*padding[0], *padding[3])):
        return None
    steps = []
    pooled = [axis for axis in (2, 1) if windows[axis] > 1 or strides[axis] > 1 or any(padding[axis])]
    arrays = [equation.reads[0], *(-1 - 2 * made - i for i in range(len(pooled) - 1)), made]
    for axis, into, source in zip(pooled, arrays, arrays[1:], strict=False):
        size, pair = windows[axis], tuple(padding[axis])
        space = x.shape[1], x.shape[2]
        x, place = first_maximum(x, Slide(axis, size, strides[axis], pair))
        residuals.append(place)
        steps.append(
            Step(rules.unpool, source, into, space, (len(residuals) - 1,), (axis, size, strides[axis], pair[0]))
        )
    return steps[::-1] if steps else None
