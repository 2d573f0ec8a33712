"""The comparisons of an experiment's cells, seed by seed, as a file of its run."""

import collections
from collections.abc import Sequence

from cnnjax.door import checked
from cnnjax.runs import RunDirectory, read_summary
from cnnjax.stats import compare_summary


@checked()
def write_comparisons(run: RunDirectory, scores: Sequence[str], pairs: Sequence[tuple[str, str]]) -> None:
    """Write `comparisons.csv`, for each of `scores` in the run's summary a row for each of `pairs`: cell and against.

    See `stats.compare_summary`. Pairs of which a cell has fewer than two seeds are left out; where none is left, no
    file is written.
    """
    summary = read_summary(run.path)
    finished = summary.query("status == 'ok'")
    counts = collections.Counter(finished["cell"])
    possible = [pair for pair in pairs if all(counts[cell] > 1 for cell in pair)]
    known = [score for score in scores if score in summary]
    if possible and known:
        table = compare_summary(finished, known, pairs=possible)
        run.write_table("comparisons", table)
