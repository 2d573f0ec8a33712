"""The strongest units of a network, projected to pixels, and how far such pictures of it can be believed."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cnnjax import analysis
from cnnjax.runs import Progress
from experiments.measure.cells import image_count
from experiments.measure.layers import Layers
from experiments.measure.scope import Scope
from experiments.shared import unit_checks
from experiments.shared.growing_fields import shown
from experiments.shared.strongest import strongest
from experiments.shared.subject import Subject

PARTS = 5
"""Cells of the progress: two layers, three checks."""
MAPS, STRONGEST = 8, 9
RULE = "deconvnet"


def unit_layers(layers: Layers) -> list[str]:
    """The layers whose units are shown: the middle and the last of those whose fields grow evenly."""
    names = shown({name: layers.fields[name] for name in layers.maps}) if layers.maps else []
    return list(dict.fromkeys([names[len(names) // 2], names[-1]])) if names else []


def why_none(subject: Subject, layers: Layers) -> str:
    """Why no units are projected; empty where they are. Nothing is run."""
    if not layers.maps:
        return "The network has no maps, so no units are shown."
    struct = jax.ShapeDtypeStruct((2, *subject.images.pixels.shape[1:]), np.float32)
    if not analysis.rectifiers(subject.forward(), struct).found:
        return "The network has no rectifier, max(x, 0), so the backward rules of projections do not apply to it."
    return ""


def measure(
    subject: Subject, scope: Scope, progress: Progress, layers: Layers, once: Callable[[str, Callable[[], Any]], Any]
) -> dict[str, Any]:
    """Arrays by "unit=LAYER", "cascade", "recovery" and, unless quick, "perturbation"."""
    if why_none(subject, layers):
        return {}
    names, rows = unit_layers(layers), np.arange(image_count(scope, layers, held=4))
    k = min(STRONGEST, len(subject.images.pixels))
    found = {
        f"unit={name}": once(
            f"unit={name}",
            lambda name=name: strongest(subject, name, k=k, shown=MAPS, rule=RULE, progress=progress),
        )
        for name in names
    }
    checks = {
        "cascade": lambda: unit_checks.cascades(subject, rows, progress, most=scope.randomised),
        "recovery": lambda: unit_checks.recoveries(subject, rows, progress),
    }
    if not scope.quick:
        checks["perturbation"] = lambda: unit_checks.perturbations(subject, rows, names[-1], progress)
    return found | {name: once(name, check) for name, check in checks.items()}
