"""Every equation of a traced program and of the programs inside it, in one graph: who makes and who reads an array."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn

from cnnjax.program.calls import CALLS
from cnnjax.program.walk import Program, called, opened, programs, walk

Place = tuple[int, ...]
"""Where an equation stands: its position in its program, after position and number of each program that holds it."""

LOOPS = ("scan", "while")


class Equation(NamedTuple):
    """An equation, or the entry to the body of a loop ("enter") or the way out of one ("leave")."""

    kind: str
    eqn: JaxprEqn
    place: Place
    within: tuple[JaxprEqn, ...]
    """The equations whose programs it stands in, the outermost first."""
    reads: list[int]
    makes: list[int]


class Equations:
    """The equations of a program in the order of computation, through calls, branches and the bodies of loops.

    Arrays go by numbers. What a call or a branch hands on keeps its number; the arrays in the body of a loop have
    numbers of their own, whichever round they belong to. Equations for which `whole` holds are not looked into.
    """

    def __init__(self, program: Program, *, whole: Callable[[JaxprEqn], bool]):
        self.list: list[Equation] = []
        self.constants: dict[int, Any] = {}
        """The value of each array and of each number that is written in the program."""
        self.closed_over: dict[int, Any] = {}
        """Those of the arrays, each once."""
        self.made_by: dict[int, Equation] = {}
        self.read_by: dict[int, list[Equation]] = {}
        self.position: dict[int, int] = {}
        """Of the equation that makes an array, in the list."""
        self._whole = whole
        self._numbers: dict[int, int] = {}
        self._count = 0
        self.inputs = [self._new() for _ in opened(program)[0].invars]
        self.results = self._expand(program, self.inputs, (), ())
        self.dependent = self._reached(self.inputs)
        """The arrays that the program's operands have a part in."""

    def _expand(
        self, program: Program, arguments: Sequence[int], place: Place, within: tuple[JaxprEqn, ...]
    ) -> list[int]:
        def step(position: int, eqn: JaxprEqn, reads: list[int]) -> list[int]:
            return self._results(eqn, reads, (*place, position), within)

        return walk(program, arguments, step, constant=self._array, literal=self._constant)

    def _results(self, eqn: JaxprEqn, reads: list[int], place: Place, within: tuple[JaxprEqn, ...]) -> list[int]:
        kind = eqn.primitive.name

        def add(kind: str, reads: list[int], count: int) -> list[int]:
            equation = Equation(kind, eqn, place, within, reads, [self._new() for _ in range(count)])
            self._add(equation)
            return equation.makes

        def expand(number: int, program: Program, arguments: list[int]) -> list[int]:
            return self._expand(program, arguments, (*place, number), (*within, eqn))

        if kind not in (*CALLS, *LOOPS, "cond") or self._whole(eqn):
            return add(kind, reads, len(eqn.outvars))
        if kind in CALLS:
            return expand(0, called(eqn), reads)
        if kind == "cond":
            branches = [expand(number, branch, reads[1:]) for number, branch in enumerate(programs(eqn))]
            return [add("leave", [*choices, reads[0]], 1)[0] for choices in zip(*branches, strict=True)]
        made: list[int] = []
        for number, body in enumerate(programs(eqn)):
            made += expand(number, body, add("enter", reads, len(opened(body)[0].invars)))
        return add("leave", made, len(eqn.outvars))

    def _add(self, equation: Equation) -> None:
        for array in equation.makes:
            self.made_by[array], self.position[array] = equation, len(self.list)
        for array in dict.fromkeys(equation.reads):
            self.read_by.setdefault(array, []).append(equation)
        self.list.append(equation)

    def _array(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = array = self._constant(value)
            self.closed_over[array] = value
        return self._numbers[id(value)]

    def _constant(self, value: Any) -> int:
        array = self._new()
        self.constants[array] = value
        return array

    def _reached(self, arrays: Sequence[int]) -> set[int]:
        reached = set(arrays)
        for equation in self.list:
            if not reached.isdisjoint(equation.reads):
                reached.update(equation.makes)
        return reached

    def _new(self) -> int:
        self._count += 1
        return self._count
