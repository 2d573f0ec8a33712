"""What elements read that are made of several arrays, and whether the branches that meet are aligned."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from cnnjax.program.reach.digits import Digit, spread
from cnnjax.program.reach.reach import Reach
from cnnjax.program.reach.window import Number, exact


def union(reaches: Sequence[Reach | None]) -> Reach:
    """The reach of elements made of those with the same index in several arrays; None reads nothing."""
    return functools.reduce(_union, [reach for reach in reaches if reach is not None])


def _union(a: Reach, b: Reach) -> Reach:
    if a is b:
        return a
    a, b = _matched(a, b)
    return dataclasses.replace(_joint_rule([a, b]), sets=a.sets | b.sets)


def contains(outer: Reach, inner: Reach) -> bool:
    """Whether elements read all that those of another array with the same index do; or with any, if shapes differ."""
    if outer.shape != inner.shape:
        inner = inner.collapse(range(len(inner.axes))).arrange([None] * len(outer.axes), outer.shape)
    outer, inner = _matched(outer, inner)
    return not (inner.sets & ~outer.sets).any()


def _matched(a: Reach, b: Reach, *, skip: int | None = None) -> tuple[Reach, Reach]:
    """The two with the same digits on every axis but `skip`."""
    for axis in range(len(a.axes)):
        sizes = [[digit.size for digit in reach.axes[axis]] for reach in (a, b)]
        if axis == skip or sizes[0] == sizes[1]:
            continue
        if not a.varies(axis):
            a = _with_digits(a, axis, sizes[1])
        elif not b.varies(axis):
            b = _with_digits(b, axis, sizes[0])
        else:
            a, b = a.merge(axis, axis + 1), b.merge(axis, axis + 1)
    return a, b


def _with_digits(reach: Reach, axis: int, sizes: Sequence[int]) -> Reach:
    return reach.replace(axis, axis + 1, [[Digit(size) for size in sizes]], [1] * len(sizes))


def _joint_rule(reaches: Sequence[Reach]) -> Reach:
    """The first reach with the rule that holds for all of them; their digits are the same but for slopes."""
    first = reaches[0]
    if any(reach.ends is None for reach in reaches):
        return first.without_rule()
    ends = [reach.ends for reach in reaches if reach.ends is not None]
    digits = [[digit for row in reach.axes for digit in row] for reach in reaches]
    branches = len({id(reach.origin) for reach in reaches}) > 1
    # Branches that read the same everywhere, as a global mean does, have no centre to agree on.
    moving = sum(any(digit.slope for digit in row) for row in digits)
    if all(reach.axes == first.axes for reach in reaches):
        axes, agree = first.axes, not moving or len({a + b for a, b in ends}) == 1
    else:
        axes, agree = first.without_rule().axes, moving < 2
        ends = [spread(pair, row) for pair, row in zip(ends, digits, strict=True)]
    aligned = all(reach.aligned for reach in reaches) and (agree or not branches)
    joint = (min(a for a, _ in ends), max(b for _, b in ends))
    origin = object() if branches else first.origin
    return dataclasses.replace(first, axes=axes, ends=joint, aligned=aligned, origin=origin)


def concatenate(pieces: Sequence[Reach | None], sizes: Sequence[int], axis: int) -> Reach:
    """The reach of arrays put one after another along an axis, None reading nothing.

    Along an axis that the field follows, the rule is that of the longest piece: the others are taken for a border.
    """
    present = [piece.merge(axis, axis + 1) for piece in pieces if piece is not None]
    common = functools.reduce(lambda a, b: _matched(a, b, skip=axis)[0], present)
    matched = iter([_matched(piece, common, skip=axis)[0] for piece in present])
    placed = [None if piece is None else next(matched) for piece in pieces]
    sets = _joined_sets(placed, sizes, common.dims(axis).start)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    slope, ruled = _joined_rule([(s, p) for s, p in zip(starts, placed, strict=True) if p is not None], axis)
    axes = (*ruled.axes[:axis], (Digit(sum(sizes), slope),), *ruled.axes[axis + 1 :])
    return dataclasses.replace(ruled, axes=axes, sets=sets)


def _joined_sets(pieces: Sequence[Reach | None], sizes: Sequence[int], dim: int) -> np.ndarray:
    held = [piece.sets for piece in pieces if piece is not None]
    if len(held) == len(pieces) and all(s.shape[dim] == 1 and np.array_equal(s, held[0]) for s in held):
        return held[0]
    form = list(np.broadcast_shapes(*((*s.shape[:dim], 1, *s.shape[dim + 1 :]) for s in held)))
    parts = []
    for piece, size in zip(pieces, sizes, strict=True):
        form[dim] = size
        parts.append(np.zeros(form, np.uint8) if piece is None else np.broadcast_to(piece.sets, form))
    return np.concatenate(parts, dim)


def _joined_rule(pieces: Sequence[tuple[int, Reach]], axis: int) -> tuple[Number, Reach]:
    """The slope along the axis, and a reach with the rule of the rest, from the pieces and where each begins."""
    lengths = [piece.axes[axis][0].size for _, piece in pieces]
    middle = (pieces[0][0] + pieces[-1][0] + lengths[-1]) / 2
    # A map that goes round more than once is the copy in the middle.
    start, main = max(pieces, key=lambda p: (p[1].shape[axis], -abs(p[0] + p[1].shape[axis] / 2 - middle)))
    slope = main.axes[axis][0].slope
    if max(lengths) == 1 and len(pieces) > 1:
        # Single slices, as of a stack: they may be steps of one map.
        (s, a), (t, b) = pieces[:2]
        slope = exact(b.ends[0] - a.ends[0], t - s) if a.ends is not None and b.ends is not None else 0
        steps = [_at(piece, axis, -slope * begin) for begin, piece in pieces]
        if any((step.ends, step.axes) != (steps[0].ends, steps[0].axes) for step in steps):
            slope = 0
    if slope and main.ends is not None:
        return slope, _at(main, axis, -slope * start)
    return 0, _joint_rule([piece.collapse([axis]) for _, piece in pieces])


def _at(piece: Reach, axis: int, shift: Number) -> Reach:
    """A piece without its slope along the axis, the rest of its rule shifted."""
    axes = (*piece.axes[:axis], (Digit(1),), *piece.axes[axis + 1 :])
    return dataclasses.replace(piece, axes=axes, ends=piece.ends and (piece.ends[0] + shift, piece.ends[1] + shift))
