"""An operation that no reader of programs knows is named, bounded or refused by each: it never counts as nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from cnnjax import InputError, analysis, ops

IMAGES = jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)

mystery = Primitive("mystery")
mystery.def_abstract_eval(lambda x: x)
mystery.def_impl(lambda x: 3 * x)
mlir.register_lowering(mystery, mlir.lower_fun(lambda x: 3 * x, multiple_results=False))

holder = Primitive("holder")
holder.def_abstract_eval(lambda x, program: x)


def held(f):
    """A function inside an operation that may run it any number of times."""
    return lambda x: holder.bind(x, program=jax.make_jaxpr(f)(x))


def square(x):
    return x @ x


def plane(f):
    return lambda x: f(x[0, :, :, 0])


@pytest.mark.parametrize(
    ("f", "multiply_adds", "inexact"),
    [
        (mystery.bind, 0, ("mystery",)),
        (jax.jit(lambda x: mystery.bind(square(x))), 64, ("mystery",)),
        (held(square), 64, ("holder",)),
        (held(jnp.tanh), 0, ("holder",)),
        (held(mystery.bind), 0, ("holder", "mystery")),
        (lambda x: lax.scan(lambda x, _: (mystery.bind(square(x)), None), x, length=3)[0], 3 * 64, ("mystery",)),
        # In the cheaper of two branches, too.
        (lambda x: lax.cond(x[0, 0] > 0, square, mystery.bind, x), 64, ("cond", "mystery")),
        (lambda x: lax.while_loop(lambda x: x[0, 0] < 9, mystery.bind, x), 0, ("mystery",)),
        (lambda x: jnp.linalg.cholesky(square(x)), 64, ("cholesky",)),
        (lambda x: jax.ffi.ffi_call("a_kernel", jax.ShapeDtypeStruct(x.shape, x.dtype))(x), 0, ("ffi_call",)),
    ],
)
def test_cost_names_it(f, multiply_adds, inexact):
    found = analysis.cost(plane(f), IMAGES)
    assert (found.multiply_adds, found.inexact) == (multiply_adds, inexact)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: lax.top_k(x, 2)[0],
        lambda x: jnp.sort(x) + lax.cumsum(x) + jnp.argmax(x, 0, keepdims=True).astype(x.dtype),
        lambda x: x + jax.random.normal(jax.random.key(0), x.shape) + lax.iota(jnp.float32, 4)[None],
        lambda x: jax.grad(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 1), "VALID").sum())(x),
        lambda x: lax.reduce(x, 1.0, lambda a, b: a * b, (0,)).at[0].set(2.0),
        lambda x: jnp.quantile(x, jnp.float32(0.5)) + jnp.median(x, 0, keepdims=True),
        lambda x: jax.image.resize(x, (8, 8), "nearest") + jax.scipy.special.erfinv(jnp.tile(x, (2, 2))),
    ],
)
def test_what_is_known_to_multiply_nothing_is_not_named(f):
    found = analysis.cost(plane(f), IMAGES)
    assert (found.multiply_adds, found.inexact) == (0, ())


def test_calls_with_rules_of_their_own_are_looked_into():
    mapped = jax.custom_batching.custom_vmap(square)
    mapped.def_vmap(lambda size, batched, x: (square(x), True))
    for f in (mapped, lax.composite(square, "mine.square")):
        found = analysis.cost(plane(f), IMAGES)
        assert (found.multiply_adds, found.inexact) == (64, ())
        assert analysis.receptive_field(plane(f), IMAGES).unfollowed == ()
    rectified = lax.composite(jax.nn.relu, "mine.relu")
    assert [one.form for one in analysis.rectifiers(rectified, IMAGES).found] == ["max"]


def test_its_field_is_the_whole_image_and_no_field_is_exact():
    field = analysis.receptive_field(mystery.bind, IMAGES)
    assert (field.size, field.unfollowed, field.exact) == ((4, 4), ("mystery",), (False, False))


def test_it_is_not_linear_for_all_that_is_known():
    assert analysis.is_linear(mystery.bind, IMAGES) is analysis.Linearity.UNKNOWN
    assert analysis.is_linear(held(lambda x: 2 * x), IMAGES) is analysis.Linearity.UNKNOWN


@pytest.mark.parametrize("f", [mystery.bind, held(jnp.tanh), lambda x: jax.pure_callback(np.tanh, x, x)])
def test_it_may_be_an_activation(f):
    found = analysis.rectifiers(lambda x: f(jax.nn.relu(x)), IMAGES)
    assert len(found.found) == 1
    assert [other.form for other in found.others] == [str(jax.make_jaxpr(f)(IMAGES).eqns[0].primitive)]
    with pytest.raises(InputError, match=found.others[0].form):
        jax.eval_shape(analysis.with_relu_rule(lambda x: f(jax.nn.relu(x)), "guided", others="refuse"), IMAGES)


@pytest.mark.parametrize("f", [held(jax.nn.relu), held(held(jax.nn.relu))])
def test_a_rectifier_inside_it_is_refused(f):
    with pytest.raises(InputError, match="a rectifier inside holder"):
        jax.eval_shape(analysis.with_relu_rule(f, "deconvnet"), IMAGES)


def test_a_pool_inside_it_is_refused():
    f = held(lambda x: ops.max_pool(x, 3, stride=1, padding="same"))
    with pytest.raises(InputError, match="a max pool inside holder"):
        jax.eval_shape(analysis.with_pool_rule(f, "max"), IMAGES)


def test_activations_before_and_behind_it_are_edited():
    def f(x):
        before = x + 1
        return {"before": before, "behind": mystery.bind(before)}

    found = analysis.intervene(f, lambda name, a: a + 1)(jnp.ones((1, 4, 4, 1)))
    np.testing.assert_array_equal(found["before"], 3)
    np.testing.assert_array_equal(found["behind"], 10)
