"""Bootstrap intervals: how far a mean would move with other seeds, or with other test images.

Percentile intervals with the two small-sample corrections of Hesterberg (2015), "What Teachers Should Know about the
Bootstrap", The American Statistician 69(4), arXiv:1411.5279. The means of resamples of n values spread by a factor of
sqrt((n-1)/n) too little, so deviations from the mean are divided by it. And a percentile interval reaches to quantiles
of the normal distribution where the estimated spread asks for Student's t with n-1 degrees of freedom, so the
percentiles are taken at Phi(t). (He puts both into the percentiles; five values have few resamples that far out.)
On normal values the nominal 95 % interval then covers the truth in 93 % of studies at n = 5, 94 % at n = 10 and 95 % at
n = 20; the bare percentile interval in 84, 89 and 93 % (6,000 simulated studies each).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cnnjax.errors import InputError

_RANDOM_STATE = 0
_AT_ONCE = 4_000_000  # numbers held in memory at once: 32 MB


class Interval(NamedTuple):
    """A mean, the ends of its interval (NaN where there is none), and n, the number of `over` that were resampled."""

    mean: float
    low: float
    high: float
    n: int
    over: Literal["seeds", "images"] = "seeds"
    level: float = 0.95


def over_seeds(values: ArrayLike, *, level: float = 0.95, resamples: int = 10_000) -> Interval:
    """The mean of `values` (seeds,) and its bootstrap interval over seeds; one seed has none: low and high are NaN.

    Raises InputError for no seeds, for a value that is not finite, and for a level outside (0, 1).
    """
    column = np.sort(_checked("values", values, ("seeds",)))  # sorted: the order of the seeds must not matter
    means = _resampled_means(column[:, None], resamples)[:, 0]
    return _interval(float(column.mean()), means, len(column), "seeds", level)


def over_images(
    columns: Mapping[str, ArrayLike],
    score: Callable[[dict[str, Any]], Any],
    *,
    level: float = 0.95,
    resamples: int = 2_000,
) -> Interval:
    """The bootstrap interval over test images of a score that is a function of means over images.

    `columns` maps names to values per image (seeds, images). Every resample draws images, the same for each seed and
    column, and takes the mean of each column over them. `score` maps these means (resamples, seeds), by name, to scores
    (resamples, seeds), which are averaged over the seeds. One image has no interval: low and high are NaN.

    Raises InputError for no columns, for columns of different shape, for a value that is not finite, and for a level
    outside (0, 1).
    """
    arrays = {name: _checked(name, values, ("seeds", "images")) for name, values in columns.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1:
        raise InputError(f"The columns have the shapes {sorted(shapes)}; give at least one, all (seeds, images) alike.")
    ((_, images),) = shapes
    observed = np.mean(score({name: array.mean(axis=1)[None] for name, array in arrays.items()}))
    means = np.split(_resampled_means(np.concatenate(list(arrays.values())).T, resamples), len(arrays), axis=1)
    scores = np.mean(score(dict(zip(arrays, means, strict=True))), axis=1)
    return _interval(float(observed), scores, images, "images", level)


def _checked(name: str, values: ArrayLike, axes: tuple[str, ...]) -> np.ndarray:
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


def _resampled_means(table: np.ndarray, resamples: int) -> np.ndarray:
    """Means (resamples, columns) of draws with replacement from the rows of a table (n, columns)."""
    n = len(table)
    counts = _counts(n, resamples)
    blocks = np.array_split(counts, max(1, counts.size // _AT_ONCE))
    return np.concatenate([block.astype(np.float64) @ table for block in blocks]) / n


@functools.lru_cache(maxsize=2)  # a study asks for many scores of the same seeds and the same images
def _counts(n: int, resamples: int) -> np.ndarray:
    """How often each of n items is drawn, (resamples, n); no item is drawn 256 times, but for a chance of 1e-500."""
    random = np.random.default_rng(_RANDOM_STATE)
    counts = np.empty((resamples, n), np.uint8)
    for some in np.array_split(counts, max(1, counts.size // _AT_ONCE)):
        draws = random.integers(0, n, some.shape) + n * np.arange(len(some))[:, None]
        some[:] = np.bincount(draws.ravel(), minlength=some.size).reshape(some.shape)
    return counts


def _interval(mean: float, resampled: np.ndarray, n: int, over: Literal["seeds", "images"], level: float) -> Interval:
    from scipy import special

    if not 0 < level < 1:
        raise InputError(f"The level of an interval is {level}; give one between 0 and 1, such as 0.95.")
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), n, over, level)
    tail = special.ndtr(special.stdtrit(n - 1, (1 - level) / 2))
    deviations = (resampled - mean) * np.sqrt(n / (n - 1))
    low, high = mean + np.quantile(deviations, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), n, over, level)
