"""The tables of networks that were measured: scores, layers, generators, checks of pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnjax.runs import Table
from cnnjax.stats import Interval, over_images
from experiments.measure.figures import TERMS, shares_of
from experiments.measure.found import Found
from experiments.measure.scope import Values

SCORES = {
    "mean_accuracy": "accuracy, mean",
    "worst_accuracy": "worst case",
    "consistency": "consistency",
    "pairwise_consistency": "of pairs",
    "flip_rate": "flip rate",
    "total_variation": "total variation",
}
"""Columns of the table of orbits."""
ORBITS = {
    "shift_zero": "shifts, zeros come in",
    "shift_circular": "shifts, circular",
    "shift_crop": "shifts, crops",
    "shift_subpixel": "shifts of parts of a pixel",
    "rotation": "rotations",
}
MEANING = (
    "Mean accuracy is over the transforms; the worst case is right untransformed and under every one. Consistency: the "
    "share of transforms under which the answer stays; flip rate: of steps between neighbours that change it; total "
    "variation: by how much the chances of classes change. In percent."
)


def orbit_table(scores: Mapping[str, Interval], found: Found) -> Table:
    """The protocol's scores, a row for each orbit."""
    rows = []
    for orbit, task in found.todo.items():
        row: dict[str, Any] = {"orbit": ORBITS[orbit], "transforms": len(task.orbit.parameters)}
        rows.append(row | {text: scores[key] for name, text in SCORES.items() if (key := f"{orbit}.{name}") in scores})
    rows = [{name: row.get(name) for name in dict.fromkeys(n for r in rows for n in r)} for row in rows]
    percent = [name for name in rows[0] if name not in ("orbit", "transforms")]
    return Table(rows, "How the answers hold under transforms", MEANING, percent=percent)


def layer_rows(found: Found) -> list[dict[str, Any]]:
    """Every number about every layer, as in `layers.csv`."""
    rows = []
    for name, about in found.anatomy.items():
        row: dict[str, Any] = {
            "layer": name,
            "shape": "×".join(map(str, about["shape"])),
            "receptive_field": about["size"][0],
            "stride": about["stride"][0],
            "padding": about["padding"][0],
            "parameters": about["parameters"],
            "multiply_adds": about["multiply_adds"],
            "effective_radius": found.effective.get(name, {}).get("radius"),
        }
        for prefix, part in (("error ", found.terms), ("", found.lie), ("variance ", found.variance)):
            row |= {f"{prefix}{key}".replace(" ", "_"): value for key, value in part.get(name, {}).items()}
        rows.append(row | {f"signal_{key}": value for key, value in found.gradients.get(name, {}).items()})
    return rows


def layer_table(found: Found) -> Table:
    """The layers that were measured, the main numbers of each."""
    rows = []
    for name in found.layers.measured:
        about, lie = found.anatomy[name], found.lie.get(name, {})
        row: dict[str, Any] = {
            "layer": name,
            "map": "×".join(map(str, about["shape"])),
            "r": f"{about['size'][0]:g}" if about["stride"][0] else "image",
            "S": f"{about['stride'][0]:g}" if about["stride"][0] else "–",
            "effective": _number(2 * found.effective[name]["radius"], 3) if name in found.effective else "–",
            "parameters": f"{about['parameters']:,}",
            "M multiply-adds": f"{about['multiply_adds'] / 1e6:.3g}",
        }
        row |= {"error" if term == "total" else term: _of(found.terms, name, term) for term in TERMS}
        row |= {
            "Lie: shift": _number(lie.get("relative translation_x")),
            "Lie: turn": _number(lie.get("relative rotation")),
            "at border": _number(lie.get("border rotation")),
            "variation": _number(lie.get("variation")),
            "share: shift": _percent(lie.get("share translation_x")),
            "share: turn": _percent(lie.get("share rotation")),
            "variance: shifts": _of(found.variance, name, "shifts"),
            "variance: turns": _of(found.variance, name, "rotations"),
            "gradient": _of(found.gradients, name, "gradient"),
        }
        rows.append(row)
    caption = (
        "r, S: receptive field and stride in pixels; effective: diameter of the disc that holds 95 % of the effective "
        "field. Error under a shift, of which aliasing, border and content. Lie: the derivative over the activation, "
        "for a pixel and for a radian; at border: how fast the map turns there, on that scale: where it is not far "
        "below Lie: turn, that may be of the border; variation: of images about their mean, 0 for a layer that ignores "
        "them; share: what the layer adds to the derivative of the logits. Variance: normalised; gradient: norm of the "
        "loss's. Multiply-adds are in millions for an image."
    )
    return Table(rows, "Layers", caption)


def generator_table(found: Found) -> Table:
    """The Lie derivative of the logits under every generator, and the layers that add most to it."""
    rows = []
    for key in found.lie.get("logits", {}):
        if key.startswith("relative "):
            generator = key.removeprefix("relative ")
            shares = sorted(shares_of(found, generator).items(), key=lambda item: -item[1])
            logits = found.lie["logits"]
            row = {"generator": generator.replace("_", " "), "derivative / logits": _number(logits[key])}
            row["at border"] = _number(logits.get(f"border {generator}"))
            texts = [*(f"{name}: {_percent(share)}" for name, share in shares), *["–"] * len(PLACES)]
            rows.append(row | dict(zip(PLACES, texts, strict=False)))
    caption = (
        "For a pixel, a radian, a factor of e, a unit of brightness. At border: how fast the images move there, over "
        "their size; the larger, the more of the derivative may be of the border. Shares of the layers add up to 100 %."
    )
    return Table(rows, "Lie derivatives of the logits", caption)


NEGLIGIBLE = 1e-5
"""Of norms over norms: what rounding makes of 0."""
PLACES = ("largest share", "second", "third")


def check_table(units: Mapping[str, Any]) -> Table:
    """How far the projections can be believed: what of such pictures survives other weights, or copies the image."""
    cascade, recovery = units["cascade"], units["recovery"]
    rows = []
    for rule in ("gradient", "deconvnet", "guided"):
        names = sorted(n for n in cascade if n.startswith(f"{rule}/") and n.endswith("/signed"))
        row: dict[str, Any] = {"rule": rule, "first drawn anew": _mean(cascade[names[0]])}
        row |= {"all drawn anew": _mean(cascade[names[-1]])}
        rows.append(row | {f"like the image, {w}": _mean(recovery[f"{rule}/{w}"]) for w in ("trained", "untrained")})
    caption = (
        "Rank correlation of a picture of the class with the one after layers were drawn anew, from the top; like the "
        "image: correlation with the image itself. What survives says nothing about what was learnt."
    )
    return Table(rows, "How far pictures of units can be believed", caption, digits=2)


def _mean(values: np.ndarray) -> Any:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan")
    return over_images({"value": finite[None]}, lambda means: means["value"])


def _of(values: Values, layer: str, key: str) -> str:
    return _number(values.get(layer, {}).get(key))


def _number(value: float | None, digits: int = 2) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return "0" if abs(value) < NEGLIGIBLE else f"{value:.{digits}g}"


def _percent(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{round(100 * value):d} %"
