"""Intervals: how far a mean would move with other seeds, or with other test images.

**Over seeds.** From five on, percentile bootstrap intervals with the two small-sample corrections of Hesterberg (2015),
"What Teachers Should Know about the Bootstrap", The American Statistician 69(4), arXiv:1411.5279. The means of
resamples of n values spread by a factor of sqrt((n-1)/n) too little, so deviations from the mean are divided by it. And
a percentile interval reaches to quantiles of the normal distribution where the estimated spread asks for Student's t
with n-1 degrees of freedom, so the percentiles are taken at Phi(t). (He puts both into the percentiles; five values
have few resamples that far out.) On normal values the nominal 95 % interval then covers the truth in 93 % of studies at
n = 5, 94 % at n = 10 and 95 % at n = 20; the bare percentile interval in 84, 89 and 93 % (6,000 studies, simulated).

Below five there are too few resamples for such percentiles (27 of three values), so the interval is Student's, which
covers 95 % of normal values at every n. From five on it is no better: scores near 0 or 1 are skewed, and the bootstrap
follows that. Of accuracies of mean .97 and deviation .06 it covers 77 % at n = 5 and 85 % at n = 10, Student's 74 and
83 %: such scores want more seeds, whatever the interval.

Seeds that are all at 0 or all at 1 say nothing of their spread. Given the number of images, their interval is Clopper
and Pearson's (1934) for so many images, of which all or none are right.

**Over images.** Resamples do not hold the rare image that was not drawn: where 99.5 % of images are right, the
bootstrap covers 77 %. Of shares, values in [0, 1], half of which or more lie within 0.05 of 0 or 1, the interval is
that of Gaffke (2005), "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
variable", Mathematical Methods of Statistics 14(4). It adds one image as low as can be for the lower end, and one as
high as can be for the upper, and weighs all n + 1 by exponential numbers. Of images that are right or wrong this is
Clopper and Pearson's interval; for shares in between no counterexample to its promise is known (Learned-Miller &
Thomas 2020, arXiv:1905.06208). Near 0 and 1 it is cautious and covers 97 % and more. Other values have the bootstrap as
above, and below five images Student's interval over the pseudo-values of the jackknife.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.door.words import shown
from cnnjax.errors import InputError

_RANDOM_STATE = 0
_MOST_DRAWS = 2**31  # by all resamples: 2 GB, or 8 GB where they are weights
_AT_ONCE = 4_000_000  # numbers held in memory at once: 32 MB
_BOOTSTRAP_FROM = 5

Method = Literal["bootstrap", "t", "Clopper-Pearson", "Gaffke"]


class Interval(NamedTuple):
    """A mean, the ends of its interval (NaN where there is none), and n, how many of `over` it rests on."""

    mean: float
    low: float
    high: float
    n: int
    over: Literal["seeds", "images"] = "seeds"
    level: float = 0.95
    method: Method = "bootstrap"


@checked()
def over_seeds(
    values: ArrayLike, *, images: int | None = None, level: float = 0.95, resamples: Positive = 10_000
) -> Interval:
    """The mean of `values` (seeds,) and its interval over seeds; one seed has none: low and high are NaN.

    Student's t below five seeds, the bootstrap from five on. `images` is for values that are shares of so many images,
    such as accuracies: where two seeds or more are all at 0 or all at 1, the interval is what so many images allow.

    Raises InputError for no seeds, for a value that is not finite, for shares of images outside [0, 1], for fewer than
    one image, for a level outside (0, 1), and for resamples that draw more than 2³¹ values.
    """
    column = np.sort(check_values("values", values, ("seeds",)))  # sorted: the order of the seeds must not matter
    check_level(level)
    n, mean = len(column), float(column.mean())
    if images is not None and _at_one_end(column, images) and n > 1:
        least = ((1 - level) / 2) ** (1 / images)
        ends = (least, 1.0) if mean > 0.5 else (0.0, 1 - least)
        return Interval(mean, *ends, n, "seeds", level, "Clopper-Pearson")
    if method_over_seeds(n) == "t":
        return _student(mean, column, "seeds", level)
    _check_resamples(resamples, n)
    counts = _counts(n, resamples)
    return _bootstrap(mean, (_sums(counts, column[:, None]) / n)[:, 0], n, "seeds", level)


def method_over_seeds(n: int) -> Method:
    """How `over_seeds` makes the interval of so many seeds."""
    return "t" if n < _BOOTSTRAP_FROM else "bootstrap"


def describe_methods(methods: Iterable[str]) -> str:
    """What a caption calls intervals that were made in these ways."""
    names = set(methods)
    if names == {"t", "bootstrap"}:
        return f"t (from n = {_BOOTSTRAP_FROM} on bootstrap)"
    return " or ".join(sorted(names))


@checked()
def over_images(
    columns: Mapping[str, ArrayLike],
    score: Callable[[dict[str, Any]], Any],
    *,
    shares: bool | None = None,
    level: float = 0.95,
    resamples: Positive = 2_000,
) -> Interval:
    """The interval over test images of a score that is a function of means over images.

    `columns` maps names to values per image (seeds, images). Every resample draws images, the same for each seed and
    column, and takes the mean of each column over them. `score` maps these means (resamples, seeds), by name, to scores
    (resamples, seeds), which are averaged over the seeds. One image has no interval: low and high are NaN.

    `shares` says whether the values can only lie in [0, 1], as right or wrong does, or the share of shifts under which
    an image is right: then the interval allows for images that were not seen. None takes them for shares if they all
    lie there; say False of other measures, whose interval it would widen.

    Raises InputError for no columns, for columns of different shape, for a value that is not finite, for shares outside
    [0, 1], for a level outside (0, 1), for resamples that draw more than 2³¹ images, and for a score that gives other
    than one number for each mean.
    """
    arrays = {name: check_values(name, values, ("seeds", "images")) for name, values in columns.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1:
        raise InputError(f"The columns have the shapes {sorted(shapes)}; give at least one, all (seeds, images) alike.")
    check_level(level)
    ((seeds, images),) = shapes
    _check_resamples(resamples, images)
    table = np.concatenate(list(arrays.values())).T

    def scored(means: np.ndarray) -> np.ndarray:
        """The score, averaged over seeds, of means (resamples, columns × seeds)."""
        scores = score(dict(zip(arrays, np.split(means, len(arrays), axis=1), strict=True)))
        return _check_scores(scores, (len(means), seeds)).mean(axis=1)

    observed = float(scored(table.mean(axis=0)[None])[0])
    if images == 1:
        return Interval(observed, math.nan, math.nan, 1, "images", level)
    if _are_shares(arrays, shares):
        column_of = np.repeat(np.eye(len(arrays)), seeds, axis=1)
        used = column_of[_used(table, scored, column_of)]
        if _pile_up(table[:, used.any(axis=0)]):
            low, high = _gaffke(table, scored, used, level, resamples)
            return Interval(observed, min(low, observed), max(high, observed), images, "images", level, "Gaffke")
    if images < _BOOTSTRAP_FROM:
        without = scored((images * table.mean(axis=0) - table) / (images - 1))
        return _student(observed, images * observed - (images - 1) * without, "images", level)
    means = _sums(_counts(images, resamples), table) / images
    return _bootstrap(observed, scored(means), images, "images", level)


def check_values(name: str, values: ArrayLike, axes: tuple[str, ...]) -> np.ndarray:
    """The values as float64; raises InputError where they lack one of the axes or an entry, or are not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(axes) or array.size == 0:
        raise InputError(
            f"{name} has the shape {array.shape}; it must be ({', '.join(axes)}), with at least one of each."
        )
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0]
        place = ", ".join(f"{axis[:-1]} {i}" for axis, i in zip(axes, where, strict=True))
        raise InputError(f"{name} is {array[tuple(where)]} at {place}; leave failed seeds out of the interval.")
    return array


