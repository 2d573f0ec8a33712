"""What was logged of the trainings of a run's cells."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnjax.runs import RunDirectory, read_metrics

if TYPE_CHECKING:
    import pandas as pd


def read_trainings(run: RunDirectory, cells: Sequence[str]) -> "pd.DataFrame | None":
    """The records of the cells' trainings, each step once; None, with a warning, where they were lost."""
    metrics = read_metrics(run.path, keys=("cell", "seed", "step"))
    if metrics.empty:
        warnings.warn(f"{run.path / 'metrics.jsonl'} is empty: there is nothing to show of the training", stacklevel=3)
        return None
    # Beside records of other kinds, whole numbers are read as floats.
    return metrics.query("cell in @cells").astype({"seed": "int64", "step": "int64"})
