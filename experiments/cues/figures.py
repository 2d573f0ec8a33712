"""The figures of the experiment: the same images as every view shows them, and what networks make of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnjax.data import Dataset
from cnnjax.figures.pictures import mosaic
from cnnjax.figures.style import FAINT, GRID, INK, colors, frame, styled, tidy
from cnnjax.stats.intervals import describe_methods
from experiments.cues.cells import Network
from experiments.cues.tables import interval, left
from experiments.cues.views import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 8
"""Images in the montage."""


@styled()
def montage(dataset: Dataset, views: Sequence[View]) -> "Figure":
    """A row for each view, with the same test images in each, of as many classes as there is room for."""
    from matplotlib.figure import Figure

    labels = dataset.test.labels
    first = [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)]
    chosen = np.asarray([*first, *(i for i in range(len(labels)) if i not in first)][:ACROSS])
    # Views change images in blocks by their places: all of those before the last that is shown.
    before = dataset.test.images[: chosen.max() + 1]
    height, width = before.shape[1:3]
    tall = 0.6 * height / width
    figure = Figure(figsize=(1.6 + 0.62 * len(chosen), len(views) * (tall + 0.04) + 0.75), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)  # pyright: ignore
    for axes, view in zip(figure.subplots(len(views), 1, squeeze=False)[:, 0], views, strict=True):
        axes.imshow(mosaic(view.of(before, "test")[chosen] / 255, len(chosen)), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_anchor("E")  # the names are on the left
        label = f"{view.title}\n{left(view)}"
        axes.set_ylabel(label, fontsize=7.5, rotation=0, ha="right", va="center", labelpad=6, color=INK)
    frame(figure, "The same images, as each view shows them", ["Below the name of each view: the cues that it leaves."])
    return figure


@styled()
def accuracies(networks: Sequence[Network], views: Sequence[View], dataset: Dataset) -> "Figure":
    """Accuracy by view: a panel for each network; dots of whole images, diamonds of networks trained on the view."""
    from matplotlib.figure import Figure

    heights, edges, place = {}, [], 0.0
    for i, view in enumerate(views):
        if i and view.kind != views[i - 1].kind:
            edges.append(place - 0.2)
            place += 0.6
        heights[view.key] = place
        place += 1
    size = (2.1 + 1.9 * len(networks), 0.27 * place + 1.6)
    figure = Figure(figsize=(max(6.5, size[0]), size[1]), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    shades = colors(["", "tested", "trained"])
    chance = 100 * np.bincount(dataset.test.labels).max() / len(dataset.test.labels)
    methods = set()
    for axes, network in zip(panels, networks, strict=True):
        for name, of, marker, apart in (("tested", network.right, "o", 0.0), ("trained", network.trained, "D", 0.26)):
            for view in views:
                if view.key not in of:
                    continue
                found = interval(of[view.key])
                methods.add(found.method)
                y, (mean, low, high) = heights[view.key] + apart, (100 * value for value in found[:3])
                axes.hlines(y, low, high, color=shades[name], linewidth=2, alpha=0.5)
                face = shades[name] if name == "tested" else "white"
                text = "trained on whole images" if name == "tested" else "trained on such images"
                label = text if text not in axes.get_legend_handles_labels()[1] else None
                axes.plot(mean, y, marker, color=shades[name], markerfacecolor=face, markersize=4.5, label=label)
        axes.axvline(chance, color=FAINT, linewidth=0.8, linestyle=":")
        for edge in edges:
            axes.axhline(edge, color=GRID, linewidth=0.8)
        tidy(axes, grid="x")
        axes.set_title(network.title)
        axes.set_xlim(-3, 103)
        axes.set_xlabel("accuracy (%)")
        axes.spines["left"].set_visible(False)
    panels[0].set_yticks(list(heights.values()), [f"{view.title} ({left(view)})" for view in views])
    panels[0].tick_params(axis="y", labelcolor=INK, labelsize=8)
    panels[0].set_ylim(place - 0.4, -0.7)
    seeds = {len(network.right[views[0].key]) for network in networks}
    over = "seeds" if seeds != {1} else "images"
    kinds = describe_methods(methods - {"Clopper-Pearson"} or methods)
    notes = [
        f"Bar: 95 % {kinds} interval over {over}. Dotted: the most frequent class.",
        "In brackets: the cues that are left.",
    ]
    legend = max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    frame(figure, "What networks get right without a cue", notes, legend)
    return figure
