"""Convolution arithmetic step by step, in the manner of Dumoulin & Visin (2016): which cells each output reads."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from cnnjax import ops
from cnnjax.door import checked
from cnnjax.door.arrays import check_shape
from cnnjax.errors import InputError
from cnnjax.figures.convolution_drawing import convolution_shapes
from cnnjax.figures.drawing import Drawing
from cnnjax.ops import Padding
from cnnjax.ops.padding import PAD_MODES, ResolvedPadding, per_axis

MOST_CELLS = 400
"""In a grid that can still be read."""

Index = tuple[int, ...]
Kind = Literal["input", "border", "gap"]
"""What a cell is: a number of the input, a part of the padding, or a zero between numbers that a stride spreads out."""


@dataclasses.dataclass(frozen=True)
class ConvolutionStep:
    """One output: the cells of the grid that it reads, the place in the kernel of each weight, and their sum."""

    output: Index
    cells: tuple[Index, ...]
    taps: tuple[Index, ...]
    value: float


@dataclasses.dataclass(frozen=True, eq=False)
class ConvolutionSteps(Drawing):
    """A drawing that plays, a frame for each output in row-major order, with the numbers that it shows."""

    grid: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False)
    """What the window slides over: the input with its padding, or spread out by the stride."""
    kinds: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, object), repr=False)
    """The `Kind` of each of its cells."""
    output: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False)
    steps: tuple[ConvolutionStep, ...] = dataclasses.field(default=(), repr=False)


@checked()
def convolution_steps(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    input_size: int | Sequence[int] | None = None,
    seconds: float | int = 0.8,
) -> ConvolutionSteps:
    """Draw `ops.conv` of one map by one kernel as it proceeds, output by output.

    `y[i] = Σ_j w[j] x[s i + d j − before]`; each frame shows the cells that one output reads, with the weight of each
    in its corner, the sum, and the outputs so far. Padding is dashed; where it has content, its numbers stand in it.

    With `input_size`, an int or one for each axis, it is `ops.conv_transpose` instead, from x back to a map of that
    size, drawn as a convolution: x spread out by the stride, with zeros in between, under the flipped kernel. A pixel
    that a circular or reflected border shows again is read through a window for each of its places.

    x and kernel are (height, width) or (length,), one channel; `seconds` is the time of a frame. The result shows
    itself in a notebook and is saved as SVG, which plays without a script, GIF or PNG: `steps.save("conv.gif")`,
    `steps.frame(3).save("conv.png")`. Raises InputError for maps of more than 400 cells, and as those operations do.
    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", sections 2, 4 and 5.1.
    """
    signal, weights = _numbers("x", x), _numbers("kernel", kernel)
    rank = signal.ndim
    check_shape("kernel", weights.shape, ["height", "width"][:rank] if rank == 2 else ["length"])
    if not seconds > 0:
        raise InputError(f"seconds={seconds} must be positive.")
    stride, dilation = per_axis(stride, rank, name="stride"), per_axis(dilation, rank, name="dilation")
    size = signal.shape if input_size is None else per_axis(input_size, rank, name="input_size")
    resolved = ops.resolve_padding(
        padding, kernel_size=weights.shape, input_size=size, stride=stride, dilation=dilation
    )
    outputs = tuple(
        ops.output_size(n, k, stride=s, padding=(pair,), dilation=d)
        for n, k, s, pair, d in zip(size, weights.shape, stride, resolved.pairs, dilation, strict=True)
    )
    if input_size is not None and signal.shape != outputs:
        raise InputError(
            f"x has shape {signal.shape}, but conv makes {outputs} of input_size={size}; give the size of a map that x "
            "can come from."
        )
    padded = tuple(n + sum(pair) for n, pair in zip(size, resolved.pairs, strict=True))
    if max(map(math.prod, (signal.shape, outputs, padded))) > MOST_CELLS:
        raise InputError(f"x of shape {signal.shape} makes more than {MOST_CELLS} cells to draw; give a smaller map.")
    if input_size is None:
        grid, kinds = _padded(signal, resolved)
        axes = [
            [[(s * i + d * j, j) for j in range(k)] for i in range(o)]
            for k, s, d, o in zip(weights.shape, stride, dilation, outputs, strict=True)
        ]
    else:
        grid, kinds, axes = _spread(signal, weights.shape, size, resolved, stride, dilation)
    steps = tuple(_steps(grid, weights, axes))
    made = np.array([step.value for step in steps]).reshape([len(axis) for axis in axes])
    pairs = ", ".join(f"{a}+{b}" for a, b in dict.fromkeys(resolved.pairs))
    about = [
        f"{'transposed, ' if input_size is not None else ''}kernel {_by(weights.shape)}",
        f"stride {_each(stride)}" if max(stride) > 1 else "",
        f"padding {pairs}{'' if resolved.fill == 'zero' else ' ' + resolved.fill}" if np.any(resolved.pairs) else "",
        f"dilation {_each(dilation)}" if max(dilation) > 1 else "",
        f"{_by(signal.shape)} → {_by(made.shape)}",
    ]
    reads = [(step.output, step.cells, [weights[tap] for tap in step.taps], step.value) for step in steps]
    width, height, shapes = convolution_shapes(grid, kinds, weights, made, reads, ", ".join(filter(None, about)))
    return ConvolutionSteps(width, height, tuple(shapes), len(steps), seconds, grid, kinds, made, steps)


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim not in (1, 2) or not array.size or array.dtype.kind not in "biuf":
        raise InputError(f"{name} is {array.dtype} of shape {array.shape}; give numbers, (height, width) or (length,).")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{name} contains NaN or infinity; give finite numbers.")
    return array


def _padded(signal: np.ndarray, resolved: ResolvedPadding) -> tuple[np.ndarray, np.ndarray]:
    """The input with its border, and what each cell is."""
    inside = np.pad(np.ones(signal.shape, bool), resolved.pairs)
    kinds = np.where(inside, "input", "border").astype(object)
    return np.pad(signal, resolved.pairs, mode=PAD_MODES[resolved.fill]), kinds


def _spread(
    signal: np.ndarray,
    window: Sequence[int],
    size: Sequence[int],
    resolved: ResolvedPadding,
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, list[list[list[tuple[int, int]]]]]:
    """What a transposed convolution slides over, what its cells are, and the cells and taps that each pixel reads."""
    places, axes, inside = [], [], []
    for o, k, n, pair, s, d in zip(signal.shape, window, size, resolved.pairs, stride, dilation, strict=True):
        # The pixel that stands at each position of the padded map; none in a border of zeros.
        pixels = np.pad(np.arange(n), pair, mode=PAD_MODES[resolved.fill]) if resolved.fill != "zero" else None
        # Of each pixel, the positions that show it.
        shown = [[at + pair[0]] if pixels is None else np.flatnonzero(pixels == at).tolist() for at in range(n)]
        positions = [q - d * j for each in shown for q in each for j in range(k)]
        first, last = min(0, *positions), max((o - 1) * s, *positions)
        axes.append([[(q - d * j - first, j) for q in each for j in range(k)] for each in shown])
        places.append([s * i - first for i in range(o)])
        inside.append((last - first + 1, -first, (o - 1) * s - first))
    grid = np.zeros([length for length, _, _ in inside])
    kinds = np.full(grid.shape, "border", object)
    kinds[tuple(slice(start, end + 1) for _, start, end in inside)] = "gap"
    grid[np.ix_(*places)], kinds[np.ix_(*places)] = signal, "input"
    return grid, kinds, axes


def _steps(grid: np.ndarray, weights: np.ndarray, axes: list[list[list[tuple[int, int]]]]) -> Iterator[ConvolutionStep]:
    for output in itertools.product(*(range(len(axis)) for axis in axes)):
        reads = list(itertools.product(*(axis[i] for axis, i in zip(axes, output, strict=True))))
        cells = tuple(tuple(cell for cell, _ in read) for read in reads)
        taps = tuple(tuple(tap for _, tap in read) for read in reads)
        value = sum(float(weights[tap] * grid[cell]) for cell, tap in zip(cells, taps, strict=True))
        yield ConvolutionStep(output, cells, taps, value)


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _each(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else _by(values)
