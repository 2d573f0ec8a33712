"""The figures of one network that was measured, and of several side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures import angle_curves, colors, depth_figure, translation_maps
from cnnjax.figures.style import FAINT, frame, styled, tidy
from experiments.measure.cells import SHIFT
from experiments.measure.found import Found
from experiments.measure.invariance import rates
from experiments.measure.units import RULE, unit_layers
from experiments.shared.montage import montage
from experiments.shared.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILLS = {"shift_zero": "zeros come in", "shift_circular": "what left comes in", "shift_crop": "crops of the image"}
NAMED = 40
"""Layers on an axis at most."""
Lines = Mapping[str, Mapping[str, float]]
"""By line, numbers by layer."""


def of_network(subject: Subject, found: Found) -> "dict[str, Figure]":
    """The figures of one network by name, in the order in which they are read."""
    labels, where = subject.images.labels, f"{subject.title}; {subject.images.name}."
    drawn: dict[str, Any] = {}
    if "rotation" in found.todo:
        drawn["circle"] = circle({subject.title: found}, labels, note=where)
    maps = {name: fill for name, fill in FILLS.items() if name in found.todo}
    if maps:
        grids = {fill: translation_grid(found, name, labels) for name, fill in maps.items()}
        kept = "kept answers" if labels is None else "accuracy"
        drawn["translation"] = translation_maps(grids, label=kept, columns=3, note=where)
    if found.lie:
        drawn["lie"] = lie(found, where)
    if found.terms:
        drawn["terms"] = by_layer(
            found.layers.measured,
            [("share of the activation", {term: _line(found.terms, term) for term in TERMS}, False)],
            title="Why a shift does not just move the maps",
            note=f"Shift by {SHIFT.offset} pixels with zeros coming in. {where}",
        )
    if found.layers.maps:
        fields = {name: found.layers.fields[name] for name in found.layers.maps}
        radii = {name: 2 * values["radius"] for name, values in found.effective.items()}
        drawn["fields"] = depth_figure(fields, effective=radii, note=where)
    drawn["signals"] = by_layer(
        found.layers.measured,
        [
            ("normalised variance", {kind: _line(found.variance, kind) for kind in ("shifts", "rotations")}, False),
            ("gradient of the loss (norm)", {"gradient": _line(found.gradients, "gradient")}, True),
        ],
        title="How far layers move under transforms, and how the learning signal reaches them",
        note=f"Normalised variance: 0 for invariant units, 1 where another transform is as another image. {where}",
    )
    for name in unit_layers(found.layers):
        if (top := found.units.get(f"unit={name}")) is not None:
            field = found.layers.fields[name]
            drawn[f"units_{name.replace('/', '_')}"] = montage(name, top, field, rule=RULE, where=where)
    return drawn


TERMS = ("total", "aliasing", "border", "content")


def circle(networks: Mapping[str, Found], labels: np.ndarray | None, *, note: str) -> "Figure":
    """The share of images that keep their answer, and of one network that are right, against the angle."""
    curves, degrees = {}, np.zeros(1)
    for name, found in networks.items():
        seen = rates(found.predictions, "rotation", labels)
        degrees = np.concatenate([[0.0], found.todo["rotation"].orbit.parameters])
        curves["same answer" if len(networks) == 1 else name] = seen.same[None]
        if len(networks) == 1 and seen.right is not None:
            curves["right answer"] = seen.right[None]
    label = "images" if len(networks) == 1 else "same answer as upright"
    return angle_curves(curves, degrees, ylabel=label, title="Answers under rotation", note=note)


def translation_grid(found: Found, orbit: str, labels: np.ndarray | None) -> np.ndarray:
    """Accuracy under every shift, the share of kept answers where classes are not known; the identity in the middle."""
    seen = rates(found.predictions, orbit, labels)
    values = seen.same if seen.right is None else seen.right
    side = round(len(values) ** 0.5)
    return np.insert(values[1:], len(values) // 2, values[0]).reshape(side, side)


def lie(found: Found, where: str) -> "Figure":
    """The relative Lie derivative of every layer, and what each adds to that of the logits."""
    keys = list(dict.fromkeys(key for values in found.lie.values() for key in values))
    relative, shares = (
        {key.partition(" ")[2].replace("_", " "): _line(found.lie, key) for key in keys if key.startswith(kind)}
        for kind in ("relative", "share")
    )
    return by_layer(
        found.layers.measured,
        [("Lie derivative / activation", relative, True), ("share of the logits' derivative", shares, False)],
        title="Which layers break equivariance",
        note=(
            "Above: 0 if a layer moves along with a small transform, for a pixel, a radian, a factor of e. Below: what "
            f"each layer adds to the Lie derivative of the logits; shares add up to 1. {where}"
        ),
    )


def _line(values: Mapping[str, Mapping[str, float]], key: str) -> dict[str, float]:
    return {layer: row[key] for layer, row in values.items() if key in row}


@styled()
def by_layer(
    layers: Sequence[str], panels: Sequence[tuple[str, Lines, bool]], *, title: str, note: str = ""
) -> "Figure":
    """Numbers of layers against depth, panel below panel: the label of each, its lines, whether it is logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.2 + 2.5 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    shades = colors([name for _, lines, _ in panels for name in lines])
    for axes, (label, lines, logarithmic) in zip(rows, panels, strict=True):
        for name, values in lines.items():
            places = [place for place, layer in enumerate(layers) if layer in values]
            heights = [values[layer] for layer in layers if layer in values]
            shown = "" if axes is not rows[0] and name in panels[0][1] else name
            axes.plot(places, heights, "o-", color=shades[name], markersize=3.5, linewidth=1.3, label=shown or None)
        positive = [v for values in lines.values() for v in values.values() if np.isfinite(v) and v > 0]
        if logarithmic and positive:
            axes.set_yscale("log")
        elif not logarithmic:
            axes.axhline(0, color=FAINT, linewidth=0.7)
        axes.set_ylabel(label)
        tidy(axes)
        if axes is not rows[0] and len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(loc="upper right", fontsize=8)
    every = -(-len(layers) // NAMED)
    rows[-1].set_xticks(
        range(0, len(layers), every), list(layers)[::every], rotation=60, ha="right", rotation_mode="anchor"
    )
    rows[-1].set_xlim(-0.6, len(layers) - 0.4)
    frame(figure, title, [note], rows[0])
    return figure


def shares_of(found: Found, generator: str) -> dict[str, float]:
    """What each layer adds to the Lie derivative of the logits under a generator, in order of computation."""
    line = _line(found.lie, f"share {generator}")
    return {layer: line[layer] for layer in found.layers.measured if layer in line}
