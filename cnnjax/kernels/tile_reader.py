"""Winograd's tiles of the map that is read, transformed: where they lie, and the zeros around them."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from cnnjax.kernels.code import Code, Number
from cnnjax.kernels.tiles import PLACES, Tiles
from cnnjax.kernels.vectors import Vectors


class TileReader:
    """Writes Bᵀ d B of tiles of the map `%in` to `made`: a number at each of the 16 places, `step` apart.

    `between` is from a tile to the next. `bordered` is room for a tile with what is outside of the map.
    """

    def __init__(self, c: Code, tiles: Tiles, vectors: Vectors, made: str, step: int, between: int, bordered: str):
        self.c, self.tiles, self.vectors = c, tiles, vectors
        self.made, self.step, self.between, self.bordered = made, step, between, bordered

    def spread(self, tile: Number, number: Number) -> None:
        """Bᵀ d B of a tile of all maps, the `number`-th of those that are computed together."""
        c, v, channels = self.c, self.vectors, self.tiles.read_channels
        start, line = self._source(tile)
        lines = [c.at(start, c.mul(line, a)) for a in range(4)]
        target = c.at(self.made, c.mul(number, self.between))
        for loop, part in pieces(c, channels, v.lanes):
            with loop as k:
                pointers, to = [c.at(line, k) for line in lines], c.at(target, k)

                def row(a: int, pointers: list[str] = pointers, part: int = part) -> list[str]:
                    return _spread(v, *(v.load(c.at(pointers[a], b * channels), part) for b in range(4)))

                def put(a: int, op: Callable[[str, str], str], x: list[str], y: list[str], to: str = to) -> None:
                    for b, pair in enumerate(zip(x, y, strict=True)):
                        v.store(op(*pair), c.at(to, (4 * a + b) * self.step), v.lanes)

                # As `_spread`, in an order that needs no more than twelve registers.
                zeroth, second = row(0), row(2)
                put(0, v.sub, zeroth, second)
                first = row(1)
                put(1, v.add, first, second)
                put(2, v.sub, second, first)
                put(3, v.sub, first, row(3))

    def place(self, tile: Number) -> tuple[Number, Number, Number]:
        """The map of a tile, and the row and column of the first of its neighbours."""
        c, (_, columns) = self.c, self.tiles.grid
        n, rest = c.div(tile, self.tiles.per_map), c.rest(tile, self.tiles.per_map)
        return n, c.mul(c.div(rest, columns), 2), c.mul(c.rest(rest, columns), 2)

    def fetch(self, tile: Number, other: str, *, written: bool) -> None:
        """Ask for what a tile reads that its neighbours above and before it do not, and for its neighbours."""
        c, it = self.c, self.tiles
        n, i, j = self.place(tile)
        for array, (h, w), channels, (y, x), write in (
            ("%in", it.read, it.read_channels, (c.sub(i, it.before[0] - 2), c.sub(j, it.before[1] - 1)), False),
            (other, it.made, it.made_channels, (i, j), written),
        ):
            rows, columns = (
                [c.max(c.min(c.add(at, step), size - 1), 0) for step in range(2)] for at, size in ((y, h), (x, w))
            )
            for row in rows:
                line = c.mul(c.add(c.mul(n, h), row), w)
                for column in columns:
                    pixel = c.at(array, c.mul(c.add(line, column), channels))
                    with c.loop(0, channels, 16) as k:
                        c.emit(f"call void @llvm.prefetch.p0(ptr {c.at(pixel, k)}, i32 {int(write)}, i32 3, i32 1)")

    def _source(self, tile: Number) -> tuple[str, str]:
        """Where a tile begins, and from one of its rows to the next: in the map, or in a copy with zeros around it."""
        c, v, (h, w), channels = self.c, self.vectors, self.tiles.read, self.tiles.read_channels
        n, i, j = self.place(tile)
        top, left = c.sub(i, self.tiles.before[0]), c.sub(j, self.tiles.before[1])
        corner = c.mul(c.add(c.mul(c.add(c.mul(n, h), top), w), left), channels)
        fits = [c.op(f"icmp ult i64 {at}, {max(0, size - 3)}") for at, size in ((top, h), (left, w))]
        inside = c.op(f"and i1 {', '.join(fits)}")
        with c.when(c.op(f"xor i1 {inside}, true")):
            c.emit(f"call void @llvm.memset.p0.i64(ptr {self.bordered}, i8 0, i64 {4 * PLACES * channels}, i1 false)")
            (low, high), (begin, end) = (
                (c.max(c.sub(0, at), 0), c.min(c.sub(size, at), 4)) for at, size in ((top, h), (left, w))
            )
            with c.loop(low, high) as a, c.loop(begin, end) as b:
                source = c.at("%in", c.add(corner, c.mul(c.add(c.mul(a, w), b), channels)))
                target = c.at(self.bordered, c.mul(c.add(c.mul(a, 4), b), channels))
                for loop, part in pieces(c, channels, v.lanes):
                    with loop as k:
                        v.store(v.load(c.at(source, k), part), c.at(target, k), part)
        start = c.op(f"select i1 {inside}, ptr {c.at('%in', corner)}, ptr {self.bordered}")
        return start, c.op(f"select i1 {inside}, i64 {w * channels}, i64 {4 * channels}")


def pieces(c: Code, channels: int, lanes: int) -> Iterator[tuple[AbstractContextManager[Number], int]]:
    """Loops over all channels by vectors, and how many channels each vector holds."""
    whole = channels // lanes * lanes
    if whole:
        yield c.loop(0, whole, lanes), lanes
    if channels > whole:
        yield c.loop(whole, channels, lanes), channels - whole


def not_finite(v: Vectors, spoilt: str) -> str:
    """Whether a vector to which 0 times every value was added holds NaN: one of the values is not finite."""
    nans = v.code.op(f"fcmp uno {v.kind} {v.get(spoilt)}, zeroinitializer")
    return v.code.op(f"call i1 @llvm.vector.reduce.or.v{v.lanes}i1(<{v.lanes} x i1> {nans})")


def map_numbers(tiles: Tiles) -> int:
    """Numbers in one map that is read."""
    return math.prod(tiles.read) * tiles.read_channels


def _spread(v: Vectors, d0: str, d1: str, d2: str, d3: str) -> list[str]:
    """Bᵀ d along one axis of a tile."""
    return [v.sub(d0, d2), v.add(d1, d2), v.sub(d2, d1), v.sub(d1, d3)]
