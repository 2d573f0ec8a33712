"""A walk gives each array of a program the value that its step makes, in order, and forgets what is not read again."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnnjax.program.walk import called, equations, opened, programs, walk

NUMPY = {"mul": np.multiply, "add": np.add, "sin": np.sin}
TABLE = np.arange(3, dtype=np.float32)


def test_steps_of_numpy_compute_what_numpy_computes():
    traced = jax.make_jaxpr(lambda x, y: (jnp.sin(x * y) + jnp.asarray(TABLE), 2.0))(*[np.zeros(3, np.float32)] * 2)
    x, y = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    found = walk(
        traced, [x, y], lambda position, eqn, values: [NUMPY[eqn.primitive.name](*values)], constant=np.asarray
    )
    np.testing.assert_array_equal(found[0], np.sin(x * y) + TABLE)
    assert found[1] == 2


def test_variables_are_written_once_each_in_the_order_of_computation():
    traced = jax.make_jaxpr(lambda x: jnp.sin(x) * jnp.sin(x * x))(1.0)
    variables = [*traced.jaxpr.invars, *(v for eqn in traced.jaxpr.eqns for v in eqn.outvars)]
    seen = []

    def written(v, value):
        seen.append(v)
        return value

    positions = []

    def step(position, eqn, values):
        positions.append(position)
        return [None for _ in eqn.outvars]

    walk(traced, [None], step, constant=lambda value: None, written=written)
    assert seen == variables
    assert positions == list(range(len(traced.jaxpr.eqns)))


def test_what_nothing_reads_any_more_is_forgotten():
    class Held:
        alive = most = 0

        def __init__(self):
            Held.alive += 1
            Held.most = max(Held.most, Held.alive)

        def __del__(self):
            Held.alive -= 1

    def chain(x):
        for _ in range(40):
            x = jnp.sin(x)
        return x

    walk(jax.make_jaxpr(chain)(1.0), [Held()], lambda position, eqn, values: [Held()], constant=lambda value: Held())
    assert Held.most <= 4


def test_a_literal_may_have_another_value_than_a_constant():
    traced = jax.make_jaxpr(lambda x: x * 2 + jnp.asarray(TABLE))(TABLE)
    kinds = []

    def step(position, eqn, values):
        kinds.append((eqn.primitive.name, values))
        return ["made" for _ in eqn.outvars]

    walk(traced, ["operand"], step, constant=lambda value: "constant", literal=lambda value: "literal")
    assert kinds == [("mul", ["operand", "literal"]), ("add", ["made", "constant"])]


def test_programs_inside_equations():
    @jax.jit
    def twice(x):
        return x + x

    def f(x):
        x = lax.cond(x > 0, jnp.sin, jnp.cos, twice(x))
        return lax.scan(lambda carry, _: (carry * 3, None), x, length=4)[0]

    traced = jax.make_jaxpr(f)(1.0)
    inside = {
        eqn.primitive.name: [[inner.primitive.name for inner in equations(program)] for program in programs(eqn)]
        for eqn in equations(traced)
    }
    calls = [eqn for eqn in equations(traced) if programs(eqn)]
    assert inside[calls[0].primitive.name] == [["add"]]
    assert equations(called(calls[0])) == opened(called(calls[0]))[0].eqns
    assert inside["cond"] == [["cos"], ["sin"]]
    assert inside["scan"] == [["mul"]]
    assert inside["gt"] == []
