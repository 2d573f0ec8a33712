"""Figures of the learning signal: gradients against the layer, at the start and while networks train."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures.style import colors, frame, seeds_note, styled, tidy
from experiments.shared.learning_signal import Measured, Networks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = Mapping[str, Measured]
AT_MAPS, AT_KERNELS = "gradient at maps (norm)", "gradient at kernels (RMS)"
PEOPLE = {"he": "He", "glorot": "Glorot", "lecun": "LeCun"}
GAPS = "Where a line is missing, the gradient is exactly 0 or not finite."


@styled()
def start(plans: Sequence[Networks], results: Results, *, note: str) -> "Figure":
    """Gradients at maps above and at kernels below against the layer; a column for each network, a line for a depth."""
    networks = _networks(plans)
    figure, panels = _panels(2, len(networks))
    depths = list(dict.fromkeys(plan.settings["depth"] for plan in plans))
    shades = _ramp([str(depth) for depth in depths])
    for column, mine in zip(panels.T, networks.values(), strict=True):
        for plan in mine:
            found, depth = results[plan.name], plan.settings["depth"]
            look: dict[str, Any] = dict(color=shades[str(depth)], label=f"{depth} layers")
            _band(column[0], _layer(found.map_gradient, 2), found.map_gradient[0], **look)
            _band(column[1], _layer(found.kernel_gradient, 1), found.kernel_gradient[0], **look)
    _finish(panels, list(networks), rows=(AT_MAPS, AT_KERNELS))
    frame(figure, "The learning signal at the start", [_seeds(plans), GAPS, note], panels[0, 0])
    return figure


@styled()
def activations(plans: Sequence[Networks], results: Results, *, note: str) -> "Figure":
    """Maps above and the gradients at them below against the layer; a column for each initialisation."""
    names = list(dict.fromkeys(plan.settings["init"] for plan in plans))
    figure, panels = _panels(2, len(names))
    shades = colors([plan.settings["activation"] for plan in plans])
    for plan in plans:
        found, column = results[plan.name], panels[:, names.index(plan.settings["init"])]
        name = plan.settings["activation"]
        for axes, values in zip(column, (found.map_rms, found.map_gradient), strict=True):
            _band(axes, _layer(values, 2), values[0], color=shades[name], label=name)
    _finish(panels, [str(PEOPLE.get(name, name)) for name in names], rows=("maps (RMS)", AT_MAPS))
    title = f"Plain networks of {plans[0].settings['depth']} layers without normalisation"
    frame(figure, f"{title}, by initialisation", [_seeds(plans), GAPS, note], panels[0, 0])
    return figure


@styled()
def training(plans: Sequence[Networks], results: Results, *, note: str) -> "Figure":
    """The deepest networks' gradients at maps after some epochs, and below the loss of all against the step."""
    networks = _networks(plans)
    figure, panels = _panels(2, len(networks))
    deepest = max(plan.settings["depth"] for plan in plans)
    depths = list(dict.fromkeys(plan.settings["depth"] for plan in plans))
    styles = dict(zip(depths, ("-", "--", ":", "-.") * len(depths), strict=False))
    steps = results[plans[0].name].steps
    shown = np.unique(np.linspace(0, len(steps) - 1, 5).round().astype(int))
    shades = _ramp([str(i) for i in shown])
    for column, mine in zip(panels.T, networks.values(), strict=True):
        for plan in mine:
            found, depth = results[plan.name], plan.settings["depth"]
            if depth == deepest:
                for i in shown:
                    look: dict[str, Any] = dict(color=shades[str(i)], label=f"step {steps[i]}")
                    _band(column[0], _layer(found.map_gradient, 2), found.map_gradient[i], **look)
            look = dict(color="#555555", linestyle=styles[depth], label=f"{depth} layers")
            _band(column[1], np.asarray(steps), found.loss.T, **look)
    _finish(panels, list(networks), rows=(f"{AT_MAPS}, {deepest} layers", "loss"), xlabels=("layer", "step"))
    panels[1, 0].legend(loc="best")
    frame(figure, "The learning signal while networks train", [_seeds(plans), GAPS, note], panels[0, 0])
    return figure


def _networks(plans: Sequence[Networks]) -> dict[str, list[Networks]]:
    found: dict[str, list[Networks]] = {}
    for plan in plans:
        norm = plan.settings["norm"]
        name = f"{plan.settings['network']}, {'no norm' if norm == 'none' else f'{norm} norm'}"
        found.setdefault(name, []).append(plan)
    return found


def _panels(rows: int, columns: int) -> "tuple[Figure, np.ndarray]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 2.7 * columns + 0.8), 2.5 * rows + 0.9), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey="row", squeeze=False)


def _ramp(names: Sequence[str]) -> dict[str, str]:
    """Colours in order, for what is a quantity."""
    import matplotlib
    from matplotlib.colors import to_hex

    shades = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.85, len(names)))
    return {name: to_hex(shade) for name, shade in zip(names, shades, strict=True)}


def _layer(values: np.ndarray, apart: int) -> np.ndarray:
    return 1 + apart * np.arange(values.shape[-1])


def _band(axes: "Axes", x: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """A line at the geometric mean of (seeds, x), and a band from the lowest to the highest, of those that have one."""
    good = np.ma.masked_where(~(np.isfinite(values) & (values > 0)), values)
    axes.plot(x, np.ma.exp(np.ma.log(good).mean(axis=0)), **look)
    axes.fill_between(x, good.min(axis=0), good.max(axis=0), color=look["color"], alpha=0.18, linewidth=0)


def _finish(
    panels: np.ndarray, titles: Sequence[str], *, rows: Sequence[str], xlabels: Sequence[str] = ("", "layer")
) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    for axes in panels.flat:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 50 * low:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        tidy(axes)
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title)
    for row, label, below in zip(panels, rows, xlabels, strict=True):
        row[0].set_ylabel(label)
        for axes in row:
            axes.set_xlabel(below)


def _seeds(plans: Sequence[Networks]) -> str:
    return seeds_note([len(plan.numbers) for plan in plans]).replace("mean", "geometric mean")
