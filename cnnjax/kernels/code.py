"""A few words of LLVM IR as text: values by name, counted loops, and variables that LLVM keeps in registers."""

import contextlib
from collections.abc import Iterator

Number = str | int
"""An i64: the name of a value, or a constant."""


class Code:
    """The body of one function under construction. Constants fold, so that what is generated stays readable."""

    def __init__(self) -> None:
        self._allocations: list[str] = []
        self._lines: list[str] = []
        self._block = "entry"
        self._count = 0

    def fresh(self, prefix: str) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{prefix}{self._count}"

    def emit(self, text: str) -> None:
        """Append an instruction that has no value."""
        self._lines.append(f"  {text}")

    def op(self, text: str) -> str:
        """The value of an instruction."""
        name = "%" + self.fresh("v")
        self.emit(f"{name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Begin a block."""
        self._lines.append(f"{name}:")
        self._block = name

    def variable(self, kind: str) -> str:
        """A place for a value that changes."""
        name = "%" + self.fresh("var")
        self._allocations.append(f"  {name} = alloca {kind}")
        return name

    def add(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0:
            return b
        return a if b == 0 else self.op(f"add i64 {a}, {b}")

    def sub(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.op(f"sub i64 {a}, {b}")

    def mul(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if 0 in (a, b):
            return 0
        if a == 1:
            return b
        return a if b == 1 else self.op(f"mul i64 {a}, {b}")

    def div(self, a: Number, b: Number) -> Number:
        """Of numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        return a if b == 1 else self.op(f"udiv i64 {a}, {b}")

    def rest(self, a: Number, b: Number) -> Number:
        """What `div` leaves."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        return 0 if b == 1 else self.op(f"urem i64 {a}, {b}")

    def min(self, a: Number, b: Number) -> str:
        return self.op(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    def max(self, a: Number, b: Number) -> str:
        return self.op(f"call i64 @llvm.smax.i64(i64 {a}, i64 {b})")

    def at(self, pointer: str, index: Number, kind: str = "float") -> str:
        """The address of `pointer[index]`."""
        return pointer if index == 0 else self.op(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {index}")

    def load(self, kind: str, pointer: str, align: int = 4) -> str:
        return self.op(f"load {kind}, ptr {pointer}, align {align}")

    def store(self, kind: str, value: Number, pointer: str, align: int = 4) -> None:
        self.emit(f"store {kind} {value}, ptr {pointer}, align {align}")

    @contextlib.contextmanager
    def loop(self, begin: Number, end: Number, step: int = 1) -> Iterator[Number]:
        """`for i in range(begin, end, step)`; nothing but the body where there is one round."""
        if isinstance(begin, int) and isinstance(end, int) and begin < end <= begin + step:
            yield begin
            return
        head, body, leave = (self.fresh(part) for part in ("head", "body", "exit"))
        index, after = "%" + self.fresh("i"), "%" + self.fresh("n")
        before = self._block
        self.emit(f"br label %{head}")
        self.label(head)
        place = len(self._lines)
        self._lines.append("")  # the phi, once the last block of the body is known
        more = self.op(f"icmp slt i64 {index}, {end}")
        self.emit(f"br i1 {more}, label %{body}, label %{leave}")
        self.label(body)
        yield index
        self.emit(f"{after} = add nsw i64 {index}, {step}")
        self._lines[place] = f"  {index} = phi i64 [{begin}, %{before}], [{after}, %{self._block}]"
        self.emit(f"br label %{head}")
        self.label(leave)

    @contextlib.contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """`if condition:`."""
        inside, after = self.fresh("then"), self.fresh("after")
        self.emit(f"br i1 {condition}, label %{inside}, label %{after}")
        self.label(inside)
        yield
        self.emit(f"br label %{after}")
        self.label(after)

    def function(self, signature: str) -> str:
        """The text of the function, whose body has to end with its return."""
        return "\n".join([f"define {signature} #0 {{", "entry:", *self._allocations, *self._lines, "}", ""])


def table(name: str, values: list[int]) -> str:
    """The text of a constant array."""
    return f"@{name} = private constant [{len(values)} x i64] [{', '.join(f'i64 {v}' for v in values)}]\n"
