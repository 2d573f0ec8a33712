"""Winograd's F(3×3, 2×2): the weight gradient of a 3×3 convolution, with 16 products in place of 36.

The forward pass over tiles (winograd.py) is Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, so with a cotangent y of two by two
neighbours the gradient of the window g is

    Gᵀ [ Σ (A y Aᵀ) ⊙ (Bᵀ d B) ] G,

summed over tiles. The middle is a product of two matrices at each of the 16 places: channels × tiles, tiles × features.

Numbers that are not finite, or too large for a sum of four, do not come out of these sums as out of the window's own.
So a sum that is not finite is computed again, product by product.
"""

import itertools
import math
from typing import NamedTuple

from cnnjax.kernels.code import Code, Number
from cnnjax.kernels.geometry import Geometry
from cnnjax.kernels.tile_reader import TileReader, not_finite, pieces
from cnnjax.kernels.tiles import PLACES, Tiles, tiles_of
from cnnjax.kernels.vectors import Processor, Vectors, shares
from cnnjax.kernels.winograd import BODY

_MANY_SUMS = 100_000  # at each place: with 262,144, 64 tiles at once take 0.7 of the time of 32 (Zen 5)


class Layout(NamedTuple):
    """Tiles that are computed together, and what a worker keeps, counted in numbers."""

    together: int
    unit: int
    """Tiles in a unit of work: whole rows of them, so that units are whole rows of the map."""
    read: int
    """From a tile to the next: channels, up to whole vectors."""
    made: int
    """From a tile of the cotangent to the next: features, up to whole vectors."""
    channels: int

    @property
    def read_place(self) -> int:
        """From one of the 16 places to the next. One line of the cache is left free, else all would share one set."""
        return self.together * self.read + 16

    @property
    def made_place(self) -> int:
        """The same of the cotangent's tiles."""
        return self.together * self.made + 16

    @property
    def sums_place(self) -> int:
        """The same of the sums, (channels, features)."""
        return self.channels * self.made + 16

    @property
    def size(self) -> int:
        """All of it: sums, tiles of both, a tile with what is outside of the map, and zeros for the cotangent's."""
        return PLACES * (self.sums_place + self.read_place + self.made_place + self.read) + self.made


