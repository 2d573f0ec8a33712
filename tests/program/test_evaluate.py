"""A program that is evaluated equation by equation gives what it gives at once; so do parts of it run otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnnjax.program.evaluate import evaluate, run
from cnnjax.program.walk import equations

X = np.linspace(-1, 1, 5, dtype=np.float32)


def straight(x):
    return jnp.sin(x) * 3 + X, x


def nested(x):
    body = jax.jit(lambda carry, _: (jnp.cos(carry), carry))
    last, before = lax.scan(body, jax.checkpoint(jnp.sin)(x), length=2)
    return lax.cond(x.sum() > 0, jnp.exp, jnp.tanh, last), before


@pytest.mark.parametrize("f", [straight, nested])
def test_nothing_instead_is_the_program_itself(f):
    found = evaluate(jax.make_jaxpr(f)(X), [X], instead={})
    for value, expected in zip(found, f(jnp.asarray(X)), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_an_equation_is_run_by_another():
    program = jax.make_jaxpr(straight)(X)
    (sine,) = (i for i, eqn in enumerate(equations(program)) if eqn.primitive.name == "sin")
    found, _ = evaluate(program, [X], instead={sine: lambda values: [np.cos(values[0])]})
    np.testing.assert_allclose(found, np.cos(X) * 3 + X, rtol=1e-6)


def test_an_edit_is_read_by_all_that_follows():
    # Every variable is doubled, and numbers that are written in the program are not.
    found = evaluate(jax.make_jaxpr(lambda x: (x + 1) * 3)(X), [X], instead={}, edit=lambda v, value: 2 * value)
    np.testing.assert_allclose(found[0], 2 * (3 * (2 * (2 * X + 1))), rtol=1e-6)


def test_one_equation_of_a_program():
    program = jax.make_jaxpr(lambda x: jnp.square(x - 1).sum())(X)
    difference, *_, total = equations(program)
    np.testing.assert_array_equal(run(program.jaxpr, difference, [X, np.float32(1)])[0], X - 1)
    np.testing.assert_allclose(run(program.jaxpr, total, [X])[0], X.sum(), atol=1e-6)
