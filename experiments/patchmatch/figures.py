"""Figures of the object removal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnjax.figures import style
from cnnjax.patches.inpainting import Level

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.styled()
def removal(image: np.ndarray, hole: np.ndarray, filled: np.ndarray) -> "Figure":
    """The photograph with its hole outlined, and without the object."""
    from matplotlib.figure import Figure

    height, width = hole.shape
    figure = Figure(figsize=(9.6, 4.8 * height / width + 0.9), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, 2), (("given", image), ("filled", filled)), strict=True):
        axes.imshow(picture)
        axes.set_title(title)
        axes.set_axis_off()
        if title == "given":
            axes.contour(hole, [0.5], colors="white", linewidths=1.6)
            axes.contour(hole, [0.5], colors="#D55E00", linewidths=0.8)
    share = 100 * hole.mean()
    style.frame(
        figure, "An object removed", [f"The outlined {share:.1f} % of the pixels were filled; no other has changed."]
    )
    return figure


@style.styled()
def pyramid(levels: Sequence[Level]) -> "Figure":
    """What every level made of the hole, coarse to fine, enlarged to one size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * len(levels), 3.4), layout="constrained")
    for number, (axes, level) in enumerate(zip(np.ravel(figure.subplots(1, len(levels))), levels, strict=True), 1):
        rows, columns = (np.flatnonzero(level.mask.any(axis=axis)) for axis in (1, 0))
        margin = 0.25 * max(len(rows), len(columns))
        axes.imshow(level.image, interpolation="nearest")
        axes.contour(level.mask, [0.5], colors="white", linewidths=0.6)
        axes.set_xlim(max(columns[0] - margin, -0.5), min(columns[-1] + margin, level.mask.shape[1] - 0.5))
        axes.set_ylim(min(rows[-1] + margin, level.mask.shape[0] - 0.5), max(rows[0] - margin, -0.5))
        axes.set_title(f"{number}: {level.image.shape[1]}×{level.image.shape[0]}")
        axes.set_axis_off()
    style.frame(
        figure,
        "The hole at each level, coarse to fine",
        ["Each level begins with the patches found by the one before."],
    )
    return figure
