"""The figures of one network that was looked at."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from cnnjax import analysis
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.figures.pictures import (
    curves_figure,
    evolution_figure,
    filter_figure,
    mosaic,
    occlusion_figure,
    sheet_figure,
    signed_gray,
)
from experiments.shared.montage import montage
from experiments.shared.subject import Subject, even
from experiments.shared.unit_checks import KEPT, LOGITS, RULES
from experiments.visualise.found import Arrays, Found
from experiments.visualise.tables import cascade_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVOLVED = 6
"""Maps in a figure of evolution."""


def figures(
    subject: Subject, fields: Mapping[str, analysis.ReceptiveField], found: Found, rule: Rule
) -> "dict[str, Figure]":
    """Every figure by its file's name."""
    drawn: dict[str, Figure] = {}
    where = _where(subject)
    for layer, top in found.tops.items():
        drawn |= of_layer(subject, layer, top, found.pasts.get(layer), fields[layer], rule)
    drawn |= of_filters(subject, found.kernel)
    drawn["occlusion"] = _occlusion(subject, found.occluded, where)
    drawn |= _invariance(found, where)
    drawn |= _cascade(found.checks["cascade"], where)
    return drawn


def of_layer(
    subject: Subject, layer: str, top: Arrays, past: Arrays | None, field: analysis.ReceptiveField, rule: Rule
) -> "dict[str, Figure]":
    """The figures of a layer by their files' names: its montage, and where it was kept its evolution."""
    drawn = {f"montage_{layer}": montage(layer, top, field, rule=rule, where=_where(subject))}
    if past is not None:
        drawn[f"evolution_{layer}"] = _evolution(layer, top, past, _where(subject))
    return drawn


def of_filters(subject: Subject, kernel: np.ndarray | None) -> "dict[str, Figure]":
    """The figure of the first layer's filters, where they can be shown as colours or grey."""
    if kernel is None or kernel.shape[2] not in (1, 3):
        return {}
    return {"filters": _filters(kernel, _where(subject))}


def _where(subject: Subject) -> str:
    return f"{subject.title}; {subject.images.name}."


def _evolution(layer: str, top: Arrays, past: Arrays, where: str) -> "Figure":
    rows = even(range(len(top["shown"])), EVOLVED)
    same = (past["images"] == past["images"][-1]).mean(1)
    columns = [f"epoch {epoch}\n{100 * share:.0f} %" for epoch, share in zip(past["epochs"], same, strict=True)]
    return evolution_figure(
        past["pictures"][:, rows].swapaxes(0, 1),
        past["patches"][:, rows].swapaxes(0, 1),
        rows=[f"map {top['maps'][top['shown'][row]]}" for row in rows],
        columns=columns,
        title=f"Maps of {layer} through training",
        note=(
            "Above: projection of the strongest unit; below: what it sees, in the image that excites the map most "
            f"at that epoch. Percent: of {past['images'].shape[1]} maps, those whose strongest image is that of the "
            f"last epoch. {where}"
        ),
    )


def _filters(kernel: np.ndarray, where: str) -> "Figure":
    weights = jnp.asarray(kernel)
    angle, selectivity = (np.asarray(x) for x in analysis.filter_orientation(weights))
    labels = [f"{a:.0f}° ({s:.1f})" for a, s in zip(angle, selectivity, strict=True)]
    rms = np.asarray(analysis.filter_rms(weights))
    note = f"In brackets: how much a filter prefers its orientation, 0 to 1. RMS {rms.min():.2f} to {rms.max():.2f}."
    if kernel.shape[2] == 3:
        chroma = np.asarray(analysis.filter_chroma(weights))
        labels = [f"{label}\nchroma {c:.2f}" for label, c in zip(labels, chroma, strict=True)]
    return filter_figure(kernel, title="Filters of the first layer", labels=labels, note=f"{note} {where}")


def _occlusion(subject: Subject, arrays: Arrays, where: str) -> "Figure":
    count = len({name.partition("/")[0] for name in arrays})
    images, classes = [], set()
    for number in range(count):
        part = {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith(f"{number}/")}
        classes |= {*np.unique(part["prediction"]).tolist(), int(part["label"])}
        total, probability, prediction = part["in_the_open"].tolist()
        images.append(
            analysis.Occlusion(
                part["image"],
                part["total_activation"],
                part["projection"],
                part["probability"],
                part["prediction"],
                (part["rows"], part["columns"]),
                channel=int(part["channel"]),
                label=int(part["label"]),
                in_the_open=(total, probability, int(prediction)),
            )
        )
    side = int(arrays["0/size"])
    right = "the right class" if subject.images.labels is not None else "the network's own answer"
    return occlusion_figure(
        images,
        {int(c): subject.class_name(int(c)) for c in classes},
        title="What the network loses when a part of the image is covered",
        note=(
            f"A grey square of {side}×{side} pixels slides over the first {count} images; each cell stands for the "
            f"place of its centre. The class is {right}. {where}"
        ),
    )


def _invariance(found: Found, where: str) -> "dict[str, Figure]":
    names = list(found.tops)
    chosen = list(dict.fromkeys([names[0], names[-1], LOGITS]))
    xlabels = {"translation": "pixels to the right", "scale": "factor", "rotation": "degrees"}
    distances = {
        what: (found.moved[f"{what}/strength"], {name: found.moved[f"{what}/{name}"] for name in chosen})
        for what in xlabels
    }
    probability = {
        what: (found.moved[f"{what}/strength"], {"probability of the class": found.moved[f"{what}/probability"]})
        for what in xlabels
    }
    return {
        "invariance": curves_figure(
            distances,
            ylabel="relative distance",
            title="How far transforms take the features of each layer",
            xlabels=xlabels,
            note=f"Euclidean distance over the length of the image's own features; what comes in is black. {where}",
        ),
        "confidence": curves_figure(
            probability,
            ylabel="probability",
            title="What transforms leave of the class",
            xlabels=xlabels,
            note=f"Mean over the same images. {where}",
        ),
    }


def _cascade(cascade: Arrays, where: str) -> "dict[str, Figure]":
    panels = {}
    for kind in ("signed", "absolute"):
        lines = {}
        for rule in RULES:
            lines[rule] = [1.0, *(float(np.nanmean(cascade[f"{n}/{kind}"])) for n in cascade_layers(cascade, rule))]
        panels[f"{kind} pictures"] = (np.arange(len(lines[RULES[0]])), lines)
    layers = ", ".join(name.split("/")[2] for name in cascade_layers(cascade, RULES[0]))
    label = dict.fromkeys(panels, "layers drawn anew, from the top")
    sheets, rows = [], []
    for image in range(min(KEPT, len(cascade["images"]))):
        for rule in RULES:
            signed = cascade[f"{rule}/maps"][:, image]
            sheets.append(
                [mosaic(cascade["images"][image][None], 1), *(mosaic(signed_gray(p[None]), 1) for p in signed)]
            )
            rows.append(rule)
    columns = ["image", *("trained" if n == 0 else f"{n} drawn\nanew" for n in cascade[f"{RULES[0]}/steps"])]
    return {
        "cascade": curves_figure(
            panels,
            ylabel="rank correlation",
            title="What of a picture survives when layers are drawn anew",
            xlabels=label,
            note=f"With the trained network's own pictures; means over images. Order: {layers}. {where}",
        ),
        "cascade_pictures": sheet_figure(
            sheets, rows=rows, columns=columns, title="Pictures of the class as layers are drawn anew", note=where
        ),
    }
