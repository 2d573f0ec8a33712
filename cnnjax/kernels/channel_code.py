"""Sums over all positions of a map, for each channel, as LLVM IR: what batch normalisation and its gradient reduce.

Positions are added up in tiles, tiles in chunks and chunks in one sum. What rounding loses where tiles and chunks are
added is kept in a second number (Knuth's two-sum), so the result is as good as that of a tile.
"""

from collections.abc import Iterator
from typing import Literal

from cnnjax.kernels.code import Code, Number
from cnnjax.kernels.vectors import Processor, Share, Vectors

Which = Literal["sums", "moments"]
"""Σ a and Σ a (b − centre); or mean and variance of x."""

ROWS = 4
"""Of a chunk's result: two sums, each with what rounding lost of it. Those of "moments" are of x − pivot, the first
position of the map, and of its squared deviations from the chunk's mean."""

_MOST_POSITIONS, _NEAR = 256, 6 * 1024  # in a tile: positions, and numbers that stay in the processor's first cache


def channel_code(which: Which, channels: int, processor: Processor, *, name: str) -> str:
    """`void name(a, b, out, centre, begin, end)` or `void name(x, x, out, begin, end)`: a chunk, of some positions.

    And `void name_finish(first operand, chunks, out, number of chunks, positions)`. Maps are (positions, channels), the
    centre (channels,), the result of a chunk (ROWS, channels) and the whole (2, channels).
    """
    c, size = Code(), tile(channels)
    it = _Channels(c, channels, processor)
    add = it.add_sums if which == "sums" else it.add_moments
    c.emit(f"call void @llvm.memset.p0.i64(ptr %out, i8 0, i64 {4 * ROWS * channels}, i1 false)")
    with c.loop("%begin", "%end", size) as first:
        last = c.min(c.add(first, size), "%end")
        for share, channel in it.channels_at_once():
            add(share, channel, first, last)
    c.emit("ret void")
    third = "ptr noalias %centre, " if which == "sums" else ""
    body = c.function(f"void @{name}(ptr %in, ptr %w, ptr noalias %out, {third}i64 %begin, i64 %end)")
    c = Code()
    it = _Channels(c, channels, processor)
    for share, channel in it.channels_at_once():
        for place, part in it.places(channel, share):
            (it.finish_sums if which == "sums" else it.finish_moments)(place, part)
    c.emit("ret void")
    return body + c.function(f"void @{name}_finish(ptr %in, ptr %chunks, ptr %out, i64 %parts, i64 %positions)")


