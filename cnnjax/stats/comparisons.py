"""Paired comparisons: what two cells differ by, over the same seeds or the same images, and whether chance would do.

Networks of one seed share their initialisation and the order of their images as far as the cells allow, and all
networks share the test images. So the cells are compared pair by pair: what makes a seed or an image easy for both
cancels.

- The difference's interval is that of `intervals`: over seeds of the differences, Student's below five pairs and the
  bootstrap from five on; over images of the two means, so that of shares the interval allows for images on which the
  cells would differ and that were not seen.
- The effect is their mean over their standard deviation, Cohen's d of paired values (d_z), with Hedges' factor for few
  pairs (1981, "Distribution Theory for Glass's Estimator", eq. 6e). Its interval is the exact one for normal
  differences: the noncentral t distributions under which the observed t lies at the tails.
- Over seeds, p is that of the paired t test. Tests by ranks or by signs assume less, but five pairs have 32 patterns of
  signs: the two-sided p of Wilcoxon's test or of a permutation is never below 2/32, so none can find anything at .05,
  whatever the data. Student's assumes normal differences, which five values can neither show nor refute.
- Over images, where differences are mostly 0 and normal they are not, p is that of flipping the signs of the
  differences at random; of one network against another, right or wrong, this is McNemar's exact test.
- `holm` corrects for the number of comparisons (Holm 1979): under .05, not one of all is a chance find in 95 % of
  studies.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from cnnjax.door import checked
from cnnjax.door.limits import Shape
from cnnjax.errors import InputError
from cnnjax.stats.intervals import check_level, check_values, over_images, over_seeds

if TYPE_CHECKING:
    import pandas

_RESAMPLES = 9_999
_LARGE = 1e3  # a t beyond which its noncentral distribution is that of its denominator


@checked()
def compare(
    values: Mapping[str, ArrayLike],
    *,
    baseline: str | None = None,
    over: Literal["seeds", "images"] = "seeds",
    level: float = 0.95,
) -> "pandas.DataFrame":
    """Compare every cell with the cell `baseline`, or each pair of cells where none is named.

    `values` maps cells to one score for each seed, `(seeds,)`, or, `over` images, to one for each seed and image,
    `(seeds, images)`: the same seeds and images, in the same order, for every cell. One row a comparison: cell,
    against, the difference (cell − against) with low and high, the effect with effect_low and effect_high, in how many
    pairs the cell is higher and lower, n pairs, over, p, and p_holm over all rows.

    One pair has no interval, effect or p, and pairs that differ by the same all have no effect or p: they are NaN.
    Raises InputError for fewer than two cells, an unknown baseline, values of another shape or not finite.
    """
    import pandas as pd

    arrays = {name: np.asarray(array, np.float64) for name, array in values.items()}
    if len(arrays) < 2:
        raise InputError(f"There is nothing to compare {', '.join(arrays) or 'no cell'} with; give two cells or more.")
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(f"The cells have values of different shape: {shapes}; give the same seeds and images of each.")
    rows = [
        {"cell": cell, "against": against, **_compared(arrays[cell], arrays[against], over, level)}
        for cell, against in _pairs([*arrays], baseline)
    ]
    corrected = holm([row["p"] for row in rows])
    return pd.DataFrame([{**row, "p_holm": value} for row, value in zip(rows, corrected, strict=True)])


@checked()
def compare_summary(
    summary: "pandas.DataFrame",
    scores: Sequence[str],
    *,
    baseline: str | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    level: float = 0.95,
) -> "pandas.DataFrame":
    """`compare` over seeds for several scores of a summary, with a column score before the others.

    `summary` has the columns cell, seed and those that `scores` names. `pairs` are the comparisons to make, each of a
    cell against another; without them, each cell is compared with `baseline`, or every two cells. Seeds that lack a
    score in one of two cells, as failed ones do, are left out of their comparison, and a comparison without two seeds
    altogether; p_holm counts all rows. Raises InputError for a missing column or cell, or where nothing is left.
    """
    import pandas as pd

    if missing := [name for name in ("cell", "seed", *scores) if name not in summary]:
        raise InputError(f"The summary has no column {', '.join(missing)}; it has {', '.join(summary.columns)}.")
    cells = list(dict.fromkeys(summary["cell"]))
    if pairs is None:
        pairs = _pairs(cells, baseline)
    if absent := [name for pair in pairs for name in pair if name not in cells]:
        raise InputError(f"{absent[0]!r} is none of the cells: {', '.join(cells)}.")
    frames = []
    for score in scores:
        wide = summary.pivot(index="seed", columns="cell", values=score)
        for cell, against in pairs:
            both = wide[[cell, against]].dropna()
            if len(both) > 1:
                row = compare({name: both[name] for name in both}, baseline=against, level=level)
                frames.append(row.assign(score=score))
    if not frames:
        raise InputError(f"No two of the cells {', '.join(cells)} have two seeds in common; train more seeds.")
    frame = pd.concat(frames, ignore_index=True)
    frame["p_holm"] = holm(frame["p"])
    frame.insert(0, "score", frame.pop("score"))
    return frame


@checked()
def holm(p: Annotated[ArrayLike, Shape("tests")]) -> np.ndarray:
    """Holm's adjusted p of all the comparisons that were made, in their order; NaN stays and is not counted.

    `p̃_(i) = max over j ≤ i of min(1, (m − j + 1) p_(j))`, p sorted, m of them. Raises InputError outside [0, 1].
    """
    values = np.asarray(p, np.float64)
    made = np.flatnonzero(~np.isnan(values))
    if ((values[made] < 0) | (values[made] > 1)).any():
        raise InputError(f"p is {values.tolist()}; every p must lie in [0, 1].")
    order = made[np.argsort(values[made], kind="stable")]
    adjusted = values.copy()
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(made), 0, -1)))
    return adjusted


def _pairs(cells: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Each cell against the baseline, or against each one before it."""
    if baseline is None:
        return [(cell, against) for against, cell in itertools.combinations(cells, 2)]
    if baseline not in cells:
        raise InputError(f"The baseline {baseline!r} is none of the cells: {', '.join(cells)}.")
    return [(cell, baseline) for cell in cells if cell != baseline]


