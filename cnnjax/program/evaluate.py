"""Running a traced program equation by equation, some of them in another way."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var, jaxpr_as_fun

from cnnjax.program.walk import Program, opened, walk

Run = Callable[[Sequence[Any]], Sequence[Any]]
"""What makes the results of an equation of its operands."""


def evaluate(
    program: Program,
    operands: Iterable[Any],
    *,
    instead: Mapping[int, Run],
    edit: Callable[[Var, Any], Any] = lambda _, value: value,
) -> list[Any]:
    """The results of a program whose equations at some positions are run by others `instead`.

    `edit` makes of every array what is read in its place; it is called once for each variable, in the order of
    computation.
    """
    jaxpr, _ = opened(program)

    def step(position: int, eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
        return instead[position](values) if position in instead else run(jaxpr, eqn, values)

    return walk(program, operands, step, constant=lambda value: value, written=edit)


def run(jaxpr: Jaxpr, eqn: JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    """The results of one equation of a program."""
    operands = {atom: value for atom, value in zip(eqn.invars, values, strict=True) if isinstance(atom, Var)}
    # A program of this equation only: how a primitive is called with its parameters is JAX's own business.
    alone = jaxpr.replace(constvars=[], invars=list(operands), outvars=eqn.outvars, eqns=[eqn])
    return jaxpr_as_fun(ClosedJaxpr(alone, ()))(*operands.values())