def tile(channels: int) -> int:
    """Positions that are added up before their sum is added to others."""
    return max(16, min(_MOST_POSITIONS, _NEAR // channels))


class _Channels:
    """The instructions for so many channels."""

    def __init__(self, code: Code, channels: int, processor: Processor):
        self.code, self.channels, self.lanes = code, channels, processor.lanes_for(channels)
        self.vectors = Vectors(code, self.lanes)
        self.kind = self.vectors.kind
        self.most = processor.registers // 4  # sums of one kind at once
        whole, rest = divmod(channels, self.lanes)
        wide = next(v for v in (4, 3, 2, 1) if 2 * v <= self.most and whole % v == 0)
        self.shares = [Share(0, whole // wide, (self.lanes,) * wide)] if whole else []
        if rest:
            self.shares.append(Share(whole * self.lanes, 1, (rest,)))

    def channels_at_once(self) -> Iterator[tuple[Share, Number]]:
        """Code for all channels: each share, and the first channel of it."""
        for share in self.shares:
            with self.code.loop(0, share.repeats) as number:
                yield share, self.code.add(self.code.mul(number, len(share.parts) * self.lanes), share.first)

    def places(self, index: Number, share: Share) -> list[tuple[Number, int]]:
        """Where each vector of a share begins, and how many channels it holds."""
        return [(self.code.add(index, self.lanes * v), part) for v, part in enumerate(share.parts)]

    def add_sums(self, share: Share, channel: Number, first: Number, last: Number) -> None:
        """Add what the positions of a tile bring to the sums of some channels."""
        centres = self._row("%centre", channel, share)
        plain, products = self._zeros(share), self._zeros(share)
        for way, here in self._positions(share, channel, first, last):
            rows = (self._row(operand, here, share) for operand in ("%in", "%w"))
            for v, (a, b, centre) in enumerate(zip(*rows, centres, strict=True)):
                self._increase(plain[way][v], a)
                self.vectors.add_product(a, self._op("fsub", b, centre), products[way][v])
        for (place, part), *sums in zip(
            self.places(channel, share), self._folded(plain), self._folded(products), strict=True
        ):
            self._add(place, part, sums)

    def finish_sums(self, place: Number, part: int) -> None:
        """The sums of all chunks."""
        totals = self._over_chunks(place, part)
        for row, (total, lost) in enumerate(totals):
            self._store("%out", place, row, self._op("fadd", total, lost), part)

    def add_moments(self, share: Share, channel: Number, first: Number, last: Number) -> None:
        """The same of a tile's deviations, and of how far its mean is from that of the tiles before (Chan 1979)."""
        count, before = (self._number(self.code.sub(b, a)) for a, b in ((first, last), ("%begin", first)))
        weight = self._op("fdiv", self._op("fmul", before, count), self._op("fadd", before, count))
        is_first = self.code.op(f"icmp eq i64 {first}, %begin")
        pivots = [self._pivot(place, part) for place, part in self.places(channel, share)]
        plain, squares = self._zeros(share), self._zeros(share)
        for way, here in self._positions(share, channel, first, last):
            for v, (x, pivot) in enumerate(zip(self._row("%in", here, share), pivots, strict=True)):
                self._increase(plain[way][v], self._op("fsub", x, pivot))
        sums = self._folded(plain)
        means = [self._op("fdiv", total, count) for total in sums]
        for way, here in self._positions(share, channel, first, last):
            for v, (x, pivot, mean) in enumerate(zip(self._row("%in", here, share), pivots, means, strict=True)):
                away = self._op("fsub", self._op("fsub", x, pivot), mean)
                self.vectors.add_product(away, away, squares[way][v])
        for (place, part), total, mean, square in zip(
            self.places(channel, share), sums, means, self._folded(squares), strict=True
        ):
            away = self._op("fsub", mean, self._op("fdiv", self._load("%out", place, 0, part), before))
            away = self.code.op(f"select i1 {is_first}, {self.kind} zeroinitializer, {self.kind} {away}")
            between = self._op("fmul", self._op("fmul", away, away), weight)
            self._add(place, part, [total, self._op("fadd", square, between)])

    def finish_moments(self, place: Number, part: int) -> None:
        """Mean and variance: that within chunks and that between them."""
        c, positions = self.code, self._number("%positions")
        (total, lost), (squares, of_squares) = self._over_chunks(place, part)
        mean = self._op("fdiv", self._op("fadd", total, lost), positions)
        between = self.vectors.zero()
        with c.loop(0, "%parts") as k:
            begin, end = (c.div(c.mul(n, "%positions"), "%parts") for n in (k, c.add(k, 1)))
            count, at = self._number(c.sub(end, begin)), c.at("%chunks", c.mul(k, ROWS * self.channels))
            own = self._op("fdiv", self._load(at, place, 0, part), count)
            away = self._op("fsub", own, mean)
            self.vectors.add_product(self._op("fmul", away, count), away, between)
        squares = self._op("fadd", squares, self._op("fadd", of_squares, self.vectors.get(between)))
        self._store("%out", place, 0, self._op("fadd", self._pivot(place, part), mean), part)
        self._store("%out", place, 1, self._op("fdiv", squares, positions), part)

    def _pivot(self, place: Number, part: int) -> str:
        """The first position of the map, or 0 where that is not finite: what large means are told apart by."""
        value = self._load("%in", place, 0, part)
        finite = self.code.op(f"fcmp oeq {self.kind} {self._op('fsub', value, value)}, zeroinitializer")
        return self.code.op(f"select <{self.lanes} x i1> {finite}, {self.kind} {value}, {self.kind} zeroinitializer")

    def _positions(self, share: Share, channel: Number, first: Number, last: Number) -> Iterator[tuple[int, Number]]:
        """Where positions from first to last begin, and which of several sums each goes to, so that none waits."""
        c, ways = self.code, self._ways(share)
        whole = c.add(first, c.mul(c.div(c.sub(last, first), ways), ways))
        with c.loop(first, whole, ways) as position:
            for way in range(ways):
                yield way, c.add(c.mul(c.add(position, way), self.channels), channel)
        with c.loop(whole, last) as position:
            yield 0, c.add(c.mul(position, self.channels), channel)

    def _ways(self, share: Share) -> int:
        return self.most // len(share.parts)

    def _zeros(self, share: Share) -> list[list[str]]:
        return [[self.vectors.zero() for _ in share.parts] for _ in range(self._ways(share))]

    def _folded(self, held: list[list[str]]) -> list[str]:
        """The sums of each vector of channels."""
        made = []
        for ways in zip(*held, strict=True):
            parts = [self.vectors.get(way) for way in ways]
            while len(parts) > 1:
                pairs = zip(parts[::2], parts[1::2], strict=False)
                parts = [*(self._op("fadd", *pair) for pair in pairs), *parts[len(parts) // 2 * 2 :]]
            made += parts
        return made

    def _add(self, place: Number, part: int, values: list[str]) -> None:
        """Add to a chunk's two sums."""
        for number, value in enumerate(values):
            old, lost = (self._load("%out", place, 2 * number + k, part) for k in (0, 1))
            total, rounded = self._two_sum(old, value)
            self._store("%out", place, 2 * number, total, part)
            self._store("%out", place, 2 * number + 1, self._op("fadd", lost, rounded), part)

    def _over_chunks(self, place: Number, part: int) -> list[tuple[str, str]]:
        """The two sums of all chunks, each with what rounding lost of it."""
        c, held = self.code, [self.vectors.zero() for _ in range(ROWS)]
        with c.loop(0, "%parts") as k:
            at = c.at("%chunks", c.mul(k, ROWS * self.channels))
            for number in (0, 2):
                value, more = (self._load(at, place, number + row, part) for row in (0, 1))
                total, rounded = self._two_sum(self.vectors.get(held[number]), value)
                self.vectors.set(held[number], total)
                self._increase(held[number + 1], self._op("fadd", rounded, more))
        values = [self.vectors.get(variable) for variable in held]
        return [(values[0], values[1]), (values[2], values[3])]

    def _two_sum(self, a: str, b: str) -> tuple[str, str]:
        """A + b, and what rounding lost of it; nothing where the sum is not finite."""
        total = self._op("fadd", a, b)
        of_b = self._op("fsub", total, a)
        of_a = self._op("fsub", total, of_b)
        lost = self._op("fadd", self._op("fsub", a, of_a), self._op("fsub", b, of_b))
        ordered = self.code.op(f"fcmp ord {self.kind} {lost}, {lost}")
        return total, self.code.op(
            f"select <{self.lanes} x i1> {ordered}, {self.kind} {lost}, {self.kind} zeroinitializer"
        )

    def _row(self, pointer: str, index: Number, share: Share) -> list[str]:
        """Consecutive channels from an index on."""
        return [self._load(pointer, place, 0, part) for place, part in self.places(index, share)]

    def _load(self, pointer: str, place: Number, row: int, part: int) -> str:
        return self.vectors.load(self.code.at(pointer, self.code.add(place, row * self.channels)), part)

    def _store(self, pointer: str, place: Number, row: int, value: str, part: int) -> None:
        self.vectors.store(value, self.code.at(pointer, self.code.add(place, row * self.channels)), part)

    def _number(self, number: Number) -> str:
        """A count in every lane."""
        return self.vectors.splat(self.code.op(f"uitofp i64 {number} to float"))

    def _increase(self, variable: str, value: str) -> None:
        self.vectors.set(variable, self._op("fadd", self.vectors.get(variable), value))

    def _op(self, name: str, a: str, b: str) -> str:
        return self.code.op(f"{name} {self.kind} {a}, {b}")
