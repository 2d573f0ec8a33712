"""Interventions: the same function with its activations replaced where they are computed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Var

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.calls import CALLS
from cnnjax.program.copies import converts, is_copy, way_back
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.evaluate import evaluate, run
from cnnjax.program.names import named
from cnnjax.program.order import filled
from cnnjax.program.tracing import program_of
from cnnjax.program.walk import Program, called, opened

Edit = Callable[[str, jax.Array], Any]
Edited = Callable[[Any], Any]


@checked()
def intervene(f: Callable[..., Any], edit: Edit) -> Callable[..., Any]:
    """The function `f` in which every activation `a` that it returns is replaced by `edit(name, a)`.

    With `a_i = f_i(x, a_1, …, a_{i−1})` in the order of computation, `g` computes `a'_i = edit(name_i, f_i(x, a'_1, …,
    a'_{i−1}))` and returns the `a'`: what is made of an activation, later ones and the result, is made of the edited
    one. `edit` must keep shape and dtype. It is called once for each array, in the order of computation. An array that
    f returns twice is edited once; and where f returns a copy in place of the array, this is edited: transposed, as
    channels are moved to the end, mirrored, reshaped, or in a wider dtype that nothing else reads. A copy beside the
    array itself, a second copy, or one in a narrower dtype is an array of its own, of which nothing else is made:
    return what the next layer reads. An identity, `lambda name, a: a`, gives f itself.

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
        program, result = program_of(functools.partial(f, **options), *args)
        flow = Dataflow(program)
        found = named(result, flow)
        names = [found[value][0] for value in flow.results]
        edited = _once_each(edit)
        arrays = {v: _Name(name) for v, name in zip(program.jaxpr.outvars, names, strict=True) if isinstance(v, Var)}
        values = _evaluate(program, jax.tree.leaves(args), _places(program.jaxpr, arrays), edited)
        # Among these may be numbers written in the program, which no equation makes.
        return filled(result, map(edited, names, values))

    return edited_f


class _Name(NamedTuple):
    """What an array is called: an activation, or what an activation is a copy of."""

    activation: str
    copies: tuple[tuple[Edited, Edited], ...] = ()
    """What makes the activation of the array, step by step, and each step's way back; none where it is the array."""
    converts: bool = False
    """Whether one of the steps changes the dtype."""
    read: bool = False
    """Whether something is made of the activation outside the program."""


class _Places(NamedTuple):
    """Where a program and the calls in it make activations."""

    names: Mapping[Var, _Name]
    inside: Mapping[int, "_Places"]
    """By position of the call, where it makes and uses one."""


def _places(jaxpr: Jaxpr, names: Mapping[Var, _Name], *, in_call: bool = False) -> _Places:
    """The places of the named arrays, followed into the calls that return them, and to operands that calls hand on.

    A copy's name goes to its array, but not to an operand of f. Of several copies the first is looked through.
    """
    names, inside = dict(names), {}
    arrays = {v for eqn in jaxpr.eqns for v in eqn.outvars}.union(jaxpr.invars if in_call else ())
    read = {v for eqn in jaxpr.eqns for v in eqn.invars if isinstance(v, Var)}

    def add(array: Any, name: _Name) -> None:
        known = names.get(array)
        if array in arrays and (known is None or (known.copies and (known.converts or not name.converts))):
            names[array] = name

    for position, eqn in reversed(list(enumerate(jaxpr.eqns))):
        if names.keys().isdisjoint(eqn.outvars):
            continue
        if is_copy(eqn) and isinstance(eqn.invars[0], Var):
            copy, back = eqn.outvars[0], way_back(eqn)
            name = names[copy]
            # An edit in a wider dtype is rounded on the way back: not where something is made of the copy.
            if back is not None and not (converts(eqn) and (name.read or copy in read)):
                there = functools.partial(_copied, jaxpr, eqn)
                changed = name._replace(
                    copies=((there, back), *name.copies), converts=name.converts or converts(eqn), read=False
                )
                add(eqn.invars[0], changed)
        if eqn.primitive.name not in CALLS:
            continue
        program = opened(called(eqn))[0]
        returned = [(v, o) for v, o in zip(program.outvars, eqn.outvars, strict=True) if isinstance(v, Var)]
        taken = [(v, o) for v, o in zip(program.invars, eqn.invars, strict=True) if isinstance(o, Var)]
        known = {v: names[o] for v, o in taken if o in names and not names[o].copies}
        known |= {v: names[o]._replace(read=names[o].read or o in read) for v, o in returned if o in names}
        places = _places(program, known, in_call=True)
        # What a call returns twice is one array, and so is what it hands on from its operands.
        for v, o in (*returned, *taken):
            if v in places.names:
                name = places.names[v]._replace(read=False)
                if name.copies:
                    add(o, name)
                else:
                    names[o] = name
        made = places.names.keys() - {*program.invars}
        if places.inside or any(not made.isdisjoint(_variables(e)) for e in program.eqns):
            inside[position] = places
    return _Places(names, inside)


def _evaluate(program: Program, operands: Sequence[Any], places: _Places, edited: Edit) -> list[Any]:
    equations = opened(program)[0].eqns
    instead = {
        position: functools.partial(_evaluate, called(equations[position]), places=inner, edited=edited)
        for position, inner in places.inside.items()
    }

    def edit(v: Var, value: Any) -> Any:
        if v not in places.names:
            return value
        name = places.names[v]
        for there, _ in name.copies:
            value = there(value)
        value = edited(name.activation, value)
        for _, back in reversed(name.copies):
            value = back(value)
        return value

    return evaluate(program, operands, instead=instead, edit=edit)


def _copied(jaxpr: Jaxpr, eqn: JaxprEqn, array: Any) -> Any:
    (copy,) = run(jaxpr, eqn, [array])
    return copy


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


def _variables(eqn: JaxprEqn) -> list[Var]:
    return list(dict.fromkeys(atom for atom in eqn.invars if isinstance(atom, Var)))
