"""Backward rules at rectifiers: the gradient, the deconvnet, guided backpropagation."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jaxtyping import Array

from cnnjax.analysis.attribution.backward.rectifiers import Rectifiers, located
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.calls import CALLS
from cnnjax.program.equations import Place
from cnnjax.program.evaluate import Run, evaluate, run
from cnnjax.program.order import filled
from cnnjax.program.tracing import program_of
from cnnjax.program.walk import Program, called, opened, programs

Rule = Literal["gradient", "deconvnet", "guided"]
Others = Literal["keep", "refuse"]


@checked()
def with_relu_rule(f: Callable[..., Any], rule: Rule, *, others: Others = "keep") -> Callable[..., Any]:
    """The function `f` with another backward rule at every rectifier `y = max(x, 0)`.

    Where g arrives at y, what goes on to x is

    - "gradient": `1[x > 0] g`
    - "deconvnet": `max(g, 0)` (Zeiler & Fergus 2014, section 2.1)
    - "guided": `1[x > 0] max(g, 0)` (Springenberg et al. 2015, section 3.4)

    The result takes what f takes and gives what f gives, to the bit; it can be jitted, mapped and differentiated
    backward. The last two rules are not linear in g, so no forward derivative has them, and JAX refuses `jvp` with a
    TypeError. Everything else keeps its derivative: the maximum of a window gets what arrives, several windows add up
    there; normalisation with fixed statistics multiplies by its scale, biases drop out; statistics of the image
    itself and local response normalisation are differentiated.

    Rectifiers are those of `rectifiers(f, *args)`, which lists them. A function with a derivative of its own that
    contains one gets the derivative of its program. Other activations keep theirs, or with `others="refuse"` raise.

    Raises InputError for an unknown rule; and when the result is called, where f has no rectifier, which "gradient"
    does not need, has one inside another primitive than calls, branches and loops, or has other activations that are
    refused.
    """

    @functools.wraps(f)
    def ruled(*args: Any) -> Any:
        program, result = program_of(f, *args)
        operands, report = located(program, result)
        check_report(report, rule, others)
        values = _evaluate(rule, program, list(map(jnp.asarray, jax.tree.leaves(args))), operands)
        return filled(result, values)

    return ruled


def check_report(report: Rectifiers, rule: Rule, others: Others) -> None:
    """Raise InputError for a function without the rectifiers that a rule is for, or with activations to refuse."""
    known = ", ".join(dict.fromkeys(f"{other.form} ({other.line})" for other in report.others))
    if not report.found and rule != "gradient":
        besides = f"its activations are {known}" if known else "it has no activation that is known"
        raise InputError(
            f"f has no rectifier, max(x, 0), to give rule={rule!r} to: {besides}; rule='gradient' needs none"
        )
    if others == "refuse" and report.others:
        raise InputError(f'f has activations that are no rectifiers: {known}; with others="keep" they stay as they are')


def _evaluate(rule: Rule, program: Program, values: Sequence[Any], operands: Mapping[Place, int]) -> list[Any]:
    """The results of a program whose rectifiers stand at the places in `operands`."""
    jaxpr, _ = opened(program)
    inside: dict[int, dict[int, dict[Place, int]]] = {}
    instead: dict[int, Run] = {}
    for (position, *rest), operand in operands.items():
        if rest:
            number, *place = rest
            inside.setdefault(position, {}).setdefault(number, {})[tuple(place)] = operand
        else:
            instead[position] = functools.partial(_rectified, rule, jaxpr, jaxpr.eqns[position], operand)
    for position, places in inside.items():
        instead[position] = functools.partial(_run_inside, rule, jaxpr, jaxpr.eqns[position], places)
    return evaluate(program, values, instead=instead)


def _rectified(rule: Rule, jaxpr: Jaxpr, eqn: JaxprEqn, operand: int, values: Sequence[Any]) -> list[Any]:
    (y,) = run(jaxpr, eqn, values)
    return [_passing_back(rule, values[operand], y)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _passing_back(rule: Rule, x: Array, y: Array) -> Array:
    """Y, the rectified x, as a function of x."""
    return y


def _forward(rule: Rule, x: Array, y: Array) -> tuple[Array, Array]:
    return y, y > 0


def sent_back(rule: Rule, active: Array | None, g: Array) -> Array:
    """What goes on from a rectifier that is `active` where it lets pass; the deconvnet does not ask."""
    nothing = jnp.zeros_like(g)
    signal = g if rule == "gradient" else jnp.maximum(g, nothing)
    return signal if rule == "deconvnet" or active is None else jnp.where(active, signal, nothing)


def _backward(rule: Rule, active: Array, g: Array) -> tuple[Array, None]:
    return sent_back(rule, active, g), None


_passing_back.defvjp(_forward, _backward)


def _run_inside(
    rule: Rule, jaxpr: Jaxpr, eqn: JaxprEqn, places: Mapping[int, Mapping[Place, int]], values: Sequence[Any]
) -> Sequence[Any]:
    """The results of an equation that runs programs with rectifiers."""
    if eqn.primitive.name in CALLS and eqn.primitive.name.startswith("custom"):
        # Its own derivative would not have the rule.
        return _evaluate(rule, called(eqn), values, places[0])
    replaced = [
        _traced(rule, program, places[number]) if number in places else program
        for number, program in enumerate(programs(eqn))
    ]
    return run(jaxpr, eqn.replace(params=with_programs(eqn, replaced)), values)


def _traced(rule: Rule, program: Program, operands: Mapping[Place, int]) -> Program:
    jaxpr, _ = opened(program)
    arguments = [v.aval for v in jaxpr.invars]
    traced = jax.make_jaxpr(lambda *values: _evaluate(rule, program, values, operands))(*arguments)
    return traced if isinstance(program, ClosedJaxpr) else traced.jaxpr


def with_programs(eqn: JaxprEqn, replaced: Sequence[Program]) -> dict[str, Any]:
    """An equation's parameters with other programs, in the order of `programs`."""
    rest = iter(replaced)

    def exchanged(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(exchanged, value))
        return next(rest) if isinstance(value, Program) else value

    return {key: exchanged(value) for key, value in eqn.params.items()}
