"""How convolution arithmetic is drawn: three grids of numbers, the window with its weights, the sum."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cnnjax.figures.drawing import Shape, When, Words, box
from cnnjax.figures.style import FAINT, INK

CELL = 38.0
EDGE = 14.0
BLUE, GREEN, SHADE, PALE = "#cfe3f5", "#bfe3d0", "#f3b562", "#fafafa"
LIGHT = "#9a9a9a"
EMPTY = ("border", "gap")
"""Kinds of cells that are no numbers of the input."""
WIDEST = 640.0
"""Beyond which the output stands below the input."""
MOST_TERMS = 9
"""Of a sum that is written out."""

Read = tuple[tuple[int, ...], Sequence[tuple[int, ...]], Sequence[float], float]
"""An output's place, the cells it reads, the weight of each, and the sum."""


def convolution_shapes(
    grid: np.ndarray, kinds: np.ndarray, kernel: np.ndarray, output: np.ndarray, reads: Sequence[Read], title: str
) -> tuple[float, float, list[Shape]]:
    """Width, height and shapes of the drawing, a frame for each output."""
    rows, columns = _sides(grid.shape)
    (tall, wide), (down, across) = _sides(kernel.shape), _sides(output.shape)
    top = 2 * EDGE + 34.0
    beside = len(grid.shape) == 2 and (columns + wide + across) * CELL + 6 * EDGE <= WIDEST
    after = EDGE + columns * CELL + 2 * EDGE
    if beside:
        kernel_at, output_at = (after, top), (after + wide * CELL + 3 * EDGE, top)
        height = top + max(rows, tall, down) * CELL
        width = output_at[0] + across * CELL + EDGE
    else:
        # The kernel and below it the output, under the input.
        kernel_at = (EDGE, top + rows * CELL + 26)
        output_at = (EDGE + wide * CELL + 3 * EDGE, kernel_at[1])
        height = kernel_at[1] + max(tall, down) * CELL
        width = max(after, output_at[0] + across * CELL) + EDGE
    sums = [_sum(grid, cells, weights, value) for _, cells, weights, value in reads]
    width = max(width, 6.7 * max(map(len, sums)) + 2 * EDGE, 6.9 * len(title) + 2 * EDGE)
    shapes: list[Shape] = [Words(title, EDGE, EDGE + 2, 11.5, bold=True, anchor="start")]
    for name, (x, y) in (("input", (EDGE, top)), ("kernel", kernel_at), ("output", output_at)):
        shapes.append(Words(name, x, y - 9, 9.5, FAINT, "start"))
    shapes += _boxes(kinds, EDGE, top)
    shapes += _boxes(np.full(kernel.shape, "kernel", object), *kernel_at)
    shapes += _boxes(np.full(output.shape, "output", object), *output_at)
    for number, ((place, cells, weights, _), text) in enumerate(zip(reads, sums, strict=True)):
        now: When = (number, number + 1)
        look: Any = dict(fill=SHADE, width=1.4, when=now)
        for cell, weight in zip(cells, weights, strict=True):
            x, y = _corner(cell, EDGE, top)
            shapes.append(box(x, y, CELL, CELL, **look))
            shapes.append(Words(short(weight), x + CELL - 3, y + CELL - 7, 8, "#8a3b00", "end", when=now))
        shapes.append(box(*_corner(place, *output_at), CELL, CELL, **look))
        shapes.append(Words(text, EDGE, height + 1.6 * EDGE, 11, anchor="start", when=now))
    shapes += _numbers(grid, kinds, EDGE, top)
    shapes += _numbers(kernel, np.full(kernel.shape, "kernel", object), *kernel_at)
    for number, (place, _, _, value) in enumerate(reads):
        x, y = _corner(place, *output_at)
        shapes.append(Words(short(value), x + CELL / 2, y + CELL / 2, 12, when=(number, len(reads))))
    return width, height + 3 * EDGE, shapes


def short(value: float) -> str:
    """A number as it fits in a cell."""
    if value == round(value) and abs(value) < 1e4:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:.2g}".replace("-", "−")


def _sum(grid: np.ndarray, cells: Sequence[tuple[int, ...]], weights: Sequence[float], value: float) -> str:
    terms = [
        f"{_bracketed(weight)}·{_bracketed(grid[cell])}"
        for cell, weight in zip(cells, weights, strict=True)
        if weight and grid[cell]
    ]
    if len(terms) > MOST_TERMS:
        terms = [*terms[: MOST_TERMS - 1], "…"]
    return f"{' + '.join(terms) or '0'} = {short(value)}"


def _bracketed(value: float) -> str:
    return f"({short(value)})" if value < 0 else short(value)


def _boxes(kinds: np.ndarray, x: float, y: float) -> Iterator[Shape]:
    fills = {"input": BLUE, "border": "#ffffff", "gap": "#ffffff", "kernel": PALE, "output": GREEN}
    # Those with dashes first, so that no dash lies over the edge of a number.
    for dashed in (True, False):
        for cell in np.ndindex(kinds.shape):
            kind = str(kinds[cell])
            if (kind in EMPTY) == dashed:
                left, top = _corner(cell, x, y)
                stroke = LIGHT if dashed else INK
                yield box(left, top, CELL, CELL, fill=fills[kind], stroke=stroke, width=0.8, dashed=dashed)


def _numbers(values: np.ndarray, kinds: np.ndarray, x: float, y: float) -> Iterator[Shape]:
    for cell in np.ndindex(values.shape):
        left, top = _corner(cell, x, y)
        empty = str(kinds[cell]) in EMPTY
        size, color = (10, FAINT) if empty else (12, INK)
        yield Words(short(float(values[cell])), left + CELL / 2, top + CELL / 2, size, color)


def _corner(cell: tuple[int, ...], x: float, y: float) -> tuple[float, float]:
    row, column = cell if len(cell) == 2 else (0, cell[0])
    return x + column * CELL, y + row * CELL


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])
