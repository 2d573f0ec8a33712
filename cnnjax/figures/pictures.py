"""Figures made of small pictures: what excites units, filters, units through training, a covered image."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from cnnjax.analysis import Occlusion
from cnnjax.door import checked
from cnnjax.door.limits import Positive, Shape
from cnnjax.errors import InputError
from cnnjax.figures.style import FAINT, INK, colors, frame, styled, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = (0.85, 0.89, 0.94)
"""Behind and between pictures: neither black, white nor grey, so that their edges are seen."""

GREY = (
    "Projections and filters: 0 is middle grey, positive is lighter, negative darker; each is scaled by its own "
    "largest absolute value, colours together."
)
"""What `signed_gray` does, to be said under a figure."""


@dataclasses.dataclass(frozen=True, eq=False)
class MapTiles:
    """One map: tiles (k, height, width, channels) of one size, NaN where there is nothing; one channel or three."""

    title: str
    pictures: np.ndarray
    """Signed; shown by `signed_gray`."""
    patches: np.ndarray
    """In [0, 1]."""


@checked()
def signed_gray(
    pictures: Annotated[ArrayLike, Shape("pictures height width channels")],
) -> Float[np.ndarray, "n height width channels"]:
    """Signed pictures (n, height, width, channels) in [0, 1]: `1/2 + p / (2 max |p|)`, the maximum of each its own.

    A picture of zeros is grey; NaN stays.
    """
    array = np.asarray(pictures, np.float64)
    strongest = np.nanmax(np.abs(array), axis=(1, 2, 3), keepdims=True, initial=0, where=np.isfinite(array))
    return 0.5 + array / np.where(strongest > 0, 2 * strongest, 1)


@checked()
def mosaic(tiles: ArrayLike, across: Positive) -> Float[np.ndarray, "height width 3"]:
    """Tiles (n, height, width, channels) in [0, 1], `across` in a row, on and framed by `PAPER`, which NaN is, too."""
    array = np.asarray(tiles, np.float64)
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or not len(array):
        raise InputError(f"Tiles of shape {array.shape} cannot be shown; give (n, height, width, 1 or 3), n positive.")
    n, height, width, _ = array.shape
    gap = max(1, max(height, width) // 20)
    down = -(-n // across)
    sheet = np.tile(np.asarray(PAPER), (down * (height + gap) + gap, across * (width + gap) + gap, 1))
    for i, tile in enumerate(array):
        top, left = i // across * (height + gap) + gap, i % across * (width + gap) + gap
        sheet[top : top + height, left : left + width] = np.where(np.isnan(tile), PAPER, np.clip(tile, 0, 1))
    return sheet


@checked()
@styled()
def montage_figure(blocks: Sequence[MapTiles], *, title: str, note: str = "", columns: Positive = 4) -> "Figure":
    """Zeiler & Fergus's montage of a layer: for each map the projections of its strongest units beside their patches.

    A block has its pictures in a square on the left, and on the right, at the same places, the patches of the images.
    Raises InputError for no blocks, and for tiles that cannot be shown.
    """
    from matplotlib.figure import Figure

    if not blocks:
        raise InputError("There are no maps to show; give one at least.")
    across = min(columns, len(blocks))
    down = -(-len(blocks) // across)
    side = int(np.ceil(np.sqrt(len(blocks[0].pictures))))
    figure = Figure(figsize=(max(2.45 * across, 6.0), 1.42 * down + 0.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.03, wspace=0, hspace=0)  # pyright: ignore
    panels = figure.subplots(down, across, squeeze=False)
    for axes, block in zip(panels.flat, blocks, strict=False):
        left, right = mosaic(signed_gray(block.pictures), side), mosaic(block.patches, side)
        space = np.ones((len(left), max(2, left.shape[1] // 14), 3))
        _show(axes, np.concatenate([left, space, right], axis=1))
        axes.set_title(block.title, fontsize=8, weight="normal", pad=3)
    for axes in panels.flat[len(blocks) :]:
        axes.set_visible(False)
    frame(figure, title, [GREY, note])
    return figure


@checked()
@styled()
def filter_figure(
    kernel: Annotated[ArrayLike, Shape("height width channels features")],
    *,
    title: str,
    note: str = "",
    labels: Sequence[str] | None = None,
    columns: Positive = 8,
) -> "Figure":
    """The filters of a first layer, kernel (height, width, channels, features), channels 1 or 3, as pictures."""
    from matplotlib.figure import Figure

    tiles = signed_gray(np.moveaxis(np.asarray(kernel), -1, 0))
    across = min(columns, len(tiles))
    down = -(-len(tiles) // across)
    figure = Figure(figsize=(max(0.95 * across, 6.0), (1.15 if labels else 0.95) * down + 0.9), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    for i, axes in enumerate(panels.flat):
        if i < len(tiles):
            _show(axes, mosaic(tiles[i : i + 1], 1))
            if labels:
                axes.set_title(labels[i], fontsize=7, weight="normal", pad=2, color=FAINT)
        else:
            axes.set_visible(False)
    frame(figure, title, [GREY, note])
    return figure


@checked()
def evolution_figure(
    pictures: ArrayLike,
    patches: ArrayLike,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    note: str = "",
) -> "Figure":
    """Units through training: a row for each map, a column for each epoch; the projection, and below it the patch.

    `pictures` and `patches` are (rows, columns, height, width, channels). Raises InputError for other shapes.
    """
    signed, seen = np.asarray(pictures), np.asarray(patches)
    if signed.shape[:2] != (len(rows), len(columns)) or seen.shape != signed.shape:
        raise InputError(f"Pictures {signed.shape} and patches {seen.shape} are not of {len(rows)}×{len(columns)}.")
    sheets = [
        [mosaic(np.concatenate([signed_gray(p[None]), q[None]]), 1) for p, q in zip(*row, strict=True)]
        for row in zip(signed, seen, strict=True)
    ]
    return sheet_figure(sheets, rows=rows, columns=columns, title=title, note=note)


@checked()
@styled()
def sheet_figure(
    sheets: Sequence[Sequence[np.ndarray]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    note: str = "",
    side: float | int = 0.85,
) -> "Figure":
    """A table of pictures (height, width, 3) in [0, 1], each `side` inches wide, with names of rows and columns."""
    from matplotlib.figure import Figure

    counts = [len(sheet) for sheet in sheets]
    if not (rows and columns) or counts != [len(columns)] * len(rows):
        raise InputError(f"Sheets of {counts} pictures do not fit {len(rows)} rows and {len(columns)} columns.")
    height, width = np.shape(sheets[0][0])[:2]
    tall = side * height / width
    figure = Figure(
        figsize=(max(side * len(columns) + 1.0, 4.8), (tall + 0.05) * len(rows) + 1.2), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.025, wspace=0, hspace=0)  # pyright: ignore
    panels: Any = figure.subplots(len(rows), len(columns), squeeze=False)
    for r, c in np.ndindex(len(rows), len(columns)):
        _show(panels[r, c], sheets[r][c])
        if r == 0:
            panels[r, c].set_title(columns[c], fontsize=8, weight="normal", pad=3)
        if c == 0:
            panels[r, c].set_ylabel(rows[r], fontsize=8, color=INK)
    frame(figure, title, [GREY, note])
    return figure


@checked()
@styled()
def occlusion_figure(
    images: Sequence[Occlusion], class_names: Mapping[int, str], *, title: str, note: str = ""
) -> "Figure":
    """What becomes of the strongest map and of the classes while a square of the image is covered: a row an image."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not images:
        raise InputError("There are no images to show; give one at least.")
    seen = sorted({int(c) for image in images for c in np.unique(image.prediction)})
    shades = colors([class_names.get(c, str(c)) for c in seen])
    palette = ListedColormap(list(shades.values()))
    figure = Figure(figsize=(9.6, 1.95 * len(images) + 1.2), layout="constrained")
    panels = figure.subplots(len(images), 5, squeeze=False)
    for row, image in zip(panels, images, strict=True):
        _show(row[0], mosaic(image.image[None], 1))
        _heat(figure, row[1], image.total_activation)
        _show(row[2], mosaic(signed_gray(image.projection[None]), 1))
        _heat(figure, row[3], image.probability, low=0, high=1)
        row[4].imshow(
            np.searchsorted(seen, image.prediction),
            cmap=palette,
            vmin=-0.5,
            vmax=len(seen) - 0.5,
            interpolation="nearest",
        )
        row[4].set(xticks=[], yticks=[])
        tidy(row[4], grid="")
        row[0].set_ylabel(class_names.get(image.label, str(image.label)), fontsize=8)
        row[1].set_ylabel(f"map {image.channel}", fontsize=8)
    heads = (
        "the image",
        "total activation of the\nstrongest map",
        "its projection",
        "probability of\nthe class",
        "most probable class",
    )
    for axes, head in zip(panels[0], heads, strict=True):
        axes.set_title(head, fontsize=8.5, pad=4)
    handles = [Patch(facecolor=shade, label=name) for name, shade in shades.items()]
    panels[0, 4].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=7, handlelength=1)
    frame(figure, title, [GREY, note])
    return figure


