"""Mixed-radix digits: how the axes of an array are made up, so that reshaping can be followed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cnnjax.program.reach.window import Number


class Digit(NamedTuple):
    """A factor of an axis: how many values it takes, and how far the field moves from one to the next."""

    size: int
    slope: Number = 0


def spread(ends: tuple[Number, Number], digits: Iterable[Digit]) -> tuple[Number, Number]:
    """The ends that hold for all values of these digits."""
    shifts = [digit.slope * (digit.size - 1) for digit in digits]
    return ends[0] + sum(min(s, 0) for s in shifts), ends[1] + sum(max(s, 0) for s in shifts)


Held = tuple[Digit, int]
"""A digit and its size in `sets`."""


def cut(row: list[Held], sizes: Sequence[int]) -> list[list[Held]] | None:
    """Share a row of digits out to axes of these sizes, splitting digits; None where one has to be split unevenly."""
    row = [item for item in row if item[0].size > 1]
    axes = []
    for size in reversed(sizes):
        axis, need = [], size
        while need > 1:
            (n, slope), held = row.pop()
            take = n if need % n == 0 else need
            if n % take:
                return None
            axis.append((Digit(take, slope), min(held, take)))
            if take < n:
                row.append((Digit(n // take, slope * take), min(held, n // take)))
            need //= take
        axes.append(_joined(axis) or [(Digit(size), 1)])
    return axes[::-1]


def _joined(axis: list[Held]) -> list[Held]:
    """A row of digits given last first, in order, neighbours that count on from one another made one."""
    result: list[Held] = []
    for digit, held in axis:
        if result and digit.slope == result[0][0].slope * result[0][0].size and (held > 1) == (result[0][1] > 1):
            fast, width = result.pop(0)
            digit, held = Digit(digit.size * fast.size, fast.slope), held * width
        result.insert(0, (digit, held))
    return result


def groups(old: Sequence[int], new: Sequence[int]) -> Iterable[tuple[tuple[int, int], tuple[int, int]]]:
    """The smallest runs of axes that a reshape turns into one another."""
    i = j = 0
    while i < len(old) and j < len(new):
        start, a, b = (i, j), old[i], new[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        yield (start[0], i), (start[1], j)
    if i < len(old) or j < len(new):
        yield (i, len(old)), (j, len(new))
