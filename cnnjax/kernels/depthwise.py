"""Depthwise convolution, where every channel has a window of its own: vectors of channels times vectors of weights."""

import math

from cnnjax.kernels.code import Code, Number, table
from cnnjax.kernels.columns import Run, column_runs, row_table, segments
from cnnjax.kernels.gather import BODY, Gather
from cnnjax.kernels.geometry import Geometry
from cnnjax.kernels.vectors import Processor, Share, Vectors, shares

_COLUMNS = 8  # pixels computed at once: as many sums as hide the time that one product takes


def depthwise_gather(geometry: Geometry, processor: Processor, *, gradient: bool, tiles: int, name: str) -> str:
    """`void name(in, weights, out, begin, end)`: the forward pass or the input gradient, weights (window, channels)."""
    it = Gather(geometry, gradient=gradient)
    channels, kw = geometry.channels, geometry.window[1]
    lanes, cut, _ = shares(channels, _COLUMNS, processor)
    cut = [Share(s.first + v * lanes, 1, (part,)) for s in cut if s.repeats == 1 for v, part in enumerate(s.parts)] + [
        Share(s.first, s.repeats * len(s.parts), s.parts[:1]) for s in cut if s.repeats > 1
    ]
    tables, tap_step, row_step = row_table(it.rows)
    runs = column_runs(it.columns, period=it.period, most=_COLUMNS)
    c = Code()
    vectors = Vectors(c, lanes)

    def pixels(run: Run, part: int, line: str, kernel: str, made: str, row: tuple[str, ...], i: Number) -> None:
        first, count, read_row = row
        with c.loop(0, run.blocks) as number:
            base = c.add(c.mul(number, run.base_step), run.block.base)
            column = c.add(c.mul(number, run.column_step), run.block.columns[0])
            sums = [vectors.zero() for _ in run.block.columns]
            with c.loop(0, count) as t:
                r = c.add(read_row, c.mul(t, row_step))
                here = c.at(line, c.mul(c.add(c.mul(r, it.read[1]), base), channels))
                weights = c.at(kernel, c.mul(c.add(first, c.mul(t, tap_step)), kw * channels))
                places = sorted({read for reads in run.block.pattern for read in reads if read is not None})
                x = {place: vectors.load(c.at(here, place * channels), part) for place in places}
                for b, reads in enumerate(run.block.pattern):
                    if any(read is not None for read in reads):
                        w = vectors.load(c.at(weights, b * channels), part)
                        for s, read in zip(sums, reads, strict=True):
                            if read is not None:
                                vectors.add_product(x[read], w, s)
            target = c.at(made, c.mul(c.add(c.mul(i, it.made[1]), column), channels))
            for s, j in zip(sums, run.block.columns, strict=True):
                vectors.store(vectors.get(s), c.at(target, (j - run.block.columns[0]) * channels), part)

    with c.loop("%begin", "%end") as unit:
        n, tile = c.div(unit, tiles), c.rest(unit, tiles)
        low, high = (c.div(c.mul(t, it.made[0]), tiles) for t in (tile, c.add(tile, 1)))
        image, made = (
            c.at(p, c.mul(n, math.prod(size) * channels)) for p, size in (("%in", it.read), ("%out", it.made))
        )
        with c.loop(low, high) as i:
            row = tuple(c.load("i64", c.at(f"@{name}_{t}", i, "i64"), 8) for t in tables)
            for share in cut:
                with c.loop(0, share.repeats) as o:
                    offset = c.add(c.mul(o, lanes), share.first)
                    places = (c.at(p, offset) for p in (image, "%w", made))
                    line, kernel, target = places
                    for run in runs:
                        pixels(run, share.parts[0], line, kernel, target, row, i)
    c.emit("ret void")
    return "".join(table(f"{name}_{key}", values) for key, values in tables.items()) + c.function(
        f"void @{name}({BODY})"
    )


def depthwise_weights(geometry: Geometry, processor: Processor, *, tiles: int, name: str) -> str:
    """`void name(maps, cotangent, out, begin, end)`: the weight gradient's sum over a range of units."""
    (h, w), (oh, ow), (kh, kw) = geometry.size, geometry.out, geometry.window
    channels, stride = geometry.channels, geometry.stride
    lanes, cut, _ = shares(channels, kw, processor)
    places = [[geometry.read_at(1, j, tap) for j in range(ow)] for tap in range(kw)]
    reached = [[i for i in range(oh) if geometry.read_at(0, i, tap) is not None] for tap in range(kh)]
    tables = {"low": [r[0] if r else 0 for r in reached], "high": [r[-1] + 1 if r else 0 for r in reached]}
    c = Code()
    vectors = Vectors(c, lanes)

    def sums_over(share: Share, kernel: str, image: str, cotangent: str, rows: tuple) -> None:
        low, high, shift = rows
        keys = [(b, v) for b in range(kw) for v in range(len(share.parts))]
        address = {(b, v): c.at(kernel, b * channels + v * lanes) for b, v in keys}
        sums = {key: c.variable(vectors.kind) for key in keys}
        for b, v in keys:
            vectors.set(sums[b, v], vectors.load(address[b, v], share.parts[v]))
        with c.loop(low, high) as i:
            row = c.at(image, c.mul(c.mul(c.add(c.mul(i, stride[0]), shift), w), channels))
            row_out = c.at(cotangent, c.mul(c.mul(i, ow), channels))
            for begin, end in segments(places):
                read = {b: place for b in range(kw) if (place := places[b][begin]) is not None}
                with c.loop(begin, end) as j:
                    here_out = c.at(row_out, c.mul(j, channels))
                    here = c.at(row, c.mul(c.mul(c.sub(j, begin), stride[1]), channels))
                    for v, part in enumerate(share.parts):
                        dy = vectors.load(c.at(here_out, v * lanes), part)
                        for b, place in read.items():
                            x = vectors.load(c.at(here, place * channels + v * lanes), part)
                            vectors.add_product(x, dy, sums[b, v])
        for b, v in keys:
            vectors.store(vectors.get(sums[b, v]), address[b, v], share.parts[v])

    c.emit(f"call void @llvm.memset.p0.i64(ptr %out, i8 0, i64 {4 * math.prod(geometry.kernel)}, i1 false)")
    with c.loop("%begin", "%end") as unit, c.loop(0, kh) as a:
        n, tile = c.div(unit, tiles), c.rest(unit, tiles)
        top, bottom = (c.div(c.mul(t, oh), tiles) for t in (tile, c.add(tile, 1)))
        low = c.max(top, c.load("i64", c.at(f"@{name}_low", a, "i64"), 8))
        high = c.min(bottom, c.load("i64", c.at(f"@{name}_high", a, "i64"), 8))
        rows = (low, high, c.sub(c.mul(a, geometry.dilation[0]), geometry.padding[0][0]))
        for share in cut:
            with c.loop(0, share.repeats) as o:
                offset = c.add(c.mul(o, len(share.parts) * lanes), share.first)
                kernel = c.at("%out", c.add(c.mul(a, kw * channels), offset))
                image = c.at("%in", c.add(c.mul(n, h * w * channels), offset))
                cotangent = c.at("%w", c.add(c.mul(n, oh * ow * channels), offset))
                sums_over(share, kernel, image, cotangent, rows)
    c.emit("ret void")
    return "".join(table(f"{name}_{key}", values) for key, values in tables.items()) + c.function(
        f"void @{name}({BODY})"
    )
