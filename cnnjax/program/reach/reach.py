"""What the elements of an array read along one image axis: exact sets of positions, and the affine rule behind them."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from cnnjax.program.reach.digits import Digit, cut, groups, spread
from cnnjax.program.reach.window import Number, Window, exact


@dataclasses.dataclass(frozen=True, eq=False)
class Reach:
    """The positions that each element of an array reads along one image axis.

    An axis of the array is a row of digits, the last one fastest: merged axes keep their digits, so that taking them
    apart again loses nothing. The rule says that the element with digits u reads positions within
    `[first + Σ slope u, last + Σ slope u]`, padding included; it may overlook borders that were filled with content,
    and is held against the sets before anything is reported.
    """

    axes: tuple[tuple[Digit, ...], ...]
    sets: np.ndarray
    """uint8 `(*digits, bytes)`, a bit for each position; size 1 in place of a digit that makes no difference."""
    extent: int
    """How many positions the image has along the axis."""
    ends: tuple[Number, Number] | None
    """`first` and `last`; None, with slopes of 0, where there is no rule."""
    aligned: bool = True
    """Whether the branches that met had one stride and one centre."""
    origin: object = dataclasses.field(default_factory=object)
    """The map whose elements these are, moved about: a filter written as a sum of slices has no branches."""

    @staticmethod
    def identity(shape: Sequence[int], axis: int) -> "Reach":
        """Elements with index i on `axis` read position i."""
        n = shape[axis]
        form = [n if a == axis else 1 for a in range(len(shape))]
        sets = np.packbits(np.eye(n, dtype=bool), axis=1, bitorder="little").reshape(*form, -1)
        return Reach(tuple((Digit(size, int(a == axis)),) for a, size in enumerate(shape)), sets, n, (0, 0))

    @staticmethod
    def everywhere(shape: Sequence[int], n: int) -> "Reach":
        """Every element reads all n positions."""
        bits = np.packbits(np.ones(n, dtype=bool), bitorder="little")
        return Reach(tuple((Digit(size),) for size in shape), bits.reshape(*(1,) * len(shape), -1), n, (0, n - 1))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return tuple(math.prod(digit.size for digit in row) for row in self.axes)

    @property
    def most(self) -> int:
        """The most positions that one element reads."""
        return int(np.bitwise_count(self.sets).sum(-1, dtype=int).max())

    def dims(self, start: int, stop: int | None = None) -> slice:
        """The dimensions of `sets` that belong to one axis, or to those from `start` to before `stop`."""
        before = sum(map(len, self.axes[:start]))
        return slice(before, before + sum(map(len, self.axes[start : start + 1 if stop is None else stop])))

    def varies(self, axis: int) -> bool:
        """Whether the index on this axis makes a difference."""
        return any(size > 1 for size in self.sets.shape[self.dims(axis)]) or any(d.slope for d in self.axes[axis])

    def without_rule(self) -> "Reach":
        """Only the sets."""
        axes = tuple(tuple(Digit(digit.size) for digit in row) for row in self.axes)
        return dataclasses.replace(self, axes=axes, ends=None)

    def replace(self, start: int, stop: int, axes: Sequence[Sequence[Digit]], form: Sequence[int]) -> "Reach":
        """Other digits in place of some axes, their part of `sets` in another form."""
        dims = self.dims(start, stop)
        sets = self.sets.reshape(*self.sets.shape[: dims.start], *form, *self.sets.shape[dims.stop :])
        return dataclasses.replace(self, axes=(*self.axes[:start], *map(tuple, axes), *self.axes[stop:]), sets=sets)

    def regroup(self, start: int, stop: int, sizes: Sequence[int]) -> "Reach":
        """Axes from `start` to before `stop` as others of the same total size, in row-major order."""
        row = [digit for axis in self.axes[start:stop] for digit in axis]
        shares = cut(list(zip(row, self.sets.shape[self.dims(start, stop)], strict=True)), sizes)
        if shares is None:
            # A new axis ends inside a digit: single elements are left to go by.
            return self.merge(start, stop).regroup(start, start + 1, sizes)
        axes = [[digit for digit, _ in axis] for axis in shares]
        return self.replace(start, stop, axes, [held for axis in shares for _, held in axis])

    def merge(self, start: int, stop: int) -> "Reach":
        """Axes from `start` to before `stop` as one digit; a rule that is not affine in it is widened until it is."""
        row = [digit for axis in self.axes[start:stop] for digit in axis]
        if len(row) == 1:
            return self
        dims, held = self.dims(start, stop), self.sets.shape
        source = self
        if any(size > 1 for size in held[dims]):
            sets = np.broadcast_to(self.sets, (*held[: dims.start], *(d.size for d in row), *held[dims.stop :]))
            source = dataclasses.replace(self, sets=sets)
        steps = [math.prod(digit.size for digit in row[i + 1 :]) for i in range(len(row))]
        lead = next((i for i, digit in enumerate(row) if digit.size > 1), None)
        slope = 0 if lead is None else exact(row[lead].slope, steps[lead])
        rest = [Digit(d.size, d.slope - slope * step) for d, step in zip(row, steps, strict=True)]
        source = dataclasses.replace(source, ends=source.ends and spread(source.ends, rest))
        size = math.prod(digit.size for digit in row)
        return source.replace(start, stop, [[Digit(size, slope)]], [math.prod(source.sets.shape[dims])])

    def reshape(self, shape: Sequence[int]) -> "Reach":
        """The reach of the array in another shape, in row-major order."""
        result, old = self, self.shape
        for (i, i_end), (j, j_end) in reversed(list(groups(old, shape))):
            if old[i:i_end] != tuple(shape[j:j_end]):
                result = result.regroup(i, i_end, shape[j:j_end])
        return result

    def arrange(self, sources: Sequence[int | None], shape: Sequence[int]) -> "Reach":
        """Axis i is this array's axis `sources[i]`, repeated if its size is 1, or a new one that makes no difference.

        Axes that are left out must make no difference.
        """
        kept = [a for a in sources if a is not None]
        left = [a for a in range(len(self.axes)) if a not in kept]
        order = [d for a in (*kept, *left) for d in range(self.dims(a).start, self.dims(a).stop)]
        old, axes, form = self.shape, [], []
        for a, n in zip(sources, shape, strict=True):
            if a is not None and old[a] == n:
                axes.append(self.axes[a])
                form.extend(self.sets.shape[self.dims(a)])
            else:
                axes.append((Digit(n),))
                form.append(1)
        return dataclasses.replace(self, axes=tuple(axes), sets=self.sets.transpose(*order, -1).reshape(*form, -1))

    def read(self, axis: int, window: Window) -> "Reach":
        """The reach of an array that reads this one through a window along one axis."""
        source = self.merge(axis, axis + 1)
        (digit,), dim = source.axes[axis], source.dims(axis).start
        sets = source.sets
        if sets.shape[dim] > 1:
            # Index −1, nothing, is the last row.
            rows = np.concatenate([sets, np.zeros_like(sets.take([0], dim))], dim)
            sets = rows.take(window.index[:, 0], dim)
            for column in window.index.T[1:]:
                sets |= rows.take(column, dim)
        elif not (hit := (window.index >= 0).any(1)).all():
            sets = np.where(hit.reshape([-1 if d == dim else 1 for d in range(sets.ndim)]), sets, np.uint8(0))
        if digit.slope and window.slope is None:
            source = source.without_rule()
            digit = Digit(digit.size)
        ends, slope = source.ends, 0
        if digit.slope and ends is not None and window.slope is not None:
            low, high = sorted((digit.slope * window.first, digit.slope * window.last))
            ends, slope = (ends[0] + low, ends[1] + high), digit.slope * window.slope
        axes = (*source.axes[:axis], (Digit(len(window.index), slope),), *source.axes[axis + 1 :])
        return dataclasses.replace(source, axes=axes, sets=sets, ends=ends)

    def collapse(self, axes: Iterable[int]) -> "Reach":
        """The reach of elements that read these axes whole; each is left with a single index."""
        result = self
        for axis in axes:
            dims = result.dims(axis)
            sets = np.bitwise_or.reduce(result.sets, axis=tuple(range(dims.start, dims.stop)), keepdims=True)
            ends = result.ends and spread(result.ends, result.axes[axis])
            result = dataclasses.replace(result, sets=sets, ends=ends)
            result = result.replace(axis, axis + 1, [[Digit(1)]], [1])
        return result

    def accumulate(self, axis: int, *, reverse: bool) -> "Reach":
        """The reach of running sums along an axis: of all elements up to one's own, or from it on."""
        if not self.varies(axis):
            return self
        source = self.merge(axis, axis + 1)
        dim, whole = source.dims(axis).start, self.collapse([axis])
        sets = np.flip(source.sets, dim) if reverse else source.sets
        sets = np.bitwise_or.accumulate(sets, axis=dim)
        axes = (*whole.axes[:axis], (Digit(self.shape[axis]),), *whole.axes[axis + 1 :])
        return dataclasses.replace(whole, axes=axes, sets=np.flip(sets, dim) if reverse else sets)

    def mask(self, keep: np.ndarray) -> "Reach":
        """The reach where elements that are not kept, `keep` of the array's shape or 1, read nothing."""
        result = self
        for axis, size in enumerate(keep.shape):
            if size > 1:
                result = result.merge(axis, axis + 1)
        form = [size for axis, size in enumerate(keep.shape) for size in (size, *(1,) * (len(result.axes[axis]) - 1))]
        return dataclasses.replace(result, sets=np.where(keep.reshape(*form, 1), result.sets, np.uint8(0)))
