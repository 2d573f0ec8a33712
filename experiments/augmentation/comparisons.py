"""Whether the cells of an invariance experiment differ, by the same seeds and by the same images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnjax.stats import compare, compare_summary, holm

if TYPE_CHECKING:
    import pandas as pd

MEANS = {"accuracy": "correct", "mean_accuracy": "right", "worst_accuracy": "always_right"}
"""Scores that are means over images, and of which of `analysis.image_columns`."""


def compare_cells(
    summary: "pd.DataFrame", columns: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]], scores: Sequence[str]
) -> "pd.DataFrame":
    """Every cell of `columns` against the first, for each of `scores`: rows as `stats.compare_summary` has them.

    `summary` has a row for each cell and seed, and `columns` maps cell and orbit to `(seeds, images)` by name. Over
    seeds there are rows of all scores, where there are two seeds; over images, of those that are means over images.
    p_holm counts the rows over seeds and those over images apart, for they answer different questions.
    """
    import pandas as pd

    baseline, *_ = columns
    by_image = {}
    for score in scores:
        orbit, _, name = score.partition(".")
        if name in MEANS:
            values = {cell: parts[orbit][MEANS[name]] for cell, parts in columns.items()}
            by_image[score] = compare(values, baseline=baseline, over="images")
    over_images = pd.concat(by_image, names=["score"]).reset_index("score")
    over_images["p_holm"] = holm(over_images["p"])
    if len(next(iter(columns.values()))["test"]["correct"]) == 1:
        return over_images
    finished = pd.DataFrame(summary[summary["cell"].isin(list(columns))])
    return pd.concat([compare_summary(finished, scores, baseline=baseline), over_images])
