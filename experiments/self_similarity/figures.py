"""Figures of the self-similarity experiment."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from cnnjax import patches
from cnnjax.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


CHANCE = ("random phases", "shuffled pixels", "noise")
"""Images of chance, each of which is compared with itself."""


@style.styled()
def distances(
    rows: Sequence[Mapping[str, Any]],
    counts: Sequence[Mapping[str, np.ndarray]],
    bins: np.ndarray,
    sources: Mapping[str, str],
    *,
    patch_size: int,
) -> "Figure":
    """The share of patches that have another within a distance, for each kind of source, over all images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    palette = style.colors(list(sources))
    for source, what in sources.items():
        share = np.mean([np.cumsum(c[source]) / c[source].sum() for c in counts], axis=0)
        dashed = source in CHANCE
        axes.plot(bins[1:], 100 * share, color=palette[source], label=what, linestyle="--" if dashed else "-")
    axes.set(xlim=(0, 60), ylim=(0, 100), xlabel="distance, grey levels", ylabel="patches with one as near, %")
    style.tidy(axes)
    means = {
        source: np.mean([row[source] for row in rows]) for source in ("same image", "random phases", "another image")
    }
    notes = [
        f"{patch_size}×{patch_size} patches, RMS over their values, mean over {len(rows)} photographs. "
        "Dashed: images of chance, each within itself.",
        "Mean distance: {same image:.1f} in the same image, {random phases:.1f} in its copy with random phases, "
        "{another image:.1f} in another photograph.".format(**means),
    ]
    style.frame(figure, "A photograph's patches come again in it", notes, axes)
    return figure


@style.styled()
def images(name: str, shown: Mapping[str, np.ndarray]) -> "Figure":
    """The photograph and the images of chance that it is compared with."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    style.frame(figure, f"{name} and images of chance that share less and less with it", [])
    return figure


@style.styled()
def similar(name: str, image: np.ndarray, *, patch_size: int, k: int = 8) -> "Figure":
    """Some patches of a photograph and, framed in the same colour, those most like them."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    picture, strips = figure.subplots(1, 2, width_ratios=(1, 1.1))
    picture.imshow(image, interpolation="nearest")
    corners = [
        (round((image.shape[0] - patch_size) * y), round((image.shape[1] - patch_size) * x))
        for y, x in ((0.25, 0.5), (0.5, 0.3), (0.7, 0.7), (0.85, 0.45))
    ]
    palette = list(style.colors(["", *map(str, corners)]).values())[1:]
    sheet = np.ones((len(corners) * (patch_size + 1), (k + 2) * (patch_size + 1), 3), np.float32)
    for row, ((y, x), colour) in enumerate(zip(corners, palette, strict=True)):
        found = patches.similar_patches(jnp.asarray(image), y, x, k=k, patch_size=patch_size)
        places = [(y, x), *map(tuple, np.asarray(found.position)[0, 0])]
        for column, (v, u) in enumerate(places):
            width = 2.2 if column == 0 else 1.1
            picture.add_patch(
                Rectangle((u - 0.5, v - 0.5), patch_size, patch_size, fill=False, color=colour, linewidth=width)
            )
            top, left = row * (patch_size + 1), (column + (column > 0)) * (patch_size + 1)
            sheet[top : top + patch_size, left : left + patch_size] = image[v : v + patch_size, u : u + patch_size]
        strips.add_patch(
            Rectangle(
                (-1, row * (patch_size + 1) - 1),
                patch_size + 1,
                patch_size + 1,
                fill=False,
                color=colour,
                linewidth=2.2,
            )
        )
    strips.imshow(sheet, interpolation="nearest")
    strips.set_xlim(-2, sheet.shape[1])
    strips.set_ylim(sheet.shape[0], -2)
    for axes in (picture, strips):
        axes.set_axis_off()
    notes = [f"Left in each row: the patch (thick frame). Then its {k} nearest that do not overlap, the nearest first."]
    style.frame(figure, f"Patches of {name} and where they come again", notes)
    return figure
