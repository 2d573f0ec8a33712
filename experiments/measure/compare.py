"""Networks side by side: who is nearest to invariant, and which layers break it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnjax.runs import Table
from cnnjax.stats import Interval
from experiments.measure.figures import shares_of
from experiments.measure.found import Found

COLUMNS = {
    "accuracy": "accuracy",
    "shift_zero.consistency": "consistency: zero",
    "shift_circular.consistency": "circular",
    "shift_crop.consistency": "crop",
    "shift_subpixel.consistency": "sub-pixel",
    "rotation.consistency": "rotation",
    "shift_zero.worst_accuracy": "worst: zero",
    "rotation.worst_accuracy": "worst: rotation",
}
"""Scores of the table of networks."""
Scores = Mapping[str, Mapping[str, Interval]]


def comparison_tables(every: Scores, found: Mapping[str, Found], paired: Any) -> list[Table]:
    """The networks, the layers that break equivariance most, and the paired comparisons."""
    keys = [key for key in COLUMNS if any(key in scores for scores in every.values())]
    rows = []
    for name, scores in every.items():
        anatomy, lie = found[name].anatomy.values(), found[name].lie.get("logits", {})
        row: dict[str, Any] = {
            "network": name,
            "parameters": f"{sum(layer['parameters'] for layer in anatomy):,}",
            "M multiply-adds": f"{sum(layer['multiply_adds'] for layer in anatomy) / 1e6:.3g}",
        }
        row |= {COLUMNS[key]: scores.get(key) for key in keys}
        rows.append(row | {f"Lie, {text}": _number(lie.get(f"relative {g}")) for g, text in SHORT.items()})
    percent = [COLUMNS[key] for key in keys]
    tables = [
        Table(rows, "Networks", f"In percent, but for the Lie derivatives. {_best(every, keys)}", percent=percent)
    ]
    if broken := [row for name, one in found.items() for row in _breaking(name, one)]:
        caption = "What the layer adds to the Lie derivative of the logits, with all other layers as they are."
        tables.append(Table(broken, "Which layers break equivariance most", caption))
    if paired is not None:
        tables.append(_paired(paired))
    return tables


SHORT = {"translation_x": "shift", "rotation": "turn"}


def _best(every: Scores, keys: list[str]) -> str:
    """Which networks have the highest of each consistency."""
    sentences = []
    for key in keys:
        if key.endswith(".consistency"):
            means = {name: scores[key].mean for name, scores in every.items() if key in scores}
            best = [name for name, mean in means.items() if mean == max(means.values())]
            sentences.append(f"{key.partition('.')[0].replace('_', ' ')}: {', '.join(best)}")
    return f"Most consistent under {'; '.join(sentences)}." if sentences else ""


def _breaking(name: str, found: Found) -> list[dict[str, Any]]:
    rows = []
    for generator, text in SHORT.items():
        shares = sorted(shares_of(found, generator).items(), key=lambda item: -item[1])[:3]
        if shares:
            row: dict[str, Any] = {"network": name, "under": f"a {text}"}
            for place, (layer, share) in zip(("most", "then", "third"), shares, strict=False):
                row |= {place: layer, f"{place}, share": f"{100 * share:.0f} %"}
            rows.append(row)
    return rows


def _paired(paired: Any) -> Table:
    rows = []
    for row in paired.to_dict("records"):
        interval = Interval(row["difference"], row["low"], row["high"], int(row["n"]), "images")
        shown = {"score": row["score"], "network": row["cell"], "against": row["against"], "difference": interval}
        rows.append(shown | {"higher": row["higher"], "lower": row["lower"], "p (Holm)": f"{row['p_holm']:.2g}"})
    caption = "Differences over the same images, in percent; higher, lower: on how many of them."
    return Table(rows, "Paired comparisons", caption, percent=("difference",))


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.2g}"
