"""Figures of receptive fields against depth: how they grow, where stride speeds that up, where they pass the image."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.analysis import ReceptiveField
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.figures.style import FAINT, INK, colors, frame, styled, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADE = "#e8e8e8"
MOST_NAMES = 30
"""On the axis; of deeper networks some are left out."""


@checked()
@styled()
def depth_figure(
    fields: Mapping[str, ReceptiveField],
    *,
    effective: Mapping[str, float] | None = None,
    unproductive: Collection[str] = (),
    title: str = "",
    note: str = "",
) -> "Figure":
    """The size of the receptive field against depth, on a logarithmic axis, with the stride that multiplies its growth.

    `fields` are by layer, in forward order; sizes and strides are those of the first axis. `effective` has, by layer,
    the diameter in pixels of the disc that holds 95 % of the effective field; `unproductive` layers are shaded.
    Raises InputError for no fields, and for names among the two that are no layer's.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    effective = effective or {}
    if not fields:
        raise InputError("There are no receptive fields to draw; give one layer's at least.")
    if unknown := [name for name in (*effective, *unproductive) if name not in fields]:
        raise InputError(f"There is no field of {', '.join(unknown)}; the layers are {', '.join(fields)}.")
    names = list(fields)
    side = next(iter(fields.values())).image_size[0]
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    axes = figure.subplots()
    shades = colors(["stride", "field", "effective", "image"])
    sizes = {names.index(name): float(field.size[0]) for name, field in fields.items()}
    maps = {i: size for i, size in sizes.items() if fields[names[i]].stride[0]}
    whole = {i: size for i, size in sizes.items() if i not in maps}
    look: Any = dict(color=shades["field"], markersize=4.5)
    if maps:
        axes.plot(list(maps), list(maps.values()), "o-", label="receptive field, r", **look)
    if whole:
        axes.plot(list(whole), list(whole.values()), "o", markerfacecolor="white", label="sees the whole image", **look)
    if effective:
        places, widths = [names.index(name) for name in effective], list(effective.values())
        look = dict(color=shades["effective"], markersize=4.5)
        axes.plot(places, widths, "s-", label="disc that holds 95 % of the effective field", **look)
    axes.axhline(side, color=shades["image"], linewidth=1.2, linestyle="--", label=f"side of the image, {side}")
    for i in sorted(names.index(name) for name in unproductive):
        axes.axvspan(i - 0.5, i + 0.5, color=SHADE, linewidth=0, zorder=0)
    if unproductive:
        axes.fill_between([], [], color=SHADE, label="unproductive: its input sees past the image")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    drawn = [side, *sizes.values(), *effective.values()]
    axes.set_ylim(min(drawn) / 1.3, max(drawn) * 1.7)  # above all that is drawn stand the strides
    axes.set_xlim(-0.6, len(names) - 0.4)
    _mark_strides(axes, [float(fields[name].stride[0]) for name in names])
    every = -(-len(names) // MOST_NAMES)
    axes.set_xticks(range(0, len(names), every), names[::every], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_ylabel("pixels")
    tidy(axes, grid="y")
    notes = ["Dotted: the map's stride S grows; kernels after it widen the field S times as fast.", note]
    frame(figure, title or "Receptive fields against depth", notes, axes)
    return figure


def _mark_strides(axes: "Axes", strides: list[float]) -> None:
    """A dotted line before each layer whose map is coarser than all before it, with its stride."""
    before = np.maximum.accumulate([1.0, *strides[:-1]])
    for i, (stride, reached) in enumerate(zip(strides, before, strict=True)):
        if stride > reached:
            axes.axvline(i, color=FAINT, linewidth=0.9, linestyle=":", zorder=1)
            place: Any = dict(xycoords=("data", "axes fraction"), xytext=(3, -3), textcoords="offset points", va="top")
            axes.annotate(f"S = {stride:g}", (i, 1), fontsize=8, color=INK, **place)
