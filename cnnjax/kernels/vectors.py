"""Vectors of float32 in LLVM IR: channels cut into vectors, whole or in part, and products added up."""

import dataclasses
import math
from typing import NamedTuple

from cnnjax.kernels.code import Code


class UnfitProcessorError(Exception):
    """No kernels are written for this processor."""


@dataclasses.dataclass(frozen=True)
class Processor:
    """What the generators have to know of a processor."""

    lanes: int
    """float32 values in a vector."""
    registers: int
    cache: int = 24 * 1024
    """Bytes of maps that weight gradients keep near."""

    def lanes_for(self, channels: int) -> int:
        """The shortest vector, of at least four, that holds so many channels, or the longest there is."""
        return min(self.lanes, max(4, 1 << (channels - 1).bit_length()))


class Share(NamedTuple):
    """Consecutive channels that one pass of a loop computes, `repeats` times one after the other."""

    first: int
    repeats: int
    parts: tuple[int, ...]
    """How many channels each vector holds."""

    def width(self, lanes: int) -> int:
        """Numbers in its vectors."""
        return len(self.parts) * lanes


def shares(channels: int, items: int, processor: Processor) -> tuple[int, list[Share], int]:
    """Lanes, how channels are shared out to vectors, and how many of `items` broadcast values to meet at once."""
    lanes = processor.lanes_for(channels)
    whole, rest = divmod(channels, lanes)
    if whole + (rest > 0) <= 4 and rest:
        vectors, most = whole + 1, (processor.registers - (whole + 1) - (whole > 0) - 1) // (whole + 1)
        return lanes, [Share(0, 1, (*(lanes,) * whole, rest))], most
    vectors, most = _registers(whole, items, processor.registers)
    found = [Share(0, whole // vectors, (lanes,) * vectors)]
    if rest:
        found.append(Share(whole * lanes, 1, (rest,)))
    return lanes, found, most


def _registers(vectors: int, items: int, registers: int) -> tuple[int, int]:
    """How many vectors of channels, and how many broadcast values at most, to hold sums of at once."""
    choices = []
    for v in (v for v in range(1, min(vectors, 4) + 1) if vectors % v == 0):
        most = (registers - v - (v > 1) - 1) // v
        held = math.ceil(items / math.ceil(items / most))
        loads = (v + held) / (held * v)  # for each product
        waits = max(0.0, 1 - held * v / 8)  # few sums wait for each other
        choices.append((loads + waits, v, most))
    return min(choices)[1:]


class Vectors:
    """The instructions of vectors of so many lanes."""

    def __init__(self, code: Code, lanes: int):
        self.code, self.lanes = code, lanes
        self.kind = f"<{lanes} x float>"

    def zero(self) -> str:
        """A variable that holds zeros."""
        held = self.code.variable(self.kind)
        self.set(held, "zeroinitializer")
        return held

    def get(self, variable: str) -> str:
        return self.code.load(self.kind, variable, 4 * self.lanes)

    def set(self, variable: str, value: str) -> None:
        self.code.store(self.kind, value, variable, 4 * self.lanes)

    def load(self, pointer: str, part: int) -> str:
        """`part` values from memory, and zeros behind them; nothing behind them is read."""
        if part == self.lanes:
            return self.code.load(self.kind, pointer)
        held, done = "zeroinitializer", 0
        for piece in _powers(part):
            value = self._load_piece(self.code.at(pointer, done), piece)
            order = [self.lanes + i - done if done <= i < done + piece else i for i in range(self.lanes)]
            held, done = self._shuffle(self.lanes, held, self._widened(value, piece), order), done + piece
        return held

    def store(self, value: str, pointer: str, part: int) -> None:
        """The first `part` values to memory; nothing behind them is written."""
        if part == self.lanes:
            self.code.store(self.kind, value, pointer)
            return
        done = 0
        for piece in _powers(part):
            cut = self._shuffle(self.lanes, value, "poison", [done + i for i in range(piece)])
            self.code.store(f"<{piece} x float>", cut, self.code.at(pointer, done))
            done += piece

    def splat(self, value: str) -> str:
        """A float32 in every lane."""
        one = self.code.op(f"insertelement {self.kind} poison, float {value}, i64 0")
        return self._shuffle(self.lanes, one, "poison", [0] * self.lanes)

    def add(self, x: str, y: str) -> str:
        return self.code.op(f"fadd {self.kind} {x}, {y}")

    def sub(self, x: str, y: str) -> str:
        return self.code.op(f"fsub {self.kind} {x}, {y}")

    def mul(self, x: str, y: str) -> str:
        return self.code.op(f"fmul {self.kind} {x}, {y}")

    def add_product(self, x: str, y: str, variable: str) -> None:
        """`variable += x · y`, rounded once."""
        call = f"call {self.kind} @llvm.fma.v{self.lanes}f32({self.kind} {x}, {self.kind} {y}, {self.kind} "
        self.set(variable, self.code.op(f"{call}{self.get(variable)})"))

    def _load_piece(self, pointer: str, piece: int) -> str:
        return self.code.load(f"<{piece} x float>", pointer)

    def _widened(self, value: str, piece: int) -> str:
        order = [i if i < piece else None for i in range(self.lanes)]
        return self._shuffle(piece, value, "poison", order)

    def _shuffle(self, lanes: int, a: str, b: str, order: list[int] | list[int | None]) -> str:
        mask = ", ".join("i32 poison" if i is None else f"i32 {i}" for i in order)
        kind = f"<{lanes} x float>"
        return self.code.op(f"shufflevector {kind} {a}, {kind} {b}, <{len(order)} x i32> <{mask}>")


def _powers(count: int) -> list[int]:
    """Powers of two that add up to a number, the largest first."""
    return [1 << bit for bit in range(count.bit_length() - 1, -1, -1) if count >> bit & 1]
