"""The way back from single units, through the windows alone that each of them reads."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr
from jax.tree_util import Partial
from jaxtyping import Array

from cnnjax.analysis.equations import Equation, Equations
from cnnjax.analysis.evaluate import run
from cnnjax.analysis.rectifier_forms import array_of, is_activation
from cnnjax.analysis.rectifiers import located
from cnnjax.analysis.relu_rules import Others, Rule, check_report, sent_back
from cnnjax.ops.windows import at_place, first_maximum, window_views

Space = tuple[int, int]
NHWC_HWIO = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
"""The dimension numbers of convolutions of maps (batch, height, width, channels)."""
POOLS = ("reduce_window_max",)
MAPPED = ("conv_general_dilated", "concatenate", "pad", "slice", *POOLS)
"""Primitives whose operands have another shape than their result."""
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
HANDED_ON = ("add", "sub", "copy", "convert_element_type", "neg")


class Axis(NamedTuple):
    """Where a window lies along an axis: from position `stride · u + start` on, for the unit at u.

    The stride is 0 where it is the whole axis.
    """

    size: int
    stride: int
    start: int


class Signal(NamedTuple):
    """What arrives at a map for each unit, in a window of it; 0 elsewhere, and where the window leaves the map."""

    values: Array
    axes: tuple[Axis, Axis]


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
            signal = _fitted(signal, at, step.space)
            before = signals.get(step.into)
            signals[step.into] = signal if before is None else _sum(before, signal, at, step.space)
        picture = signals[self.image]
        for axis in (0, 1):
            picture = _spread(picture, at, axis, self.space[axis])
        return picture.values


def windowed(
    f: Callable[[Array], Any], images: Array, position: int, rule: Rule, others: Others
) -> tuple[Array, Partial] | None:
    """The activation at that position of f's result, and the way back from single units of it: `way(index, values)`.

    The way gives what the vector-Jacobian product of `with_relu_rule(f, rule)` gives, but computes at every map the
    window that the unit reads, which towards the units is a small part of it. None where f has on the way what is no
    convolution, rectifier, max pool, sum or product with numbers that the image has no part in.

    Raises InputError as `with_relu_rule` does.
    """
    program, result = jax.make_jaxpr(f, return_shape=True)(images)
    operands, report = located(program, result)
    check_report(report, others)
    graph = Equations(program, whole=is_activation)
    target = graph.results[position]
    if images.ndim != 4 or any(equation.kind in ("enter", "leave") for equation in graph.list):
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
    if len(shape) != 4:
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
            step(_hand_on, reads[i], options=(sign, values[reads[i]].dtype))
            for i, sign in zip(dependent, signs, strict=True)
        ]
    if kind in ("mul", "div") and dependent in ([0], [1][: kind == "mul"]):
        other = jnp.asarray(values[reads[1 - dependent[0]]])
        factor = 1 / other if kind == "div" else other
        return [step(_scale, reads[dependent[0]], factor.reshape((1,) * (4 - factor.ndim) + factor.shape))]
    if kind == "conv_general_dilated" and dependent == [0]:
        if tuple(params["dimension_numbers"]) != NHWC_HWIO or params["lhs_dilation"] != (1, 1):
            return None
        if params["batch_group_count"] != 1:
            return None
        before = tuple(low for low, _ in params["padding"])
        options = params["window_strides"], before, params["rhs_dilation"], params["feature_group_count"]
        return [step(_conv, reads[0], values[reads[1]], options=options)]
    if kind == "pad" and dependent == [0]:
        low, _, between = zip(*(map(int, edges) for edges in params["padding_config"]), strict=True)
        # What is padded with has no part in the signal; cropping would lose a part of the map.
        if any(map(any, (*params["padding_config"][:1], between))) or min(low) < 0:
            return None
        return [step(_unpad, reads[0], options=(low[1:3], low[3], values[reads[0]].shape[3]))]
    if kind == "slice":
        first, strides = (tuple(map(int, of)) for of in (params["start_indices"], params["strides"] or (1, 1, 1, 1)))
        if strides[0] != 1 or strides[3] != 1 or shape[0] != values[reads[0]].shape[0]:
            return None
        options = first[1:3], strides[1:3], first[3], values[reads[0]].shape[3]
        return [step(_unslice, reads[0], options=options)]
    if kind == "concatenate":
        ends = np.cumsum([values[array].shape[3] for array in reads]).tolist()
        parts = [(ends[i] - values[reads[i]].shape[3], ends[i]) for i in dependent]
        return [step(_take, reads[i], options=part) for i, part in zip(dependent, parts, strict=True)]
    if kind in POOLS:
        return _pool_steps(equation, values[reads[0]], made, residuals)
    return None


def _split_steps(equation: Equation, values: dict[int, Any], reached: set[int]) -> list[Step] | None:
    """From parts of the channels, as grouped convolutions read them, to all."""
    (whole,), shape = equation.reads, values[equation.reads[0]].shape
    if len(shape) != 4 or equation.eqn.params["axis"] != 3:
        return None
    ends = np.cumsum([values[array].shape[3] for array in equation.makes]).tolist()
    return [
        Step(_put, array, whole, shape[1:3], (), (end - values[array].shape[3], shape[3]))
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
        x, place = first_maximum(x, axis, size, strides[axis], pair)
        residuals.append(place)
        steps.append(Step(_unpool, source, into, space, (len(residuals) - 1,), (axis, size, strides[axis], pair[0])))
    return steps[::-1] if steps else None


def _hand_on(signal: Signal, at: Any, sign: int, dtype: Any) -> Signal:
    values = signal.values.astype(dtype)
    return signal._replace(values=-values if sign < 0 else values)


def _rectify(signal: Signal, at: Any, mask: Array | None, rule: Rule) -> Signal:
    active = None if mask is None else _cut(mask, signal.axes, at)
    return signal._replace(values=sent_back(rule, active, signal.values))


def _scale(signal: Signal, at: Any, factor: Array) -> Signal:
    return signal._replace(values=signal.values * _cut(factor, signal.axes, at).astype(signal.values.dtype))


def _take(signal: Signal, at: Any, start: int, end: int) -> Signal:
    return signal._replace(values=signal.values[..., start:end])


def _put(signal: Signal, at: Any, start: int, channels: int) -> Signal:
    values = signal.values
    pads = [(0, 0)] * 3 + [(start, channels - start - values.shape[3])]
    return signal._replace(values=jnp.pad(values, pads))


def _unpad(signal: Signal, at: Any, before: Space, first: int, channels: int) -> Signal:
    axes = [axis._replace(start=axis.start - p) for axis, p in zip(signal.axes, before, strict=True)]
    return Signal(signal.values[..., first : first + channels], (axes[0], axes[1]))


def _unslice(signal: Signal, at: Any, begin: Space, strides: Space, first: int, channels: int) -> Signal:
    axes = [_read_by(axis, 1, s, -b) for axis, s, b in zip(signal.axes, strides, begin, strict=True)]
    config = [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)]
    values = lax.pad(signal.values, jnp.zeros((), signal.values.dtype), config)
    return _put(Signal(values, (axes[0], axes[1])), at, first, channels)


def _conv(
    signal: Signal, at: Any, kernel: Array, strides: Space, before: Space, dilation: Space, groups: int
) -> Signal:
    window = zip(signal.axes, kernel.shape[:2], strides, before, dilation, strict=True)
    axes = tuple(_read_by(axis, d * (k - 1) + 1, s, p) for axis, k, s, p, d in window)
    values = signal.values
    if max(strides) > 1 and groups == 1 and dilation == (1, 1):
        return Signal(_strided(values, kernel, strides, (axes[0].size, axes[1].size)), (axes[0], axes[1]))
    operand = jax.ShapeDtypeStruct((len(values), *(a.size for a in axes), kernel.shape[2] * groups), values.dtype)

    def forward(x: Array) -> Array:
        options: dict[str, Any] = dict(rhs_dilation=dilation, feature_group_count=groups)
        return lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=DIMENSIONS, **options)

    (back,) = jax.linear_transpose(forward, operand)(values)
    return Signal(back, (axes[0], axes[1]))


def _strided(values: Array, kernel: Array, strides: Space, size: Space) -> Array:
    """The transpose of a strided convolution as one of stride 1 that makes all phases of the positions at once.

    With x = s m + r and j = s q + r: `back[s m + r] = Σ_q signal[m − q] kernel[s q + r]`. Compilers scatter the signal
    among zeros instead, and multiply by these.
    """
    channels, features = kernel.shape[2:]
    taps = [-(-k // s) for k, s in zip(kernel.shape[:2], strides, strict=True)]
    pads = [(0, q * s - k) for q, s, k in zip(taps, strides, kernel.shape[:2], strict=True)]
    phases = jnp.pad(kernel, (*pads, (0, 0), (0, 0))).reshape(
        taps[0], strides[0], taps[1], strides[1], channels, features
    )
    phases = jnp.flip(phases, (0, 2)).transpose(0, 2, 5, 1, 3, 4).reshape(*taps, features, -1)
    border = [(q - 1, q - 1) for q in taps]
    back = lax.conv_general_dilated(values, phases, (1, 1), border, dimension_numbers=DIMENSIONS)
    back = back.reshape(*back.shape[:3], *strides, channels).transpose(0, 1, 3, 2, 4, 5)
    shape = [n * s for n, s in zip(back.shape[1::2], strides, strict=False)]
    return back.reshape(len(values), *shape, channels)[:, : size[0], : size[1]]


def _unpool(signal: Signal, at: Any, place: Array, axis: int, size: int, stride: int, before: int) -> Signal:
    axes = list(signal.axes)
    axes[axis - 1] = _read_by(axes[axis - 1], size, stride, before)
    chosen, values = _cut(place, signal.axes, at), signal.values
    operand = jax.ShapeDtypeStruct((len(values), *(a.size for a in axes), values.shape[-1]), values.dtype)
    forward = lambda x: at_place(window_views(x, axis, size, stride, (0, 0), 0.0), chosen)  # noqa: E731
    (back,) = jax.linear_transpose(forward, operand)(values)
    return Signal(back, (axes[0], axes[1]))


def _read_by(axis: Axis, size: int, stride: int, before: int) -> Axis:
    """The positions that a window of outputs reads: those of `size` positions, `stride` apart."""
    return Axis(stride * (axis.size - 1) + size, axis.stride * stride, axis.start * stride - before)


def _cut(maps: Array, axes: tuple[Axis, Axis], at: tuple[Array, Array]) -> Array:
    """The window of a map for each unit, 0 outside the map; axes of one position are left to broadcasting."""
    for i, axis in enumerate(axes):
        if axis.stride and maps.shape[1 + i] > 1:
            pad = [(0, 0)] * 4
            pad[1 + i] = (axis.size, axis.size)
            maps = jnp.pad(maps, pad)
    sizes = [a.size if a.stride and n > 1 else n for a, n in zip(axes, maps.shape[1:3], strict=True)]
    if sizes == [*maps.shape[1:3]]:
        return maps
    cut = functools.partial(lax.dynamic_slice, slice_sizes=(*sizes, maps.shape[-1]))
    zero = jnp.zeros_like(at[0])
    starts = [
        a.stride * u + a.start + a.size if a.stride and n > 1 else zero
        for a, u, n in zip(axes, at, maps.shape[1:3], strict=True)
    ]
    if maps.shape[0] == 1:
        return jax.vmap(lambda row, column: cut(maps[0], (row, column, 0)))(*starts)
    return jax.vmap(lambda one, row, column: cut(one, (row, column, 0)))(maps, *starts)


def _fitted(signal: Signal, at: tuple[Array, Array], space: Space) -> Signal:
    """The same without what lies outside the map: whole where that is no larger than the window."""
    for i, n in enumerate(space):
        axis = signal.axes[i]
        if not axis.stride or axis.size >= n:
            signal = _spread(signal, at, i, n)
            continue
        positions = axis.stride * at[i][:, None] + axis.start + jnp.arange(axis.size)[None]
        inside = (positions >= 0) & (positions < n)
        inside = inside[:, :, None, None] if i == 0 else inside[:, None, :, None]
        signal = signal._replace(values=jnp.where(inside, signal.values, jnp.zeros((), signal.values.dtype)))
    return signal


def _spread(signal: Signal, at: tuple[Array, Array], i: int, n: int) -> Signal:
    """The signal along the whole of an axis of n positions."""
    axis, values = signal.axes[i], signal.values
    nothing = jnp.zeros((), values.dtype)
    config = [(0, 0, 0)] * 4
    if axis.stride:
        config[1 + i] = (n, n, 0)
        starts = n - (axis.stride * at[i] + axis.start)
        padded = lax.pad(values, nothing, config)
        values = jax.vmap(lambda one, start: lax.dynamic_slice_in_dim(one, start, n, i))(padded, starts)
    else:
        config[1 + i] = (axis.start, n - axis.start - axis.size, 0)
        values = lax.pad(values, nothing, config)
    axes = list(signal.axes)
    axes[i] = Axis(n, 0, 0)
    return Signal(values, (axes[0], axes[1]))


def _sum(a: Signal, b: Signal, at: tuple[Array, Array], space: Space) -> Signal:
    """Two signals at one map."""
    for i, n in enumerate(space):
        if a.axes[i].stride != b.axes[i].stride:
            a, b = _spread(a, at, i, n), _spread(b, at, i, n)
    ends = [
        (min(p.start, q.start), max(p.start + p.size, q.start + q.size)) for p, q in zip(a.axes, b.axes, strict=True)
    ]
    axes = tuple(Axis(high - low, p.stride, low) for (low, high), p in zip(ends, a.axes, strict=True))

    def widened(signal: Signal) -> Array:
        pads = [
            (p.start - q.start, q.start + q.size - p.start - p.size) for p, q in zip(signal.axes, axes, strict=True)
        ]
        return jnp.pad(signal.values, [(0, 0), *pads, (0, 0)])

    return Signal(widened(a) + widened(b), (axes[0], axes[1]))