def _compared(cell: np.ndarray, against: np.ndarray, over: Literal["seeds", "images"], level: float) -> dict[str, Any]:
    differences = cell - against
    if over == "seeds":
        interval, each = over_seeds(differences, level=level), differences
    else:
        both = {"cell": cell, "against": against}
        interval = over_images(both, lambda means: means["cell"] - means["against"], level=level)
        each = differences.mean(axis=0)
    effect, effect_low, effect_high = effect_size(each, level=level)
    return {
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "effect": effect,
        "effect_low": effect_low,
        "effect_high": effect_high,
        "higher": int((each > 0).sum()),
        "lower": int((each < 0).sum()),
        "n": len(each),
        "over": over,
        "p": _p_of_seeds(each) if over == "seeds" else _p_of_images(each),
    }


@checked()
def effect_size(
    differences: Annotated[ArrayLike, Shape("values")], *, level: float = 0.95
) -> tuple[float, float, float]:
    """Hedges' g of paired differences `(n,)`, and the ends of the interval of the true effect (see the module).

    Fewer than three, or all alike, they have none: NaN. All 0, it is 0 without an interval. Raises InputError for no
    differences, for one that is not finite, and for a level outside (0, 1).
    """
    from scipy import optimize, special, stats

    check_level(level)
    each = check_values("differences", differences, ("values",))
    nan, n = float("nan"), len(each)
    if n < 3 or _alike(each):
        return (0.0 if n > 2 and not each.any() else nan), nan, nan
    d = each.mean() / each.std(ddof=1)
    free, t = n - 1, d * math.sqrt(n)
    hedges = math.exp(special.gammaln(free / 2) - special.gammaln((free - 1) / 2)) / math.sqrt(free / 2)

    def end(tail: float) -> float:
        if abs(t) > _LARGE:
            quantile = stats.chi2.ppf(tail if t > 0 else 1 - tail, free)
            return t * math.sqrt(quantile / free) / math.sqrt(n)
        reach = 5 * abs(t) + 10
        found = optimize.brentq(lambda shift: stats.nct.sf(t, free, shift) - tail, -reach, reach)
        return float(found) / math.sqrt(n)  # pyright: ignore[reportArgumentType]

    return float(hedges * d), end((1 - level) / 2), end((1 + level) / 2)


def _alike(differences: np.ndarray) -> bool:
    """Equal but for rounding: their spread would be that of the last digit."""
    return float(np.ptp(differences)) <= 1e-12 * float(np.abs(differences).max())


def _p_of_seeds(differences: np.ndarray) -> float:
    from scipy import stats

    if len(differences) < 2 or _alike(differences):
        return 1.0 if len(differences) > 1 and not differences.any() else float("nan")
    result: Any = stats.ttest_1samp(differences, 0)  # of differences: the paired test
    return float(result.pvalue)


def _p_of_images(differences: np.ndarray) -> float:
    from scipy import stats

    changed = differences[differences != 0]  # a 0 has no sign to flip
    if not len(changed):
        return 1.0
    if len(np.unique(np.abs(changed))) == 1:  # McNemar's: the number of signs says it all
        return float(stats.binomtest(int((changed > 0).sum()), len(changed)).pvalue)
    result = stats.permutation_test(
        (changed,),
        np.mean,
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        batch=max(1, 4_000_000 // len(changed)),
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)
