"""The forward pass and the input gradient of a convolution, written as LLVM IR for one geometry.

Registers hold a few pixels of one row times a few vectors of the channels that are made; for each tap and each channel
that is read, a vector of weights meets one broadcast value of each pixel. The input gradient is the same with the parts
exchanged: it reads the cotangent, and for a stride there are rows and columns that some taps miss. What lies outside
the map is left out, never read.
"""

import math
from typing import NamedTuple

from cnnjax.kernels.code import Code, Number, table
from cnnjax.kernels.columns import Run, column_runs, row_table
from cnnjax.kernels.geometry import Geometry
from cnnjax.kernels.vectors import Processor, Share, Vectors, shares

BODY = "ptr noalias %in, ptr noalias %w, ptr noalias %out, i64 %begin, i64 %end"
"""Operands of every kernel: arrays, and the range of units to compute, a unit being a tile of rows of one map."""

_PRODUCTS = 24  # written out in one round of the innermost loop: LLVM takes a millisecond for each


class Gather:
    """What both passes share: sizes of what is read and made, by which tap of the window."""

    def __init__(self, geometry: Geometry, *, gradient: bool):
        self.geometry = geometry
        self.read, self.made = geometry.size, geometry.out
        self.read_channels, self.made_channels = geometry.channels, geometry.features
        self.period = 1
        place = geometry.read_at
        if gradient:
            self.read, self.made = self.made, self.read
            self.read_channels, self.made_channels = self.made_channels, self.read_channels
            self.period, place = geometry.stride[1], geometry.brought_from
        self.rows, self.columns = (
            [[place(axis, i, tap) for i in range(self.made[axis])] for tap in range(geometry.window[axis])]
            for axis in (0, 1)
        )


class WeightLayout(NamedTuple):
    """How the weights of one group lie in memory: (channels made / width, window, channels read, width).

    So the weights that one loop reads follow each other. In rows of all the channels that are made they would be far
    apart, and where that is a power of two, few sets of the cache would hold them all.
    """

    padded: int
    """Channels made, with zeros up to whole vectors. Those that fill no whole width are a last, narrower part."""
    width: int


def weight_layout(geometry: Geometry, processor: Processor, *, gradient: bool) -> WeightLayout:
    """The layout of the weights that `gather` reads."""
    it = Gather(geometry, gradient=gradient)
    made = it.made_channels // geometry.groups
    lanes, cut, _ = shares(made, math.ceil(it.made[1] / it.period), processor)
    return WeightLayout(math.ceil(made / lanes) * lanes, cut[0].width(lanes))


def gather(geometry: Geometry, processor: Processor, *, gradient: bool, tiles: int, name: str) -> str:
    """`void name(in, weights, out, begin, end)`: maps of two axes made of maps, `tiles` units in each.

    The weights of every group lie as `weight_layout` says.
    """
    it = Gather(geometry, gradient=gradient)
    groups, (kh, kw) = geometry.groups, geometry.window
    in_c, out_c = it.read_channels // groups, it.made_channels // groups
    lanes, cut, most = shares(out_c, math.ceil(it.made[1] / it.period), processor)
    padded = weight_layout(geometry, processor, gradient=gradient).padded
    tables, tap_step, row_step = row_table(it.rows)
    c = Code()
    vectors = Vectors(c, lanes)

    def pixels(run: Run, share: Share, line: str, taps: str, made: str, row: tuple[str, ...], i: Number) -> None:
        """Blocks of one row: sums over all taps and channels, then stored."""
        first, count, read_row = row
        tap_size = in_c * share.width(lanes)
        with c.loop(0, run.blocks) as number:
            base = c.add(c.mul(number, run.base_step), run.block.base)
            column = c.add(c.mul(number, run.column_step), run.block.columns[0])
            sums = [[vectors.zero() for _ in share.parts] for _ in run.block.columns]
            with c.loop(0, count) as t:
                r = c.add(read_row, c.mul(t, row_step))
                here = c.at(line, c.mul(c.add(c.mul(r, it.read[1]), base), it.read_channels))
                weights = c.at(taps, c.mul(c.add(first, c.mul(t, tap_step)), kw * tap_size))
                for b, reads in enumerate(run.block.pattern):
                    products(reads, here, c.at(weights, b * tap_size), sums)
            target = c.at(made, c.mul(c.add(c.mul(i, it.made[1]), column), it.made_channels))
            for held, j in zip(sums, run.block.columns, strict=True):
                for v, (s, part) in enumerate(zip(held, share.parts, strict=True)):
                    offset = (j - run.block.columns[0]) * it.made_channels + v * lanes
                    vectors.store(vectors.get(s), c.at(target, offset), part)

    def products(reads: tuple[int | None, ...], line: str, weights: str, sums: list[list[str]]) -> None:
        """Add what one tap brings to a block."""
        held = sum(read is not None for read in reads) * len(sums[0])
        if not held:
            return
        unroll = next(u for u in range(max(1, _PRODUCTS // held), 0, -1) if in_c % u == 0)
        width = len(sums[0]) * lanes
        with c.loop(0, in_c, unroll) as channel:
            here, w_here = c.at(line, channel), c.at(weights, c.mul(channel, width))
            for u in range(unroll):
                w = [vectors.load(c.at(w_here, u * width + v * lanes), lanes) for v in range(len(sums[0]))]
                for pixel, read in zip(sums, reads, strict=True):
                    if read is not None:
                        x = vectors.splat(c.load("float", c.at(here, read * it.read_channels + u)))
                        for v, s in enumerate(pixel):
                            vectors.add_product(x, w[v], s)

    rows = kh * kw * in_c
    runs = column_runs(it.columns, period=it.period, most=most)
    with c.loop(0, groups) as group:
        kernel = c.at("%w", c.mul(group, rows * padded))
        for share in cut:
            with c.loop(0, share.repeats) as o, c.loop("%begin", "%end") as unit:
                n, tile = c.div(unit, tiles), c.rest(unit, tiles)
                low, high = (c.div(c.mul(t, it.made[0]), tiles) for t in (tile, c.add(tile, 1)))
                offset = c.add(c.mul(o, share.width(lanes)), share.first)
                taps = c.at(kernel, c.mul(offset, rows))
                image = c.at("%in", c.add(c.mul(n, math.prod(it.read) * it.read_channels), c.mul(group, in_c)))
                map_made = c.add(c.mul(n, math.prod(it.made) * it.made_channels), c.mul(group, out_c))
                made = c.at("%out", c.add(map_made, offset))
                with c.loop(low, high) as i:
                    row = tuple(c.load("i64", c.at(f"@{name}_{t}", i, "i64"), 8) for t in tables)
                    for run in runs:
                        pixels(run, share, image, taps, made, row, i)
    c.emit("ret void")
    return "".join(table(f"{name}_{key}", values) for key, values in tables.items()) + c.function(
        f"void @{name}({BODY})"
    )


def gather_products(geometry: Geometry, processor: Processor, *, gradient: bool) -> int:
    """How many products the code has: LLVM takes a millisecond for each."""
    it = Gather(geometry, gradient=gradient)
    made = it.made_channels // geometry.groups
    _, cut, most = shares(made, math.ceil(it.made[1] / it.period), processor)
    runs = column_runs(it.columns, period=it.period, most=most)
    read = sum(r is not None for run in runs for reads in run.block.pattern for r in reads)
    return read * sum(len(share.parts) for share in cut)
