"""Networks side by side: who is nearest to invariant, and which layers break it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnjax.runs import Table
from cnnjax.stats import Interval
from experiments.measure.figures import shares_of
from experiments.measure.found import Found

COLUMNS = {
    "shift_zero.consistency": "consistency: zero",
    "shift_circular.consistency": "circular",
    "shift_crop.consistency": "crop",
    "shift_subpixel.consistency": "sub-pixel",
    "rotation.consistency": "rotation",
    "shift_zero.worst_accuracy": "worst: zero",
    "rotation.worst_accuracy": "worst: rotation",
}
"""Scores of the table of answers."""
Scores = Mapping[str, Mapping[str, Interval]]


def comparison_tables(every: Scores, found: Mapping[str, Found], paired: Any) -> list[Table]:
    """The networks, their answers, the layers that break equivariance most, and the paired comparisons."""
    keys = [key for key in COLUMNS if any(key in scores for scores in every.values())]
    networks, answers = [], []
    for name, scores in every.items():
        anatomy, lie = found[name].anatomy.values(), found[name].lie.get("logits", {})
        row: dict[str, Any] = {
            "network": name,
            "parameters": f"{sum(layer['parameters'] for layer in anatomy):,}",
            "M multiply-adds": f"{sum(layer['multiply_adds'] for layer in anatomy) / 1e6:.3g}",
        }
        row |= {"accuracy": scores["accuracy"]} if "accuracy" in scores else {}
        networks.append(row | {f"Lie, {text}": _number(lie.get(f"relative {g}")) for g, text in SHORT.items()})
        answers.append({"network": name} | {COLUMNS[key]: scores.get(key) for key in keys})
    about = "Lie: the derivative of the logits over a pixel and over a radian, relative to their norm."
    tables = [
        Table(networks, "Networks", about, percent=[name for name in ("accuracy",) if name in networks[0]]),
        Table(answers, "Answers under transforms", _best(every, keys), percent=[COLUMNS[key] for key in keys]),
    ]
    if broken := [row for name, one in found.items() for row in _breaking(name, one)]:
        caption = "What the layer adds to the Lie derivative of the logits, with all other layers as they are."
        tables.append(Table(broken, "Which layers break equivariance most", caption))
    if paired is not None:
        tables.append(_paired(paired, every))
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
    return f"In percent. Most consistent under {'; '.join(sentences)}." if sentences else "In percent."


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


FEW = 3
"""Networks of which every pair is shown."""


def _paired(paired: Any, every: Scores) -> Table:
    """The comparisons of the main scores; of many networks, those with the best by each score."""
    rows = []
    for row in paired.to_dict("records"):
        score, pair = row["score"], (row["cell"], row["against"])
        means = {name: scores[score].mean for name, scores in every.items() if score in scores}
        best = max(means, key=means.__getitem__)
        main = score == "accuracy" or score.endswith(".consistency")
        if not main or (len(every) > FEW and best not in pair):
            continue
        interval = Interval(row["difference"], row["low"], row["high"], int(row["n"]), "images")
        shown = {"score": score, "network": pair[0], "against": pair[1], "difference": interval}
        rows.append(shown | {"higher": row["higher"], "lower": row["lower"], "p (Holm)": f"{row['p_holm']:.2g}"})
    which = "the best by each score against the others" if len(every) > FEW else "every pair"
    caption = (
        f"Differences over the same images, in percent: {which}; all pairs and scores, over which p is corrected, are "
        "in comparisons.csv. Higher, lower: on how many images."
    )
    return Table(rows, "Paired comparisons", caption, percent=("difference",))


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.2g}"
