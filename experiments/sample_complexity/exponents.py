"""How the images that networks need grow with the size of the task, measured and by the theory."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cnnjax.stats import Interval, over_seeds

Bound = Callable[[float, float], float]

THEORY: dict[str, list[tuple[str, Bound]]] = {
    "cnn": [("at most k + d", lambda k, d: k + d)],
    "lcn": [("at least k d", lambda k, d: k * d), ("at most k (k + d)", lambda k, d: k * (k + d))],
    "fcn": [("at least k² d", lambda k, d: k**2 * d)],
}
"""What each network needs up to constants and logarithms, at one level of noise (Lahoti et al. 2024)."""


class Measured(NamedTuple):
    """What a network needs for one size of images, in every repetition."""

    kind: str
    patches: int
    dimension: int
    images: np.ndarray
    """(repetitions,), NaN where the most images were too few."""
    training_error: np.ndarray
    threshold: float
    """That of its units, in units of σ √(log k); NaN where no pilot reached the error with any."""

    @property
    def reached(self) -> bool:
        """Whether every repetition reached the target."""
        return bool(np.isfinite(self.images).all())


class Axis(NamedTuple):
    """What varies."""

    name: str
    """k or d."""
    field: str
    fixed: str
    at: int


def along(found: Sequence[Measured], kind: str, axis: Axis) -> list[Measured]:
    """A network's needs along an axis, in order, those that were all reached."""
    mine = [one for one in found if one.kind == kind and getattr(one, axis.fixed) == axis.at and one.reached]
    return sorted(mine, key=lambda one: getattr(one, axis.field))


def exponent(needs: Sequence[Measured], axis: Axis) -> Interval | None:
    """The slope of log images against the log of what varies; None of fewer than two sizes.

    Each repetition has its own slope, and these have the interval: their mean is the slope of the means.
    """
    if len(needs) < 2:
        return None
    x = np.log([getattr(one, axis.field) for one in needs])
    return over_seeds(slope(x, np.log(np.stack([one.images for one in needs]))))


def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slopes of the least-squares lines of each column of y (points, lines) against x (points,)."""
    centered = x - x.mean()
    return centered @ y / (centered @ centered)


def theory_exponent(bound: Bound, needs: Sequence[Measured]) -> float:
    """The slope of the logarithm of a bound along the same sizes."""
    sizes = [(one.patches, one.dimension) for one in needs]
    varying = [k if len({k for k, _ in sizes}) > 1 else d for k, d in sizes]
    return float(slope(np.log(varying), np.log([[bound(k, d)] for k, d in sizes]))[0])


def geometric(values: np.ndarray) -> Interval:
    """The geometric mean with its interval, that of the logarithms."""
    found = over_seeds(np.log(values))
    return found._replace(mean=math.exp(found.mean), low=math.exp(found.low), high=math.exp(found.high))
