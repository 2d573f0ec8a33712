"""Two by two neighbours of a result once more, product by product: where Winograd's sums are not finite."""

from cnnjax.kernels.code import Code
from cnnjax.kernels.tiles import PLACES, Tiles
from cnnjax.kernels.vectors import Processor, Vectors, shares


def again(tiles: Tiles, processor: Processor, padded: int, *, name: str) -> str:
    """`void name(map read, weights, map made, row, column)`: the neighbours from a place of the map on.

    Weights are those of `winograd`, `padded` numbers in each row. What lies outside the map is left out, never read.
    Where all four are NaN whatever the weights, which Winograd's sums are too, there is nothing to do: networks that
    have diverged are as fast as others.
    """
    lanes, cut, _ = shares(tiles.made_channels, 4, processor)
    (h, w), (oh, ow), channels = tiles.read, tiles.made, tiles.read_channels
    c = Code()
    vectors = Vectors(c, lanes)
    window = c.at("%w", PLACES * channels * padded)
    known = _surely_nan(c, tiles)
    with c.when(c.op(f"xor i1 {known}, true")):
        rows, columns = (c.min(c.add(at, 2), size) for at, size in (("%row", oh), ("%column", ow)))
        with c.loop("%row", rows) as i, c.loop("%column", columns) as j:
            top, left = c.sub(i, tiles.before[0]), c.sub(j, tiles.before[1])
            (low, high), (begin, end) = (
                (c.max(c.sub(0, at), 0), c.min(c.sub(size, at), 3)) for at, size in ((top, h), (left, w))
            )
            for share in cut:
                with c.loop(0, share.repeats) as o:
                    offset = c.add(c.mul(o, len(share.parts) * lanes), share.first)
                    sums = [vectors.zero() for _ in share.parts]
                    with c.loop(low, high) as a, c.loop(begin, end) as b, c.loop(0, channels) as k:
                        pixel = c.add(c.mul(c.add(top, a), w), c.add(left, b))
                        value = vectors.splat(c.load("float", c.at("%in", c.add(c.mul(pixel, channels), k))))
                        tap = c.add(c.mul(c.add(c.mul(a, 3), b), channels), k)
                        weights = c.at(window, c.add(c.mul(tap, padded), offset))
                        for v, s in enumerate(sums):
                            vectors.add_product(value, vectors.load(c.at(weights, v * lanes), lanes), s)
                    target = c.at("%out", c.add(c.mul(c.add(c.mul(i, ow), j), tiles.made_channels), offset))
                    for v, (s, part) in enumerate(zip(sums, share.parts, strict=True)):
                        vectors.store(vectors.get(s), c.at(target, v * lanes), part)
    c.emit("ret void")
    return c.function(f"internal void @{name}(ptr %in, ptr %w, ptr %out, i64 %row, i64 %column)")


def _surely_nan(c: Code, tiles: Tiles) -> str:
    """Whether NaN stands in the middle of a tile, which all four windows read."""
    (h, w), channels = tiles.read, tiles.read_channels
    found = c.variable("i1")
    c.store("i1", "false", found, 1)
    (low, high), (begin, end) = (
        (c.max(c.add(at, 1 - before), 0), c.min(c.add(at, 3 - before), size))
        for at, before, size in (("%row", tiles.before[0], h), ("%column", tiles.before[1], w))
    )
    with c.loop(low, high) as r, c.loop(begin, end) as s, c.loop(0, channels) as k:
        value = c.load("float", c.at("%in", c.add(c.mul(c.add(c.mul(r, w), s), channels), k)))
        nan = c.op(f"fcmp uno float {value}, {value}")
        c.store("i1", c.op(f"or i1 {nan}, {c.load('i1', found, 1)}"), found, 1)
    return c.load("i1", found, 1)
