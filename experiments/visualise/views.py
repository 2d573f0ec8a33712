"""Single images under a covering square and under transforms, as Zeiler & Fergus look at them (figures 5 and 7)."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Int

from cnnjax import analysis
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.runs import Progress
from experiments.shared.subject import Subject
from experiments.shared.unit_checks import LOGITS, right_classes

Arrays = dict[str, np.ndarray]


def covered(subject: Subject, rows: Int[np.ndarray, " n"], layer: str, rule: Rule, progress: Progress) -> Arrays:
    """The five panels of each image, `NUMBER/PANEL`."""
    found: Arrays = {}
    labels = right_classes(subject, rows)
    for number, (image, label) in enumerate(zip(subject.floats(rows), labels, strict=True)):
        progress.advance(number, len(rows), f"covering image {rows[number]}")
        side = max(3, image.shape[0] // 5)
        seen = analysis.occlusion(
            subject.forward(),
            image,
            layer,
            label=int(label),
            logits=LOGITS,
            size=side,
            stride=max(1, side // 5),
            rule=rule,
        )
        found |= {
            f"{number}/image": seen.image,
            f"{number}/total_activation": seen.total_activation,
            f"{number}/projection": seen.projection,
            f"{number}/probability": seen.probability,
            f"{number}/prediction": np.asarray(seen.prediction),
            f"{number}/label": np.array(seen.label),
            f"{number}/channel": np.array(seen.channel),
            f"{number}/rows": seen.centers[0],
            f"{number}/columns": seen.centers[1],
            f"{number}/in_the_open": np.array(seen.in_the_open),
            f"{number}/size": np.array(side),
        }
    return found


def transforms(side: int) -> Mapping[str, tuple[Sequence[float], Sequence[analysis.Transform]]]:
    """Strengths and transforms of a square image, by what they do."""
    step = max(1, side // 16)
    farthest = side // 4 // step * step
    shifts = range(-farthest, farthest + 1, step)
    angles = range(0, 360, 15)
    scales = np.round(np.geomspace(0.5, 2, 9), 3)
    return {
        "translation": (list(shifts), [analysis.Shift((0, d), fill="zero") for d in shifts]),
        "scale": (scales.tolist(), [analysis.Scale(float(s)) for s in scales]),
        "rotation": (list(angles), [analysis.Rotation(float(a)) for a in angles]),
    }


def invariance(subject: Subject, rows: Int[np.ndarray, " n"], layers: Sequence[str], progress: Progress) -> Arrays:
    """`WHAT/LAYER` and `WHAT/probability`, means over images for each strength `WHAT/strength`."""
    images, labels, f = subject.floats(rows), right_classes(subject, rows), subject.forward()
    found: Arrays = {}
    kinds = transforms(images.shape[1])
    for done, (name, (strengths, moved)) in enumerate(kinds.items()):
        progress.advance(done, len(kinds), f"features under {name}")
        curves = analysis.invariance_curve(f, images, moved)
        found[f"{name}/strength"] = np.asarray(strengths, np.float64)
        for layer in (*layers, LOGITS):
            found[f"{name}/{layer}"] = np.nanmean(curves[layer], axis=1)
        found[f"{name}/probability"] = analysis.confidence_curve(f, images, labels, moved, logits=LOGITS).mean(1)
    return found


def first_kernel(subject: Subject) -> np.ndarray | None:
    """The kernel (height, width, channels, features) that is read from the image itself; None where there is none."""
    channels = subject.images.pixels.shape[-1]
    kernels = [
        (path, leaf)
        for path, leaf in jax.tree.leaves_with_path(subject.variables)
        if str(getattr(path[-1], "key", "")) == "kernel" and leaf.ndim == 4 and leaf.shape[2] == channels
    ]
    return np.asarray(kernels[0][1]) if kernels else None
