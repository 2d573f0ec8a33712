"""An array of a traced program, and what is to be said of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from cnnjax.program.reach.known import Known
from cnnjax.program.reach.merge import contains, union
from cnnjax.program.reach.reach import Reach


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """An array of the program."""

    known: Known
    reaches: tuple[Reach, ...] = ()
    """One for each image axis, the batch axis first; none at all for what does not depend on the images."""
    unfollowed: frozenset[str] = frozenset()
    """Names of the primitives on the way that were bounded and not followed."""
    selected: bool = False
    """Whether other pixels than those read decide which are."""

    @staticmethod
    def images(shape: Sequence[int], dtype: Any) -> "Value":
        """The images themselves."""
        reaches = tuple(Reach.identity(shape, axis) for axis in range(len(shape) - 1))
        return Value(Known(tuple(shape), dtype, frozenset()), reaches)

    @staticmethod
    def constant(array: Any) -> "Value":
        """An array that does not depend on the images."""
        return Value(Known.constant(array))

    def map(self, change: Callable[[Reach], Reach], known: Known) -> "Value":
        """The value whose reaches are changed."""
        return dataclasses.replace(self, known=known, reaches=tuple(map(change, self.reaches)))


def flagged(result: Value, operands: Sequence[Value], selecting: Sequence[Value]) -> Value:
    """The value with what is to be said of its operands, and of a selection among them."""
    deciding = [value.reaches[1:] for value in selecting if value.reaches and result.reaches]
    foreign = any(not contains(*pair) for d in deciding for pair in zip(result.reaches[1:], d, strict=True))
    return dataclasses.replace(
        result,
        unfollowed=frozenset().union(*(value.unfollowed for value in operands)),
        selected=foreign or any(value.selected for value in operands),
    )


def join(values: Sequence[Value]) -> Value:
    """What may be any of these values."""
    reading = [value for value in values if value.reaches]
    first = values[0].known
    if len(values) > 1:
        first = Known(first.shape, first.dtype, first.origins)
    if not reading:
        return Value(first)
    reaches = tuple(union(of_axis) for of_axis in zip(*(value.reaches for value in reading), strict=True))
    return flagged(Value(first, reaches), reading, ())
