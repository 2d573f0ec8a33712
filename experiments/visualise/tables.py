"""The tables of one network that was looked at: what its maps respond to, and what the checks came to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnjax import analysis
from cnnjax.runs import Table
from cnnjax.stats.intervals import over_images
from experiments.shared.strongest import chance_purity, purity
from experiments.shared.subject import Subject
from experiments.shared.unit_checks import RULES
from experiments.visualise.found import Arrays, Found

RESPONSES = "What the maps of each layer respond to"
ROBUST = "What of the pictures survives other weights"
AREAS = "Do the pixels that count decide the class?"
POINTING = "Does the strongest pixel lie on what is asked for?"
CAPTIONS = {
    RESPONSES: (
        "r: receptive field. Extent: diameter in pixels of the disc that holds 95 % of a projection, the median. One "
        "class: share of a map's strongest images that are of their most common class, the mean over maps that are "
        "alive, those that some image makes positive; beside it the same for the network before training, and for "
        "images drawn at random."
    ),
    ROBUST: (
        "Spearman's correlation of a picture of the class with the one after layers were drawn anew, from the "
        "top; like the image: Pearson's correlation with the image. Adebayo et al. 2018, from the first to all layers: "
        "gradient .15 to .01, deconvnet .65 to .44, guided .95 to .64. Nie et al. 2018 say why: the last two partly "
        "recover the image."
    ),
    AREAS: (
        "Area under the probability of the class while pixels become the mean pixel (deletion, the less the better) or "
        "replace it (insertion, the more the better), the most important first, in percent."
    ),
    POINTING: (
        "In images of twice the side: of two shapes the one that is asked for, or of four test images in the quarters "
        "the one whose class is asked for; in percent. A deconvnet's picture is of a feature; it is not made to find "
        "what is asked for."
    ),
}


def layer_rows(subject: Subject, fields: Mapping[str, analysis.ReceptiveField], found: Found) -> list[dict[str, Any]]:
    """A row for each layer: sizes in pixels, shares of the images of one class in [0, 1]."""
    rows = []
    labels = subject.images.labels
    for layer, top in found.tops.items():
        alive = top["values"][:, 0] > 0
        row: dict[str, Any] = {
            "layer": layer,
            "receptive_field": float(fields[layer].size[0]),
            "measured_maps": len(alive),
            "channels": int(top["channels"]),
            "alive": int(alive.sum()),
            "extent": float(np.nanmedian(top["extent"][alive])) if alive.any() else float("nan"),
        }
        if labels is not None:
            row["purity"] = float(purity(top["images"][alive], labels).mean()) if alive.any() else float("nan")
            row["purity_untrained"] = float(purity(top["untrained"], labels).mean())
            row["purity_chance"] = chance_purity(labels, top["images"].shape[1])
        if layer in found.pasts:
            images = found.pasts[layer]["images"]
            for epoch, at in zip(found.pasts[layer]["epochs"], images, strict=True):
                row[f"same_image_epoch_{epoch}"] = float((at == images[-1]).mean())
        rows.append(row)
    return rows


def shown_layers(rows: list[dict[str, Any]], found: Found, subject: Subject) -> list[dict[str, str]]:
    side = subject.images.pixels.shape[1]
    shown = []
    for row in rows:
        cells = {
            "layer": row["layer"],
            "r": f"{row['receptive_field']:g}",
            "r / image": f"{row['receptive_field'] / side:.2f}",
            "alive": f"{row['alive']} of {row['measured_maps']}",
            "extent": f"{row['extent']:.1f}",
        }
        if "purity" in row:
            cells |= {
                "one class": f"{100 * row['purity']:.0f} %",
                "untrained": f"{100 * row['purity_untrained']:.0f} %",
                "by chance": f"{100 * row['purity_chance']:.0f} %",
            }
        shown.append(cells)
    return shown


def check_rows(found: Found) -> list[dict[str, Any]]:
    """Every number of the checks: the mean over images of each measure."""
    return [
        {"check": check, "measure": name, "mean": float(np.nanmean(values)), "images": values.size}
        for check, arrays in found.checks.items()
        for name, values in sorted(arrays.items())
        if values.ndim == 1 and not name.endswith("/steps")
    ]


def check_tables(found: Found) -> dict[str, Table]:
    """The checks as tables, by title; that of pointing is left out where it could not be played."""
    cascade, recovery = found.checks["cascade"], found.checks["recovery"]
    rows: list[dict[str, Any]] = []
    for rule in RULES:
        names = cascade_layers(cascade, rule)
        row: dict[str, Any] = {"rule": rule}
        for text, number in (("first", 0), ("half", (len(names) - 1) // 2), ("all", len(names) - 1)):
            row[f"{text} drawn anew"] = _mean(cascade[f"{names[number]}/signed"], shares=False)
        row["all, absolute"] = _mean(cascade[f"{names[-1]}/absolute"], shares=False)
        for which in ("trained", "untrained"):
            row[f"like the image, {which}"] = _mean(recovery[f"{rule}/{which}"], shares=False)
        rows.append(row)
    tables = {ROBUST: Table(rows, digits=2)}
    areas = found.checks["perturbation"]
    methods = list(dict.fromkeys(name.rpartition("/")[0] for name in areas))
    tables[AREAS] = Table(
        [
            {
                "method": name,
                **{kind: _mean(areas[f"{name}/{kind}"], shares=True) for kind in ("deletion", "insertion")},
            }
            for name in sorted(methods, key=_order)
        ],
        percent=True,
    )
    if pointing := found.checks["pointing"]:
        names = sorted((name for name in pointing if name != "share"), key=_order)
        rows = [{"method": name, "hits": _mean(pointing[name], shares=True)} for name in names]
        tables[POINTING] = Table(
            [*rows, {"method": "share of the image", "hits": float(pointing["share"].mean())}], percent=True
        )
    return tables


def cascade_layers(cascade: Arrays, rule: str) -> list[str]:
    """`RULE/NUMBER/LAYER` in the order in which layers were drawn anew."""
    return sorted(name.rpartition("/")[0] for name in cascade if name.startswith(f"{rule}/") and "/signed" in name)


def _order(name: str) -> tuple[int, str]:
    return ([*RULES, name].index(name), name)


def _mean(values: np.ndarray, *, shares: bool) -> Any:
    """The mean over images with its interval; NaN are left out, as pictures of nothing but zeros."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan")
    return over_images({"value": finite[None]}, lambda means: means["value"], shares=shares)
