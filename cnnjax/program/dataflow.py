"""A traced program and all that it calls as one list of steps, and which of them an array needs."""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, JaxprEqn

from cnnjax.program.calls import CALLS
from cnnjax.program.copies import converts, is_copy
from cnnjax.program.multiply_adds import Work, work
from cnnjax.program.walk import Program, called, walk


class _Step(NamedTuple):
    work: Work
    reads: list[int]
    makes: list[int]
    copies: bool
    """Whether the result is a copy of what the step reads."""
    converts: bool
    """Whether it has another dtype."""


class Dataflow:
    """Which arrays of a program are made of which, through its calls; arrays go by numbers."""

    def __init__(self, program: ClosedJaxpr):
        self.constants: dict[int, Any] = {}
        """What the program and those inside it close over."""
        self._known: dict[int, int] = {}
        self._steps: list[_Step] = []
        self._made_by: dict[int, int] = {}
        self._readers: dict[int, list[_Step]] = collections.defaultdict(list)
        self._claimed: set[int] = set()
        self._count = 0
        self.inputs = [self._new() for _ in program.jaxpr.invars]
        self.results = self._inline(program, self.inputs)

    def position(self, array: int) -> tuple[int, bool, int]:
        """Where an array stands in the order of computation: a copy right behind what it is a copy of, whenever it is
        made, and one of another dtype behind the others; what no step makes stands before all steps.
        """
        source, converted = array, False
        while (step := self._maker(source)) is not None and step.copies:
            converted |= step.converts
            (source,) = step.reads
        return self._made_by.get(source, -1), converted, self._made_by.get(array, -1)

    def source(self, array: int) -> int:
        """What an array is a copy of; the array itself where it is none."""
        while (step := self._maker(array)) is not None and step.copies:
            (array,) = step.reads
        return array

    def first_read(self, array: int) -> int:
        """The position of the first step that reads an array or a copy of it; after all steps where none does."""
        # Parameters may be converted to another dtype, all of them, before the first is used.
        positions = [
            self.first_read(step.makes[0]) if step.copies else self._made_by[step.makes[0]]
            for step in self._readers[array]
            if step.makes
        ]
        return min(positions, default=len(self._steps))

    def claim(self, array: int) -> tuple[Work, list[int]]:
        """The work behind an array, and the inputs and constants it reads, without what was claimed before."""
        total, read, pending = Work(), [], [array]
        while pending:
            array = pending.pop()
            if array in self._claimed:
                continue
            step = self._maker(array)
            if step is not None:
                self._claimed.update(step.makes)
                total += step.work
                pending += step.reads
            else:
                self._claimed.add(array)
                read.append(array)
        return total, read

    def _inline(self, program: Program, arguments: Sequence[int]) -> list[int]:
        """Append the steps of a program; its results."""
        return walk(program, arguments, self._results, constant=self._constant, literal=lambda _: self._new())

    def _results(self, position: int, eqn: JaxprEqn, reads: list[int]) -> list[int]:
        if eqn.primitive.name in CALLS:
            return self._inline(called(eqn), reads)
        makes = [self._new() for _ in eqn.outvars]
        self._made_by |= dict.fromkeys(makes, len(self._steps))
        step = _Step(work(eqn), reads, makes, is_copy(eqn), converts(eqn))
        for array in reads:
            self._readers[array].append(step)
        self._steps.append(step)
        return makes

    def _maker(self, array: int) -> _Step | None:
        return self._steps[self._made_by[array]] if array in self._made_by else None

    def _constant(self, constant: Any) -> int:
        if id(constant) not in self._known:
            self._known[id(constant)] = array = self._new()
            self.constants[array] = constant
        return self._known[id(constant)]

    def _new(self) -> int:
        self._count += 1
        return self._count
