"""The weight gradient of a convolution, written as LLVM IR for one geometry.

Registers hold the sums of a few input channels times a few vectors of features at one tap (for thin maps, at all taps
of one row of the window), and run over the pixels of a tile of rows that stays in the processor's first cache.
"""

import contextlib
import math
from collections.abc import Callable

from cnnjax.kernels.code import Code, Number, table
from cnnjax.kernels.columns import segments
from cnnjax.kernels.gather import BODY
from cnnjax.kernels.geometry import Geometry
from cnnjax.kernels.vectors import Processor, Share, Vectors, shares

NEAR = 256 * 1024
"""Bytes of maps and weights that stay in the processor's second cache."""

Units = tuple[Number, Number]
Where = Callable[[Number], tuple]


def tiles_for(geometry: Geometry, processor: Processor) -> int:
    """Tiles of rows in which a map and its cotangent fit the cache."""
    bytes_of_row = 4 * (geometry.stride[0] * geometry.size[1] * geometry.channels + geometry.out[1] * geometry.features)
    return math.ceil(geometry.out[0] / max(1, processor.cache // bytes_of_row))


def _units_together(geometry: Geometry, tiles: int) -> int:
    """How many units are added up before sums leave the registers: many where weights do not stay near."""
    if 4 * math.prod(geometry.kernel) <= NEAR:
        return 1
    return max(1, NEAR * tiles // (4 * (math.prod(geometry.maps) + math.prod(geometry.made))))


def weight_gradient(geometry: Geometry, processor: Processor, *, tiles: int, name: str) -> str:
    """`void name(maps, cotangent, out, begin, end)`: the sum over a range of units, `tiles` in each map of two axes."""
    (h, w), (oh, ow), (kh, kw) = geometry.size, geometry.out, geometry.window
    groups, stride = geometry.groups, geometry.stride
    in_c, out_c = geometry.channels // groups, geometry.features // groups
    lanes, cut, most = shares(out_c, in_c, processor)
    together = math.ceil(in_c / math.ceil(in_c / most))
    # Thin maps: taps of one row of the window at once.
    taps = max(1, min(kw, most // in_c)) if together == in_c else 1
    blocks = [(0, in_c // together, together), (in_c // together * together, 1, in_c % together)]
    places = [[geometry.read_at(1, j, tap) for j in range(ow)] for tap in range(kw)]
    reached = [[i for i in range(oh) if geometry.read_at(0, i, tap) is not None] for tap in range(kh)]
    tables = {"low": [r[0] if r else 0 for r in reached], "high": [r[-1] + 1 if r else 0 for r in reached]}
    together_units = _units_together(geometry, tiles)
    c = Code()
    vectors = Vectors(c, lanes)

    def rows_of(unit: Number, g: Number, a: Number) -> tuple[str, str, str, str, Number]:
        """Map and cotangent of a unit, the rows of the cotangent that tap `a` reaches, and how the map's differ."""
        n, tile = c.div(unit, tiles), c.rest(unit, tiles)
        top, bottom = (c.div(c.mul(t, oh), tiles) for t in (tile, c.add(tile, 1)))
        image = c.at("%in", c.add(c.mul(n, h * w * geometry.channels), c.mul(g, in_c)))
        cotangent = c.at("%w", c.add(c.mul(n, oh * ow * geometry.features), c.mul(g, out_c)))
        low = c.max(top, c.load("i64", c.at(f"@{name}_low", a, "i64"), 8))
        high = c.min(bottom, c.load("i64", c.at(f"@{name}_high", a, "i64"), 8))
        return image, cotangent, low, high, c.sub(c.mul(a, geometry.dilation[0]), geometry.padding[0][0])

    def sums_over(group: list[int], channels: int, share: Share, at: str, units: Units, where: Where) -> None:
        """Add the products of these units to the weights of some taps at `at`."""
        places_here = {
            (b, k, v): ((b - group[0]) * in_c + k) * geometry.features + v * lanes
            for b in group for k in range(channels) for v in range(len(share.parts))
        }  # fmt: skip
        address = {key: c.at(at, offset) for key, offset in places_here.items()}
        sums = {key: c.variable(vectors.kind) for key in address}
        for key, s in sums.items():
            vectors.set(s, vectors.load(address[key], share.parts[key[2]]))
        with c.loop(*units) if together_units > 1 else contextlib.nullcontext(units[0]) as unit:
            rows_products(group, channels, share, where(unit), sums)
        for key, s in sums.items():
            vectors.store(vectors.get(s), address[key], share.parts[key[2]])

    def rows_products(group: list[int], channels: int, share: Share, rows: tuple, sums: dict) -> None:
        line, out, low, high, shift = rows
        with c.loop(low, high) as i:
            row = c.at(line, c.mul(c.mul(c.add(c.mul(i, stride[0]), shift), w), geometry.channels))
            row_out = c.at(out, c.mul(c.mul(i, ow), geometry.features))
            for begin, end in segments([places[b] for b in group]):
                read = {b: place for b in group if (place := places[b][begin]) is not None}
                with c.loop(begin, end) as j:
                    here_out = c.at(row_out, c.mul(j, geometry.features))
                    here = c.at(row, c.mul(c.mul(c.sub(j, begin), stride[1]), geometry.channels))
                    dy = [vectors.load(c.at(here_out, v * lanes), part) for v, part in enumerate(share.parts)]
                    for b, place in read.items():
                        for k in range(channels):
                            x = vectors.splat(c.load("float", c.at(here, place * geometry.channels + k)))
                            for v, d in enumerate(dy):
                                vectors.add_product(x, d, sums[b, k, v])

    c.emit(f"call void @llvm.memset.p0.i64(ptr %out, i8 0, i64 {4 * math.prod(geometry.kernel)}, i1 false)")
    with c.loop("%begin", "%end", together_units) as first_unit, c.loop(0, groups) as g, c.loop(0, kh) as a:
        units = first_unit, c.min(c.add(first_unit, together_units), "%end")
        kernel, only = c.at("%out", c.mul(g, out_c)), rows_of(first_unit, g, a) if together_units == 1 else None
        for group in (list(range(b, min(b + taps, kw))) for b in range(0, kw, taps)):
            for share in cut:
                for first, count, channels in (block for block in blocks if block[1] * block[2]):
                    with c.loop(0, share.repeats) as o, c.loop(0, count) as block:
                        channel: Number = c.add(c.mul(block, channels), first)
                        feature: Number = c.add(c.mul(o, len(share.parts) * lanes), share.first)
                        tap = c.mul(c.add(c.mul(c.add(c.mul(a, kw), group[0]), in_c), channel), geometry.features)

                        def where(unit: Number, channel: Number = channel, feature: Number = feature) -> tuple:
                            image, cotangent, *rows = only or rows_of(unit, g, a)
                            return c.at(image, channel), c.at(cotangent, feature), *rows

                        sums_over(group, channels, share, c.at(kernel, c.add(tap, feature)), units, where)
    c.emit("ret void")
    return "".join(table(f"{name}_{key}", values) for key, values in tables.items()) + c.function(
        f"void @{name}({BODY})"
    )


def weight_products(geometry: Geometry, processor: Processor) -> int:
    """How many products the code has: LLVM takes a millisecond for each."""
    in_c, out_c = geometry.channels // geometry.groups, geometry.features // geometry.groups
    _, cut, most = shares(out_c, in_c, processor)
    places = [[geometry.read_at(1, j, tap) for j in range(geometry.out[1])] for tap in range(geometry.window[1])]
    vectors = sum(len(share.parts) for share in cut)
    return len(segments(places)) * geometry.window[1] * min(in_c, most) * vectors if segments(places) else 0
