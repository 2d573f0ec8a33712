"""Windows along one axis: which indices of the array read make up each index of the result."""

import dataclasses
from fractions import Fraction

import numpy as np

Number = int | Fraction


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """Index u of the result reads the indices `index[u]`; those lie in `[first + slope u, last + slope u]`.

    The affine bounds are those of the interior, and are all None where there are none.
    """

    index: np.ndarray
    """`(result, taps)` int; −1 is nothing."""
    slope: Number | None
    first: Number
    last: Number

    @staticmethod
    def affine(n: int, size: int, *, stride: int = 1, start: int = 0, taps: int = 1, step: int = 1, base: int = 1):
        """Positions `stride u + start + step j`, j below `taps`, of an array of n elements put `base` apart."""
        position = stride * np.arange(size)[:, None] + start + step * np.arange(taps)[None]
        index = position // base
        there = (position % base == 0) & (index >= 0) & (index < n)
        return Window(
            np.where(there, index, -1),
            exact(stride, base),
            exact(start, base),
            exact(start + step * (taps - 1), base),
        )

    @staticmethod
    def tabulated(index: np.ndarray, n: int) -> "Window":
        """Any indices `(result, taps)`, −1 for nothing, of an array of n elements."""
        there = index >= 0
        first = np.where(there, index, n).min(1, initial=n)
        last = np.where(there, index, -1).max(1, initial=-1)
        return Window(index, *(fit(first, last, n) or (None, 0, 0)))


def exact(a: Number, b: Number = 1) -> Number:
    """The ratio a / b, an int where it is whole."""
    ratio = Fraction(a) / Fraction(b)
    return int(ratio) if ratio.denominator == 1 else ratio


def fit(first: np.ndarray, last: np.ndarray, n: int) -> tuple[Number, Number, Number] | None:
    """The tightest line pair `(slope, a, b)` with `a + slope u <= first[u]` and `last[u] <= b + slope u`.

    Only the longest run of units that keeps in step counts, and of it the units that do not touch the ends of 0..n−1:
    at a border positions are cut off, wrapped or mirrored. Units that read nothing have their first after their last.
    None where no such run has half of the units.
    """
    units = np.flatnonzero(first <= last)
    inner = units[(first[units] > 0) & (last[units] < n - 1)]
    found = []
    for among in (inner, units):
        for slope in _slopes(first[among], among, n, len(first)):
            run = _longest_run(among, (first[among] + last[among]) / 2 - float(slope) * among)
            if len(run) < 2 or len(run) < min(3, len(units)) or 2 * len(run) < len(units) - 2:
                continue
            a = min(int(first[u]) - slope * int(u) for u in run)
            b = max(int(last[u]) - slope * int(u) for u in run)
            found.append((b - a, -len(run), slope, a))
        if found:
            width, _, slope, a = min(found)
            return slope, a, a + width
    return None


def _slopes(first: np.ndarray, units: np.ndarray, n: int, size: int) -> set[Number]:
    """Slopes to try: the usual step, and the ratios of sizes that resizing by pixel areas or by corners has."""
    if len(units) < 2:
        return set()
    ratios = {exact(n, size), exact(n - 1, size - 1)}
    step = exact(int(np.median(np.diff(first))), int(np.median(np.diff(units))))
    return {step, *ratios, *(-ratio for ratio in ratios)}


def _longest_run(units: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The longest stretch of units whose centres keep to within one position of the line, from each to the next."""
    return max(np.split(units, np.flatnonzero(np.abs(np.diff(offsets)) > 1 - 1e-9) + 1), key=len)
