"""The graph of a program's equations: run in its order it computes what JAX does, and it knows who reads what."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnnjax.program.equations import Equations
from cnnjax.program.evaluate import run

WEIGHTS = jnp.arange(6.0).reshape(2, 3)


def graph_of(f, *args, whole=lambda eqn: False):
    program = jax.make_jaxpr(f)(*args)
    return program, Equations(program, whole=whole)


def nested(x):
    inner = jax.checkpoint(lambda y: jnp.sin(y @ WEIGHTS) * 2)
    return jax.jit(inner)(x) + 1, WEIGHTS.sum()


def test_run_in_order_through_calls_they_compute_what_jax_computes():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
    program, graph = graph_of(nested, x)
    values = {**graph.constants, **dict(zip(graph.inputs, [x], strict=True))}
    for equation in graph.list:
        made = run(program.jaxpr, equation.eqn, [values[array] for array in equation.reads])
        values.update(zip(equation.makes, made, strict=True))
    for array, expected in zip(graph.results, nested(x), strict=True):
        np.testing.assert_allclose(values[array], expected, rtol=1e-6)


def test_makers_readers_and_positions_agree_with_the_list():
    _, graph = graph_of(nested, jnp.ones((4, 2)))
    for position, equation in enumerate(graph.list):
        for array in equation.makes:
            assert graph.made_by[array] is equation
            assert graph.position[array] == position
    readers = {array: [e for e in graph.list if array in e.reads] for e in graph.list for array in e.reads}
    assert graph.read_by == readers


def test_what_the_operands_have_no_part_in_is_not_dependent():
    _, graph = graph_of(lambda x, y: (jnp.sin(x) + jnp.cos(WEIGHTS), WEIGHTS * 2, y), WEIGHTS, WEIGHTS)
    assert [array in graph.dependent for array in graph.results] == [True, False, True]
    assert [e.kind for e in graph.list if graph.dependent.isdisjoint(e.makes)] == ["cos", "mul"]


def test_branches_and_loops_are_entered_and_left():
    def f(x):
        x = lax.cond(x > 0, jnp.sin, jnp.cos, x)
        return lax.scan(lambda carry, _: (jnp.tanh(carry), None), x, length=3)[0]

    _, graph = graph_of(f, 1.0)
    kinds = [equation.kind for equation in graph.list if equation.kind != "convert_element_type"]
    assert kinds == ["gt", "cos", "sin", "leave", "enter", "tanh", "leave"]
    names = {e.kind: [outer.primitive.name for outer in e.within] for e in graph.list}
    assert (names["sin"], names["tanh"], names["gt"]) == (["cond"], ["scan"], [])
    # Whichever way it came, the result reaches the end.
    assert graph.results[0] in graph.dependent


def test_what_is_taken_as_a_whole_is_not_looked_into():
    _, graph = graph_of(jax.nn.silu, jnp.ones(3), whole=lambda eqn: eqn.params.get("name") == "silu")
    assert len(graph.list) == 1
