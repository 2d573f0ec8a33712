"""Winograd's F(2×2, 3×3): the forward pass and input gradient of a 3×3 convolution, with 16 products in place of 36.

Two by two neighbours Y of the result are made of a tile d, four by four, of the map that is read:

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A,   g the window of weights

(Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4.1). Summed over channels, the
middle is a product of two matrices at each of the 16 places of a tile: tiles × channels read, channels read × made.

Numbers that are not finite, or too large for a sum of four, do not come out of these sums as out of the window's own.
So a tile whose result is not finite is computed again, product by product.
"""

from cnnjax.kernels.again import again
from cnnjax.kernels.code import Code, Number
from cnnjax.kernels.geometry import Geometry
from cnnjax.kernels.tile_reader import TileReader, map_numbers, not_finite, pieces
from cnnjax.kernels.tiles import PLACES, TOGETHER, Tiles, layout, tiles_of
from cnnjax.kernels.vectors import Processor, Share, Vectors, shares

BODY = "ptr noalias %in, ptr noalias %w, ptr noalias %out, i64 %begin, i64 %end, ptr noalias %scratch"
"""Operands: arrays, the range of units to compute, a unit being some tiles of one map, and a worker's memory."""

_PRODUCTS = 32  # written out in one round of the innermost loop: LLVM takes a millisecond for each


def winograd(geometry: Geometry, processor: Processor, *, gradient: bool, name: str) -> str:
    """`void name(in, weights, out, begin, end, scratch)`: maps of two axes made of maps.

    Weights are the transformed window, then the window, which is turned around for the gradient: 16 + 9 matrices
    (channels read, channels made). Channels made are filled up with zeros to `layout(...).made`. Each of the 16 lies as
    (channels made / `layout(...).width`, channels read, width), so that what one loop reads follows each other.
    """
    tiles = tiles_of(geometry, gradient=gradient)
    sizes = layout(tiles, processor)
    c = Code()
    steps = _Steps(c, tiles, processor, name)
    with c.loop(c.mul("%begin", sizes.unit), end := c.mul("%end", sizes.unit), sizes.together) as first:
        count = c.min(c.sub(end, first), sizes.together)
        with c.loop(0, count) as number:
            steps.reader.spread(c.add(first, number), number)
        with c.loop(0, PLACES) as place:
            # What the next tiles read and make is fetched meanwhile: it costs a third of the time to wait for it.
            low, high = (c.div(c.mul(p, sizes.together), PLACES) for p in (place, c.add(place, 1)))
            with c.loop(low, high) as number:
                following = c.min(c.add(c.add(first, sizes.together), number), c.sub(end, 1))
                steps.reader.fetch(following, "%out", written=True)
            steps.multiply(place, count)
        with c.loop(0, count) as number:
            steps.gather(c.add(first, number), number)
    c.emit("ret void")
    return again(tiles, processor, sizes.made, name=f"{name}_again") + c.function(f"void @{name}({BODY})")


