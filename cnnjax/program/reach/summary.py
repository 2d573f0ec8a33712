"""The rule of an array's units along one image axis, held against the sets of what they read."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.program.reach.digits import spread
from cnnjax.program.reach.reach import Reach
from cnnjax.program.reach.window import Number, exact, fit


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """Unit u reads within `[⌈stride u − padding⌉, ⌊stride u − padding + size − 1⌋]`, up to what crosses the border."""

    size: Number
    stride: Number
    padding: Number
    units: int
    exact: bool
    border: str
    aligned: bool
    axis: int | None
    """The array's axis that the units are on; None where all are alike, or no one axis tells them apart."""
    reads: np.ndarray
    """bool `(units, positions)`."""


@checked()
def summarize(reaches: Sequence[Reach]) -> list[Summary]:
    """The rule along each image axis that the sets confirm, or one span for all units where they confirm none."""
    summaries = []
    for i, reach in enumerate(reaches):
        for axis in range(len(reach.axes)):
            # An axis that image axes share, of tokens say, is left as rows and columns.
            if not any(other.varies(axis) for j, other in enumerate(reaches) if j != i):
                reach = reach.merge(axis, axis + 1)
        summaries.append(_summarize(reach))
    return summaries


@checked()
def nothing(positions: Positive) -> Summary:
    """The summary of an array that reads no position."""
    return _one_span(np.zeros((1, positions), bool), aligned=True, axis=None)


def _summarize(reach: Reach) -> Summary:
    digits = [digit for axis in reach.axes for digit in axis]
    differing = [i for i in range(len(digits)) if (reach.sets != reach.sets.take([0], i)).any()]
    moving = [i for i, digit in enumerate(digits) if digit.slope]
    # Of several, the units are those that move furthest: phases in channels move less than the map.
    main = max(moving or differing, key=lambda i: (digits[i].size - 1) * abs(digits[i].slope), default=None)
    others = [i for i in range(len(digits)) if i != main]
    sets = np.bitwise_or.reduce(reach.sets, axis=tuple(others), keepdims=True)
    reads = _unpacked(sets.reshape(-1, sets.shape[-1]), reach.extent)
    if main is None:
        return _one_span(reads, aligned=reach.aligned, axis=None)
    if not moving and len(differing) > 1:
        union = np.logical_or.reduce(reads, axis=0, keepdims=True)
        return _one_span(union, each=False, aligned=reach.aligned, axis=None)
    units, slope = digits[main]
    place = [axis for axis, row in enumerate(reach.axes) for _ in row][main]
    reads = np.broadcast_to(reads, (units, reach.extent))
    rules = [fit(*_hull(reads), reach.extent)]
    if reach.ends is not None and slope:
        rules.insert(0, (slope, *spread(reach.ends, (digits[i] for i in others))))
    judged = [(rule, verdict) for rule in rules if rule is not None and (verdict := _judge(rule, reads)) is not None]
    if not judged:
        return _one_span(reads, aligned=reach.aligned, axis=place)
    # What was followed step by step may be wider than need be.
    (slope, first, last), verdict = next((both for both in judged if both[1][0]), judged[0])
    size, stride, padding = exact(last - first + 1), exact(slope), exact(-first)
    return Summary(size, stride, padding, units, *verdict, reach.aligned, place, reads)


def _unpacked(sets: np.ndarray, positions: int) -> np.ndarray:
    return np.unpackbits(sets, axis=-1, count=positions, bitorder="little").astype(bool)


def _hull(reads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last position of each unit; the first is after the last where there are none."""
    n, some = reads.shape[1], reads.any(1)
    return np.where(some, reads.argmax(1), n), np.where(some, n - 1 - reads[:, ::-1].argmax(1), -1)


def _one_span(reads: np.ndarray, *, aligned: bool, axis: int | None, each: bool = True) -> Summary:
    first, last = _hull(reads)
    low, high = int(first.min()), int(last.max())
    attained = each and bool((first == low).all() and (last == high).all())
    size, padding = (high - low + 1, -low) if low <= high else (0, 0)
    return Summary(size, 0, padding, len(reads), attained, "clipped", aligned, axis, reads)


def _judge(rule: tuple[Number, Number, Number], reads: np.ndarray) -> tuple[bool, str] | None:
    """Whether the rule is exact, and what holds at the border; None if it fails inside."""
    slope, first, last = rule
    units, n = reads.shape
    low = np.array([math.ceil(first + slope * u) for u in range(units)])
    high = np.array([math.floor(last + slope * u) for u in range(units)])
    position = np.arange(n)[None]
    outside = reads & ~((low[:, None] <= position) & (position <= high[:, None]))
    inside = (low >= 0) & (high < n)
    if outside[inside].any():
        return None
    border = "clipped"
    if outside.any():
        crossing = [(reads[u], np.arange(low[u], high[u] + 1)) for u in np.flatnonzero(~inside)]
        folds = (("circular", _wrapped), ("reflect", _mirrored))
        fits = [name for name, fold in folds if not any(np.delete(row, fold(span, n)).any() for row, span in crossing)]
        border = fits[0] if fits else "other"
    ends = [np.where(low <= high, end, empty) for end, empty in ((low, n), (high, -1))]
    attained = all((a[inside] == b[inside]).all() for a, b in zip(_hull(reads), ends, strict=True))
    return attained and (border != "other" or bool(inside.any())), border


def _wrapped(position: np.ndarray, n: int) -> np.ndarray:
    return position % n


def _mirrored(position: np.ndarray, n: int) -> np.ndarray:
    period = max(2 * (n - 1), 1)
    return np.minimum(position % period, period - position % period)