@checked()
@styled()
def curves_figure(
    panels: Mapping[str, tuple[ArrayLike, Mapping[str, ArrayLike]]],
    *,
    ylabel: str,
    title: str,
    note: str = "",
    xlabels: Mapping[str, str] | None = None,
) -> "Figure":
    """Lines side by side: for each panel by title the places along x and, by name, what stands there."""
    from matplotlib.figure import Figure

    if not panels:
        raise InputError("There are no curves to draw; give one panel at least.")
    shades = colors([name for _, lines in panels.values() for name in lines])
    figure = Figure(figsize=(max(3.1 * len(panels), 6.0), 3.5), layout="constrained")
    for axes, (head, (x, lines)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, y in lines.items():
            axes.plot(x, y, color=shades[name], label=name, marker="o", markersize=2.5)
        axes.set_title(head)
        axes.set_xlabel((xlabels or {}).get(head, ""))
        axes.axhline(0, color=FAINT, linewidth=0.7)
        tidy(axes)
    figure.axes[0].set_ylabel(ylabel)
    frame(figure, title, [note], figure.axes[0])
    return figure


def _show(axes: "Axes", pixels: np.ndarray) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _heat(
    figure: "Figure", axes: "Axes", values: np.ndarray, low: float | int | None = None, high: float | int | None = None
) -> None:
    drawn = axes.imshow(values, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)  # pyright: ignore
    bar.ax.tick_params(length=0, labelsize=6.5, labelcolor=FAINT)