class _Steps:
    """What is done with the tiles that are computed together. `number` counts them, `tile` those of all maps."""

    def __init__(self, c: Code, tiles: Tiles, processor: Processor, name: str):
        self.c, self.tiles, self.name = c, tiles, name
        self.sizes = sizes = layout(tiles, processor)
        lanes, self.cut, _ = shares(tiles.made_channels, TOGETHER, processor)
        self.maker = Vectors(c, lanes)
        self.read = "%scratch"
        self.made = c.at(self.read, PLACES * sizes.read_place)
        bordered = c.at(self.made, PLACES * sizes.made_place)
        self.dropped = c.at(bordered, PLACES * sizes.read)
        reader = Vectors(c, processor.lanes_for(tiles.read_channels))
        self.reader = TileReader(c, tiles, reader, self.read, sizes.read_place, sizes.read, bordered)

    def multiply(self, place: Number, count: Number) -> None:
        """The product of matrices at one place of the first `count` tiles."""
        c, sizes, lanes = self.c, self.sizes, self.maker.lanes
        weights = c.at("%w", c.mul(place, self.tiles.read_channels * sizes.made))
        read, made = (
            c.at(all_of_it, c.mul(place, step))
            for all_of_it, step in ((self.read, sizes.read_place), (self.made, sizes.made_place))
        )
        for share in self.cut:
            with c.loop(0, share.repeats) as o:
                offset = c.add(c.mul(o, share.width(lanes)), share.first)
                w, y = c.at(weights, c.mul(offset, self.tiles.read_channels)), c.at(made, offset)
                with c.loop(0, count, sizes.held) as t:
                    self._block(share, c.at(read, c.mul(t, sizes.read)), w, c.at(y, c.mul(t, sizes.made)))

    def _block(self, share: Share, x: str, w: str, y: str) -> None:
        c, sizes, maker, channels = self.c, self.sizes, self.maker, self.tiles.read_channels
        sums = [[maker.zero() for _ in share.parts] for _ in range(sizes.held)]
        most, width = max(1, _PRODUCTS // (sizes.held * len(share.parts))), share.width(maker.lanes)
        unroll = next(u for u in range(most, 0, -1) if channels % u == 0)
        with c.loop(0, channels, unroll) as k:
            here, w_here = c.at(x, k), c.at(w, c.mul(k, width))
            for u in range(unroll):
                line = c.at(w_here, u * width)
                weights = [maker.load(c.at(line, v * maker.lanes), maker.lanes) for v in range(len(share.parts))]
                for t, row in enumerate(sums):
                    value = maker.splat(c.load("float", c.at(here, t * sizes.read + u)))
                    for s, weight in zip(row, weights, strict=True):
                        maker.add_product(value, weight, s)
        for t, row in enumerate(sums):
            for v, s in enumerate(row):
                maker.store(maker.get(s), c.at(y, t * sizes.made + v * maker.lanes), maker.lanes)

    def gather(self, tile: Number, number: Number) -> None:
        """Aᵀ M A of a tile, or its result product by product where that is not finite."""
        c, maker = self.c, self.maker
        n, i, j = self.reader.place(tile)
        (h, w), channels = self.tiles.made, self.tiles.made_channels
        image = c.at("%out", c.mul(n, h * w * channels))
        corner = c.at(image, c.mul(c.add(c.mul(i, w), j), channels))
        targets = [[c.at(corner, (a * w + b) * channels) for b in range(2)] for a in range(2)]
        if h % 2:
            below = c.op(f"icmp slt i64 {i}, {h - 1}")
            targets[1] = [c.op(f"select i1 {below}, ptr {p}, ptr {self.dropped}") for p in targets[1]]
        if w % 2:
            right = c.op(f"icmp slt i64 {j}, {w - 1}")
            targets = [[p, c.op(f"select i1 {right}, ptr {q}, ptr {self.dropped}")] for p, q in targets]
        source = c.at(self.made, c.mul(number, self.sizes.made))
        spoilt = maker.zero()
        for loop, part in pieces(c, channels, maker.lanes):
            with loop as k:
                here = c.at(source, k)
                values = [
                    [maker.load(c.at(here, (4 * a + b) * self.sizes.made_place), maker.lanes) for b in range(4)]
                    for a in range(4)
                ]
                grid = [_gather(maker, *line) for line in values]
                for b in range(2):
                    for a, value in enumerate(_gather(maker, *(line[b] for line in grid))):
                        maker.add_product(value, "zeroinitializer", spoilt)  # 0 if all are finite, else NaN
                        maker.store(value, c.at(targets[a][b], k), part)
        with c.when(not_finite(maker, spoilt)):
            read = c.at("%in", c.mul(n, map_numbers(self.tiles)))
            c.emit(f"call void @{self.name}_again(ptr {read}, ptr %w, ptr {image}, i64 {i}, i64 {j})")


def _gather(v: Vectors, m0: str, m1: str, m2: str, m3: str) -> list[str]:
    """Aᵀ m along one axis of a tile."""
    return [v.add(v.add(m0, m1), m2), v.sub(v.sub(m1, m2), m3)]