def check_level(level: float) -> None:
    """Raise InputError for the level of an interval outside (0, 1)."""
    if not 0 < level < 1:
        raise InputError(f"The level of an interval is {level}; give one between 0 and 1, such as 0.95.")


def _check_scores(scores: Any, shape: tuple[int, int]) -> np.ndarray:
    from cnnjax.door.arrays import as_numpy

    array = as_numpy("what score returns", scores)
    if array.shape != shape or array.dtype.kind == "c":
        raise InputError(
            f"score must return one real number for each of its means, (resamples, seeds), here {shape}; "
            f"it returned {shown(scores)}."
        )
    return array


def _check_resamples(resamples: int, n: int) -> None:
    if resamples * n > _MOST_DRAWS:
        raise InputError(f"resamples={resamples} of {n} values are too many; give at most {_MOST_DRAWS // n}.")


_NEAR = 0.05  # as near to 0 or 1 as counts for lying there: total variations never are quite
_ROUNDING = 1e-6  # sums of float32 probabilities end so far beyond 1


def _at_one_end(column: np.ndarray, images: int) -> bool:
    """Whether all shares of so many images are 0 or all are 1."""
    if images < 1 or images % 1:
        raise InputError(f"images={images} must be a whole number, at least 1: that which each value is a share of.")
    if column[0] < -_ROUNDING or column[-1] > 1 + _ROUNDING:
        raise InputError(f"values reach from {column[0]} to {column[-1]}; shares of images lie in [0, 1].")
    return bool(np.all(column < 1e-12) or np.all(column > 1 - 1e-12))


