"""Interventions: the same function with its activations replaced where they are computed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, Var

from cnnjax.analysis.calls import CALLS
from cnnjax.analysis.dataflow import Dataflow
from cnnjax.analysis.evaluate import evaluate, opened
from cnnjax.analysis.multiply_adds import Program, programs
from cnnjax.analysis.names import named
from cnnjax.errors import InputError

Edit = Callable[[str, jax.Array], Any]


def intervene(f: Callable[..., Any], edit: Edit) -> Callable[..., Any]:
    """The function `f` in which every activation `a` that it returns is replaced by `edit(name, a)`.

    With `a_i = f_i(x, a_1, …, a_{i−1})` in the order of computation, `g` computes `a'_i = edit(name_i, f_i(x, a'_1, …,
    a'_{i−1}))` and returns the `a'`: what is made of an activation, later ones and the result, is made of the edited
    one. `edit` must keep shape and dtype. It is called once for each array, in the order of computation; an array that
    f returns twice is one, and so is one that f returns transposed, as channels are moved to the end; but a converted
    or reshaped copy is another, and so is a transposed one beside the array itself. Of such a copy nothing else is
    made: return what the next layer reads. An identity, `lambda name, a: a`, gives f itself.

    An activation's name is its key where no other has that key, as "conv1" of a model's `(logits, activations)`;
    otherwise its path in what f returns, "0" or "1/conv1"; and "output" where it is all that f returns.

    `f` is any JAX function of pytrees of arrays; so is the result, which can be jitted, differentiated and mapped as f
    can. Calls inside f (`jit`, `checkpoint`, functions with derivatives of their own) are looked into only where one of
    the activations is made and used inside; such a call no longer counts as one, so that a derivative of its own is
    replaced by that of the program inside. Activations made inside a loop or a branch, `scan`, `while` or `cond`, are
    edited where these return them.

    - derivatives with respect to activations: `jax.grad(lambda e: loss(intervene(f, lambda n, a: a + e[n])(x)))`
    - an ablation: `intervene(f, lambda n, a: jnp.zeros_like(a) if n == "conv2" else a)`

    Raises InputError, when the result is called, where `edit` changes a shape or dtype.
    """

    def edited_f(*args: Any, **options: Any) -> Any:
        program, result = jax.make_jaxpr(functools.partial(f, **options), return_shape=True)(*args)
        flow = Dataflow(program)
        found = named(result, flow)
        names = [found[value][0] for value in flow.results]
        edited = _once_each(edit)
        arrays = {v: _Name(name) for v, name in zip(program.jaxpr.outvars, names, strict=True) if isinstance(v, Var)}
        values = _evaluate(program, jax.tree.leaves(args), _places(program.jaxpr, arrays), edited)
        # Among these may be numbers written in the program, which no equation makes.
        return jax.tree.unflatten(jax.tree.structure(result), map(edited, names, values))

    return edited_f


class _Name(NamedTuple):
    """What an array is called: an activation, or what makes it when transposed."""

    activation: str
    axes: tuple[int, ...] | None = None
    """`activation = array.transpose(axes)`, where the array itself is not returned; None where it is."""


class _Places(NamedTuple):
    """Where a program and the calls in it make activations."""

    names: Mapping[Var, _Name]
    inside: Mapping[int, "_Places"]
    """By position of the call, where it makes and uses one."""


def _places(jaxpr: Jaxpr, names: Mapping[Var, _Name]) -> _Places:
    """The places of the named arrays, followed into the calls that return them, and to operands that calls hand on."""
    names, inside = dict(names), {}
    computed = {v for eqn in jaxpr.eqns for v in eqn.outvars}
    for position, eqn in reversed(list(enumerate(jaxpr.eqns))):
        if names.keys().isdisjoint(eqn.outvars):
            continue
        if eqn.primitive.name == "transpose":
            ((array,), (copy,)) = eqn.invars, eqn.outvars
            if isinstance(array, Var) and array in computed and array not in names:
                activation, axes = names[copy]
                turn = tuple(eqn.params["permutation"])
                names[array] = _Name(activation, turn if axes is None else tuple(turn[axis] for axis in axes))
        if eqn.primitive.name not in CALLS:
            continue
        called = opened(_called(eqn))[0]
        returned = [(v, o) for v, o in zip(called.outvars, eqn.outvars, strict=True) if isinstance(v, Var)]
        taken = [(v, o) for v, o in zip(called.invars, eqn.invars, strict=True) if isinstance(o, Var)]
        places = _places(called, {v: names[o] for v, o in returned if o in names})
        # What a call returns twice is one array, and so is what it hands on from its operands.
        names |= {o: places.names[v] for v, o in (*returned, *taken) if v in places.names}
        made = places.names.keys() - {*called.invars}
        if places.inside or any(not made.isdisjoint(_variables(e)) for e in called.eqns):
            inside[position] = places
    return _Places(names, inside)


def _evaluate(program: Program, operands: Sequence[Any], places: _Places, edited: Edit) -> list[Any]:
    equations = opened(program)[0].eqns
    instead = {
        position: functools.partial(_evaluate, _called(equations[position]), places=inner, edited=edited)
        for position, inner in places.inside.items()
    }

    def edit(v: Var, value: Any) -> Any:
        if v not in places.names:
            return value
        name, axes = places.names[v]
        if axes is None:
            return edited(name, value)
        return jnp.transpose(edited(name, jnp.transpose(value, axes)), tuple(np.argsort(axes).tolist()))

    return evaluate(program, operands, instead=instead, edit=edit)


def _once_each(edit: Edit) -> Edit:
    """An edit that remembers what became of each array, which may be come upon under several variables."""
    done: dict[str, Any] = {}

    def edited(name: str, array: Any) -> Any:
        if name not in done:
            done[name] = edit(name, array)
            before, after = [(jnp.shape(a), jnp.result_type(a)) for a in (array, done[name])]
            if before != after:
                raise InputError(f"edit made {after[1]}{after[0]} of {name!r}, {before[1]}{before[0]}: keep both")
        return done[name]

    return edited


def _called(eqn: JaxprEqn) -> Program:
    (program,) = programs(eqn)
    return program


def _variables(eqn: JaxprEqn) -> list[Var]:
    return list(dict.fromkeys(atom for atom in eqn.invars if isinstance(atom, Var)))
