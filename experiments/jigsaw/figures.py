"""Figures of a jigsaw puzzle: the mixed pieces beside the answer, in which pieces out of place are marked."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cnnjax.figures.style import frame, styled
from cnnjax.jigsaw import Arrangement, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WRONG, _TWIN = "#D55E00", "#56B4E9"  # of the palette: told apart with every common colour vision


@styled()
def before_and_after(
    pieces: Float[Array, "n side side 3"],
    answer: Arrangement,
    *,
    wrong: Bool[np.ndarray, "rows columns"],
    twins: Bool[np.ndarray, "rows columns"],
    title: str,
    notes: list[str],
) -> "Figure":
    """The pieces as they came, in the grid of the answer, and the answer.

    `wrong` are the cells that hold another piece than they should, `twins` those of them whose piece has the frame of
    the right one.
    """
    from matplotlib.figure import Figure

    rows, columns = answer.pieces.shape
    side = pieces.shape[1]
    mixed = Arrangement(np.arange(rows * columns).reshape(rows, columns), np.zeros((rows, columns), int))
    width = 10.0
    figure = Figure(figsize=(width, width / 2 * rows / columns + 1.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, arrangement, name in zip(panels, (mixed, answer), ("mixed", "put together"), strict=True):
        axes.imshow(np.asarray(render(pieces, arrangement)), interpolation="nearest")
        axes.set_title(name)
        axes.set_axis_off()
    for y in np.arange(1, rows) * side:
        panels[0].axhline(y - 0.5, color="white", linewidth=0.6)
    for x in np.arange(1, columns) * side:
        panels[0].axvline(x - 0.5, color="white", linewidth=0.6)
    _mark(panels[1], wrong & ~twins, side, _WRONG)
    _mark(panels[1], wrong & twins, side, _TWIN)
    marks = []
    if (wrong & ~twins).any():
        marks.append("Orange: not the piece that belongs here, or turned.")
    if (wrong & twins).any():
        marks.append("Blue: another piece with the same frame, which nothing tells apart.")
    frame(figure, title, [*notes, *marks])
    return figure


def _mark(
    axes: object, cells: Int[np.ndarray, "rows columns"] | Bool[np.ndarray, "rows columns"], side: int, colour: str
) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    inset = max(0.5, side * 0.06)
    boxes = [
        Rectangle((x * side - 0.5 + inset, y * side - 0.5 + inset), side - 2 * inset, side - 2 * inset)
        for y, x in np.argwhere(cells)
    ]
    axes.add_collection(  # pyright: ignore[reportAttributeAccessIssue]
        PatchCollection(boxes, facecolor=(1, 1, 1, 0.25), edgecolor=colour, linewidth=1.3, hatch=None)
    )
