"""Walking through a traced program: its equations in order, and a value of any kind for each of its arrays."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

Program = Jaxpr | ClosedJaxpr
T = TypeVar("T")


def walk(
    program: Program,
    operands: Iterable[T],
    step: Callable[[int, JaxprEqn, list[T]], Iterable[T]],
    *,
    constant: Callable[[Any], T],
    literal: Callable[[Any], T] | None = None,
    written: Callable[[Var, T], T] = lambda _, value: value,
) -> list[T]:
    """The values of a program's results, given those of its operands.

    `step` makes the values of an equation's results of its position, itself and the values of what it reads.
    `constant` makes the value of an array that the program closes over, and of a number written in it unless there is
    a `literal` for that. `written` is called once for each variable, in the order of computation, with its value, and
    returns the value that is read. A value is forgotten when nothing reads it any more.
    """
    jaxpr, constants = opened(program)
    literal = literal or constant
    env: dict[Var, T] = {}

    def write(variables: Sequence[Any], values: Iterable[T]) -> None:
        env.update((v, written(v, value)) for v, value in zip(variables, values, strict=True))

    def read(atom: Var | Literal) -> T:
        return literal(atom.val) if isinstance(atom, Literal) else env[atom]

    last_use: dict[Var, int] = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if isinstance(v, Var)}
    last_use |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, Var)}
    write(jaxpr.constvars, map(constant, constants))
    write(jaxpr.invars, operands)
    for position, eqn in enumerate(jaxpr.eqns):
        write(eqn.outvars, step(position, eqn, [read(atom) for atom in eqn.invars]))
        for v in (*eqn.invars, *eqn.outvars):
            if isinstance(v, Var) and last_use.get(v, position) <= position:
                env.pop(v, None)
    return [read(atom) for atom in jaxpr.outvars]


def opened(program: Program) -> tuple[Jaxpr, Sequence[Any]]:
    """A program and the constants that it closes over."""
    return (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())


def equations(program: Program) -> list[JaxprEqn]:
    """The equations of a program, in order."""
    return opened(program)[0].eqns


def programs(eqn: JaxprEqn) -> list[Program]:
    """The programs that an equation runs."""
    found = (value if isinstance(value, tuple) else (value,) for value in eqn.params.values())
    return [program for values in found for program in values if isinstance(program, Program)]


def called(eqn: JaxprEqn) -> Program:
    """The program of an equation that is one of `calls.CALLS`."""
    (program,) = programs(eqn)
    return program