def layout(tiles: Tiles, processor: Processor) -> Layout:
    """How a worker computes these sums."""
    whole = lambda channels, lanes: math.ceil(channels / lanes) * lanes  # noqa: E731
    read = whole(tiles.read_channels, processor.lanes_for(tiles.read_channels))
    made = whole(tiles.made_channels, shares(tiles.made_channels, tiles.read_channels, processor)[0])
    # Sums come and go once for all tiles that are computed together: more tiles where sums come from afar.
    together = 32 if tiles.read_channels * tiles.made_channels <= _MANY_SUMS else 64
    rows, columns = tiles.grid
    # Of an odd number of rows the last tiles have one row only, so that no smaller unit is whole rows.
    most = 1 if tiles.made[0] % 2 else rows
    parts = max(p for p in range(1, most + 1) if rows % p == 0 and (p == 1 or rows // p * columns >= together))
    return Layout(together, rows // parts * columns, read, made, tiles.read_channels)


def winograd_weights(geometry: Geometry, processor: Processor, *, name: str) -> str:
    """`void name(maps, cotangent, out, begin, end, scratch)`: the sum over a range of units of maps of two axes."""
    tiles = tiles_of(geometry, gradient=False)
    sizes = layout(tiles, processor)
    c = Code()
    steps = _Steps(c, tiles, processor)
    units = tiles.per_map // sizes.unit
    steps.clear()
    with c.loop(c.mul("%begin", sizes.unit), end := c.mul("%end", sizes.unit), sizes.together) as first:
        count = c.min(c.sub(end, first), sizes.together)
        with c.loop(0, count) as number:
            steps.reader.spread(c.add(first, number), number)
            steps.spread_cotangent(c.add(first, number), number)
        with c.loop(0, PLACES) as place:
            # What the next tiles read is fetched meanwhile, as in winograd.py.
            low, high = (c.div(c.mul(p, sizes.together), PLACES) for p in (place, c.add(place, 1)))
            with c.loop(low, high) as number:
                following = c.min(c.add(c.add(first, sizes.together), number), c.sub(end, 1))
                steps.reader.fetch(following, "%w", written=False)
            steps.multiply(place, count)
    spoilt = steps.gather()
    with c.when(not_finite(steps.maker, spoilt)):
        c.emit(f"call void @{name}_again(ptr %in, ptr %w, ptr %out, i64 %begin, i64 %end)")
    c.emit("ret void")
    return _again(tiles, processor, units, name=f"{name}_again") + c.function(f"void @{name}({BODY})")


class _Steps:
    """What is done with the tiles that are computed together. `number` counts them, `tile` those of all maps."""

    def __init__(self, c: Code, tiles: Tiles, processor: Processor):
        self.c, self.tiles = c, tiles
        self.sizes = sizes = layout(tiles, processor)
        lanes, self.cut, self.most = shares(tiles.made_channels, tiles.read_channels, processor)
        self.maker = Vectors(c, lanes)
        self.sums = "%scratch"
        self.read = c.at(self.sums, PLACES * sizes.sums_place)
        self.made = c.at(self.read, PLACES * sizes.read_place)
        bordered = c.at(self.made, PLACES * sizes.made_place)
        self.zeros = c.at(bordered, PLACES * sizes.read)
        reader = Vectors(c, processor.lanes_for(tiles.read_channels))
        self.reader = TileReader(c, tiles, reader, self.read, sizes.read_place, sizes.read, bordered)

    def clear(self) -> None:
        """Begin with sums of nothing."""
        for start, numbers in ((self.sums, PLACES * self.sizes.sums_place), (self.zeros, self.sizes.made)):
            self.c.emit(f"call void @llvm.memset.p0.i64(ptr {start}, i8 0, i64 {4 * numbers}, i1 false)")

    def spread_cotangent(self, tile: Number, number: Number) -> None:
        """A y Aᵀ of two by two neighbours."""
        c, v, channels = self.c, self.maker, self.tiles.made_channels
        n, i, j = self.reader.place(tile)
        h, w = self.tiles.made
        corner = c.at("%w", c.mul(c.add(c.mul(c.add(c.mul(n, h), i), w), j), channels))
        sources = [[c.at(corner, (a * w + b) * channels) for b in range(2)] for a in range(2)]
        if h % 2:
            below = c.op(f"icmp slt i64 {i}, {h - 1}")
            sources[1] = [c.op(f"select i1 {below}, ptr {p}, ptr {self.zeros}") for p in sources[1]]
        if w % 2:
            right = c.op(f"icmp slt i64 {j}, {w - 1}")
            sources = [[p, c.op(f"select i1 {right}, ptr {q}, ptr {self.zeros}")] for p, q in sources]
        target = c.at(self.made, c.mul(number, self.sizes.made))
        for loop, part in pieces(c, channels, v.lanes):
            with loop as k:
                to = c.at(target, k)
                lines = zip(*(_spread(v, *(v.load(c.at(p, k), part) for p in row)) for row in sources), strict=True)
                for b, (upper, lower) in enumerate(lines):
                    for a, value in enumerate(_spread(v, upper, lower)):
                        v.store(value, c.at(to, (4 * a + b) * self.sizes.made_place), v.lanes)

    def multiply(self, place: Number, count: Number) -> None:
        """Add the product of matrices at one place of the first `count` tiles to the sums."""
        c, sizes, v = self.c, self.sizes, self.maker
        read, made, sums = (
            c.at(all_of_it, c.mul(place, step))
            for all_of_it, step in (
                (self.read, sizes.read_place),
                (self.made, sizes.made_place),
                (self.sums, sizes.sums_place),
            )
        )
        held = math.ceil(sizes.channels / math.ceil(sizes.channels / self.most))
        whole, rest = divmod(sizes.channels, held)
        for share, (first, blocks, channels) in itertools.product(
            self.cut, ((0, whole, held), (whole * held, 1, rest))
        ):
            if not blocks * channels:
                continue
            with c.loop(0, share.repeats) as o, c.loop(0, blocks) as block:
                feature = c.add(c.mul(o, share.width(v.lanes)), share.first)
                channel = c.add(c.mul(block, channels), first)
                start, x = c.at(sums, c.add(c.mul(channel, sizes.made), feature)), c.at(read, channel)
                y, vectors = c.at(made, feature), range(len(share.parts))
                at = {(k, u): c.at(start, k * sizes.made + u * v.lanes) for k in range(channels) for u in vectors}
                held_sums = {key: c.variable(v.kind) for key in at}
                for key, s in held_sums.items():
                    v.set(s, v.load(at[key], v.lanes))
                with c.loop(0, count) as t:
                    x_here, y_here = c.at(x, c.mul(t, sizes.read)), c.at(y, c.mul(t, sizes.made))
                    features = [v.load(c.at(y_here, u * v.lanes), v.lanes) for u in vectors]
                    for k in range(channels):
                        value = v.splat(c.load("float", c.at(x_here, k)))
                        for u in vectors:
                            v.add_product(value, features[u], held_sums[k, u])
                for key, s in held_sums.items():
                    v.store(v.get(s), at[key], v.lanes)

    def gather(self) -> str:
        """Write Gᵀ M G; the variable in which every value was multiplied by 0 and added up."""
        c, v, sizes, features = self.c, self.maker, self.sizes, self.tiles.made_channels
        spoilt, half = v.zero(), v.splat("5.0e-01")
        with c.loop(0, sizes.channels) as channel:
            source, target = c.at(self.sums, c.mul(channel, sizes.made)), c.at("%out", c.mul(channel, features))
            for loop, part in pieces(c, features, v.lanes):
                with loop as k:
                    here, to = c.at(source, k), c.at(target, k)
                    grid = [
                        _gather(
                            v, half, *(v.load(c.at(here, (4 * a + b) * sizes.sums_place), v.lanes) for b in range(4))
                        )
                        for a in range(4)
                    ]
                    for b in range(3):
                        for a, value in enumerate(_gather(v, half, *(line[b] for line in grid))):
                            v.add_product(value, "zeroinitializer", spoilt)  # 0 if all are finite, else NaN
                            v.store(value, c.at(to, (3 * a + b) * sizes.channels * features), part)
        return spoilt


def _spread(v: Vectors, y0: str, y1: str) -> list[str]:
    """A y along one axis."""
    return [y0, v.add(y0, y1), v.sub(y0, y1), v.sub("zeroinitializer", y1)]


def _gather(v: Vectors, half: str, m0: str, m1: str, m2: str, m3: str) -> list[str]:
    """Gᵀ m along one axis of a tile."""
    both, difference = (v.mul(op(m1, m2), half) for op in (v.add, v.sub))
    return [v.add(m0, both), difference, v.add(both, m3)]


def _again(tiles: Tiles, processor: Processor, units: int, *, name: str) -> str:
    """`void name(maps, cotangent, out, begin, end)`: the same sum product by product, for a range of units.

    Where NaN stands in every channel of a place of the map that all taps read there is nothing to do: both sums are
    NaN everywhere, and networks that have diverged are as fast as others.
    """
    lanes, cut, _ = shares(tiles.made_channels, 4, processor)
    (h, w), (oh, ow), (top, left) = tiles.read, tiles.made, tiles.before
    channels, features = tiles.read_channels, tiles.made_channels
    rows = oh // units  # of a unit
    c = Code()
    v = Vectors(c, lanes)
    known = _surely_nan(c, tiles, units)
    with c.when(c.op(f"xor i1 {known}, true")), c.loop(0, 3) as a, c.loop(0, 3) as b:
        (row_shift, column_shift) = c.sub(a, top), c.sub(b, left)
        begin, end = c.max(c.sub(0, column_shift), 0), c.min(c.sub(w, column_shift), ow)
        for share in cut:
            with c.loop(0, channels) as channel, c.loop(0, share.repeats) as o:
                feature = c.add(c.mul(o, share.width(lanes)), share.first)
                sums = [v.zero() for _ in share.parts]
                with c.loop(c.mul("%begin", rows), c.mul("%end", rows)) as line:
                    n, i = c.div(line, oh), c.rest(line, oh)
                    row = c.add(i, row_shift)
                    with c.when(c.op(f"icmp ult i64 {row}, {h}")), c.loop(begin, end) as j:
                        pixel = c.add(c.mul(c.add(c.mul(n, h), row), w), c.add(j, column_shift))
                        x = v.splat(c.load("float", c.at("%in", c.add(c.mul(pixel, channels), channel))))
                        place = c.add(c.mul(c.add(c.mul(n, oh), i), ow), j)
                        y = c.at("%w", c.add(c.mul(place, features), feature))
                        for u, (s, part) in enumerate(zip(sums, share.parts, strict=True)):
                            v.add_product(x, v.load(c.at(y, u * lanes), part), s)
                tap = c.add(c.mul(c.add(c.mul(a, 3), b), channels), channel)
                target = c.at("%out", c.add(c.mul(tap, features), feature))
                for u, (s, part) in enumerate(zip(sums, share.parts, strict=True)):
                    v.store(v.get(s), c.at(target, u * lanes), part)
    c.emit("ret void")
    return c.function(f"internal void @{name}(ptr %in, ptr %w, ptr %out, i64 %begin, i64 %end)")


def _surely_nan(c: Code, tiles: Tiles, units: int) -> Number:
    """Whether every channel is NaN at a place of the first unit's map that all nine taps read."""
    (h, w), (oh, ow) = tiles.read, tiles.made
    rows = oh // units
    first = c.mul(c.rest("%begin", units), rows)
    # Tap a reads it for row `row` + before − a of the cotangent.
    row = c.add(first, 2 - tiles.before[0])
    column = 2 - tiles.before[1]
    found = c.variable("i1")
    fits = rows >= 3 and ow >= 3 and 0 <= column < w
    c.store("i1", "true" if fits else "false", found, 1)
    if fits:
        inside = c.op(f"icmp ult i64 {row}, {h}")
        c.store("i1", inside, found, 1)
        with c.when(inside), c.loop(0, tiles.read_channels) as k:
            pixel = c.add(c.mul(c.add(c.mul(c.div("%begin", units), h), row), w), column)
            value = c.load("float", c.at("%in", c.add(c.mul(pixel, tiles.read_channels), k)))
            nan = c.op(f"fcmp uno float {value}, {value}")
            c.store("i1", c.op(f"and i1 {nan}, {c.load('i1', found, 1)}"), found, 1)
    return c.load("i1", found, 1)