def _are_shares(arrays: Mapping[str, np.ndarray], said: bool | None) -> bool:
    outside = [name for name, a in arrays.items() if a.min() < -_ROUNDING or a.max() > 1 + _ROUNDING]
    if said and outside:
        raise InputError(f"{outside[0]} is not within [0, 1] for every image; say shares=False of such a measure.")
    return not outside if said is None else said


def _used(table: np.ndarray, scored: Callable[[np.ndarray], np.ndarray], column_of: np.ndarray) -> list[int]:
    """Which columns the score depends on: which change it when they are all 0 or all 1."""
    means = table.mean(axis=0)
    ends = np.concatenate([[means], *([np.where(row, end, means) for end in (0.0, 1.0)] for row in column_of)])
    with np.errstate(all="ignore"):
        found = scored(ends)
    differs = ~np.isclose(found[1:], found[0], rtol=0, atol=1e-12).reshape(-1, 2)
    return np.flatnonzero(differs.any(axis=1)).tolist()


def _pile_up(table: np.ndarray) -> bool:
    """Whether half the shares of a column or more lie at 0 or 1, so that what is rare may be missing from a sample."""
    near = np.minimum(table, 1 - table) < _NEAR
    return bool((near.mean(axis=0) >= 0.5).any())


def _sums(weights: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Weighted sums (resamples, columns) over the rows of a table (n, columns), by weights (resamples, n)."""
    blocks = np.array_split(weights, max(1, weights.size // _AT_ONCE))
    return np.concatenate([block.astype(np.float64) @ table for block in blocks])


@functools.lru_cache(maxsize=2)  # a run asks for many scores of the same seeds and the same images
def _counts(n: int, resamples: int) -> np.ndarray:
    """How often each of n items is drawn, (resamples, n); no item is drawn 256 times, but for a chance of 1e-500."""
    random = np.random.default_rng(_RANDOM_STATE)
    counts = np.empty((resamples, n), np.uint8)
    for some in np.array_split(counts, max(1, counts.size // _AT_ONCE)):
        draws = random.integers(0, n, some.shape) + n * np.arange(len(some))[:, None]
        some[:] = np.bincount(draws.ravel(), minlength=some.size).reshape(some.shape)
    return counts


@functools.lru_cache(maxsize=2)
def _exponential(n: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Exponential weights (resamples, n), and the part (resamples, 1) that one image more has of the weight of all.

    The parts are the quantiles of their distribution, Beta(1, n), in random order: where all images are alike, the ends
    of an interval rest on nothing else.
    """
    random = np.random.default_rng(_RANDOM_STATE)
    weights = random.standard_exponential((resamples, n), np.float32)
    tails = (random.permutation(resamples) + 0.5) / resamples
    return weights, 1 - tails[:, None] ** (1 / n)


def _gaffke(
    table: np.ndarray,
    scored: Callable[[np.ndarray], np.ndarray],
    column_of: np.ndarray,
    level: float,
    resamples: int,
) -> tuple[float, float]:
    """The ends of Gaffke's interval, with one more image of 0 or 1 in each column: that which moves the score the most.

    `table` is (images, columns × seeds), `column_of` (used columns, columns × seeds) says where each of those is that
    the score depends on.
    """
    n = len(table)
    weights, part = _exponential(n, resamples)
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=len(column_of)))) @ column_of
    with np.errstate(all="ignore"):
        # Of a ratio of two columns, no image has the part without the whole.
        possible = np.isfinite(scored(np.where(column_of.any(axis=0), corners, table.mean(axis=0))))
    candidates = np.concatenate([table.mean(axis=0)[None], corners[possible]])
    beside = scored((table.sum(axis=0) + candidates) / (n + 1))
    lowest, highest = candidates[beside.argmin()], candidates[beside.argmax()]
    means = _sums(weights, table) / weights.sum(axis=1, dtype=np.float64)[:, None]
    tail = (1 - level) / 2
    low, high = (scored((1 - part) * means + part * image) for image in (lowest, highest))
    return float(np.quantile(low, tail)), float(np.quantile(high, 1 - tail))


def _student(mean: float, values: np.ndarray, over: Literal["seeds", "images"], level: float) -> Interval:
    """Student's interval over `values` (n,) around their mean; one value has none."""
    from scipy import special

    n = len(values)
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1, over, level, "t")
    half = float(special.stdtrit(n - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, over, level, "t")


def _bootstrap(mean: float, resampled: np.ndarray, n: int, over: Literal["seeds", "images"], level: float) -> Interval:
    from scipy import special

    tail = special.ndtr(special.stdtrit(n - 1, (1 - level) / 2))
    deviations = (resampled - mean) * np.sqrt(n / (n - 1))
    low, high = mean + np.quantile(deviations, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), n, over, level)
