"""A traced program and all that it calls as one list of steps, and which of them an array needs."""

from jax.extend.core import ClosedJaxpr

from cnnjax.program.calls import CALLS
from cnnjax.program.copies import converts, is_copy
from cnnjax.program.equations import Equation, Equations
from cnnjax.program.multiply_adds import Work, work


class Dataflow:
    """Which arrays of a program are made of which, through its calls; arrays go by numbers.

    A step is an equation that is no call: a loop or a branch is one, whatever the programs inside do.
    """

    def __init__(self, program: ClosedJaxpr):
        self.graph = Equations(program, whole=lambda eqn: eqn.primitive.name not in CALLS)
        self.inputs, self.results = self.graph.inputs, self.graph.results
        self.constants = self.graph.closed_over
        """What the program and those inside it close over."""
        self._claimed: set[int] = set()

    def position(self, array: int) -> tuple[int, bool, int]:
        """Where an array stands in the order of computation: a copy right behind what it is a copy of, whenever it is
        made, and one of another dtype behind the others; what no step makes stands before all steps.
        """
        source, converted = array, False
        while (step := self._copying(source)) is not None:
            converted |= converts(step.eqn)
            (source,) = step.reads
        return self._made_at(source), converted, self._made_at(array)

    def source(self, array: int) -> int:
        """What an array is a copy of; the array itself where it is none."""
        while (step := self._copying(array)) is not None:
            (array,) = step.reads
        return array

    def first_read(self, array: int) -> int:
        """The position of the first step that reads an array or a copy of it; after all steps where none does."""
        # Parameters may be converted to another dtype, all of them, before the first is used.
        positions = [
            self.first_read(step.makes[0]) if is_copy(step.eqn) else self._made_at(step.makes[0])
            for step in self.graph.read_by.get(array, [])
            if step.makes
        ]
        return min(positions, default=len(self.graph.list))

    def claim(self, array: int) -> tuple[Work, list[int]]:
        """The work behind an array, and the inputs and constants it reads, without what was claimed before."""
        total, read, pending = Work(), [], [array]
        while pending:
            array = pending.pop()
            if array in self._claimed:
                continue
            step = self.graph.made_by.get(array)
            if step is not None:
                self._claimed.update(step.makes)
                total += work(step.eqn)
                pending += step.reads
            else:
                self._claimed.add(array)
                read.append(array)
        return total, read

    def _made_at(self, array: int) -> int:
        return self.graph.position.get(array, -1)

    def _copying(self, array: int) -> Equation | None:
        """The step that makes an array as a copy of another, if one does."""
        step = self.graph.made_by.get(array)
        return step if step is not None and is_copy(step.eqn) else None
