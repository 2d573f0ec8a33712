import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients

lp_pool = jax.jit(ops.lp_pool, static_argnames=("window", "p", "stride", "padding"))


def draw(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@given(
    case=st.sampled_from([((2, 9, 3), (3,)), ((1, 7, 6, 2), (2, 3)), ((1, 8, 4, 1), (2, 2))]),
    stride=st.sampled_from([None, (1, 2), (2, 1), (3, 3)]),
    p=st.sampled_from([1, 1.5, 2, 3.0, 7]),
)
@drawn_cases(2)
@pytest.mark.parametrize("padding", ["valid", "same", "full", "circular", "reflect", "same_xla", 1, "pairs"])
def test_against_loops(case, stride, p, padding):
    shape, window = case
    padding = ((1, 0), (0, 1))[: len(window)] if padding == "pairs" else padding
    stride = (stride or window)[: len(window)]
    x = draw(shape)

    def norm(values, axes):
        return (np.abs(values) ** p).sum(axes) ** (1 / p)

    expected = numpy_loops.pool(x, window, stride=stride, padding=padding, reduce=norm, nothing=0.0)
    with jax.enable_x64(True):
        y = lp_pool(x, window=window, p=p, stride=stride, padding=padding)
    np.testing.assert_allclose(y, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("p", "options"),
    [(1, {"stride": 2}), (1.5, {"stride": 1, "padding": "circular"}), (2, {"stride": 2}), (3.0, {"stride": 2})],
)
def test_gradients(p, options):
    with jax.enable_x64(True):
        # No magnitude so small that a step of finite differences crosses zero.
        x = draw((1, 5, 6, 2))
        x = np.sign(x) * (0.1 + np.abs(x))
        pool = jax.jit(lambda x: ops.lp_pool(x, 3, p=p, **options))
        check_gradients(pool, (x,), eps=1e-4)


@pytest.mark.parametrize("p", [2, 3])
def test_second_derivatives(p):
    # For y = (|a|^p + |b|^p)^(1/p): y'' = (p − 1) |a b|^(p − 2) y^(1 − 2p) (b, −a)ᵀ(b, −a) for positive a and b.
    a, b = 3.0, 4.0
    hessian = jax.jit(jax.hessian(lambda x: ops.lp_pool(x[None, :, None], 2, p=p).sum()))(
        np.asarray([a, b], np.float32)
    )
    y = (a**p + b**p) ** (1 / p)
    expected = (p - 1) * (a * b) ** (p - 2) * y ** (1 - 2 * p) * np.outer([b, -a], [b, -a])
    np.testing.assert_allclose(hessian, expected, rtol=1e-5)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_the_gradient_of_a_window_of_zeros_is_zero(p):
    @jax.jit
    def program(x):
        y, moved = jax.jvp(lambda x: ops.lp_pool(x, 2, p=p), (x,), (jnp.ones_like(x),))
        return y, moved, jax.grad(lambda x: ops.lp_pool(x, 2, p=p).sum())(x)

    y, moved, gradient = map(np.ravel, program(np.asarray([0, 0, 0, -2], np.float32).reshape(1, 4, 1)))
    np.testing.assert_array_equal(y, [0, 2])
    np.testing.assert_array_equal(moved, [0, -1])
    np.testing.assert_array_equal(gradient, [0, 0, 0, -1])


@pytest.mark.parametrize("scale", [1e30, 1e-30])
@pytest.mark.parametrize(("p", "norm"), [(2, 5.0), (4, 337.0**0.25)])
def test_powers_neither_overflow_nor_vanish(scale, p, norm):
    x = np.asarray([3 * scale, -4 * scale], np.float32).reshape(1, 2, 1)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: ops.lp_pool(x, 2, p=p).sum()))(x)
    np.testing.assert_allclose(value, norm * scale, rtol=1e-6)
    np.testing.assert_allclose(np.ravel(gradient), [(3 / norm) ** (p - 1), -((4 / norm) ** (p - 1))], rtol=1e-6)


def test_infinity_and_nan_show():
    x = jnp.asarray([1.0, jnp.inf, jnp.nan, 1.0, 3.0, 4.0]).reshape(1, 6, 1)
    np.testing.assert_array_equal(np.ravel(ops.lp_pool(x, 2)), [np.inf, np.nan, 5])


def test_between_the_mean_and_the_maximum():
    x = np.abs(draw((1, 6, 6, 1), dtype=np.float32))
    norms = [np.asarray(lp_pool(x, window=3, p=p)) for p in (1, 2, 5, 100)]
    windows = x.reshape(1, 2, 3, 2, 3, 1)
    np.testing.assert_allclose(norms[0], 9 * windows.mean((2, 4)), rtol=1e-6)
    assert all((a > b).all() for a, b in itertools.pairwise(norms))
    np.testing.assert_allclose(norms[-1], windows.max((2, 4)), rtol=9 ** (1 / 100) - 1)


def test_bfloat16_is_kept_and_summed_in_float32():
    x = np.full((1, 1024, 1), 0.5, jnp.bfloat16)
    y = lp_pool(x, window=32, p=1)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, 16)


def test_vmap():
    x = draw((3, 2, 4, 4, 1), dtype=np.float32)
    gradient = jax.jit(jax.grad(lambda x: ops.lp_pool(x, 2).sum()))
    np.testing.assert_allclose(jax.vmap(gradient)(x), np.stack(list(map(gradient, x))), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", [0, 0.5, -1, float("inf"), float("nan")])
def test_other_exponents_are_refused(p):
    with pytest.raises(InputError, match=rf"p={p} must be finite and at least 1; p = inf is max_pool\(jnp.abs\(x\)"):
        ops.lp_pool(jnp.ones((1, 4, 1)), 2, p=p)


@pytest.mark.parametrize(
    ("shape", "window", "options", "message"),
    [
        ((1, 4, 4, 1), 5, {}, r"the window spans 5 positions, more than the 4 of the padded map"),
        ((1, 4, 4, 1), 0, {}, r"window=0 must be"),
        ((1, 4, 4, 1), 2, {"padding": "zero"}, r"padding='zero' is unknown; use one of valid"),
        ((4, 4), 2, {}, r"x has shape \(4, 4\); expected"),
    ],
)
def test_errors_name_the_value_and_the_remedy(shape, window, options, message):
    with pytest.raises(InputError, match=message):
        ops.lp_pool(jnp.ones(shape), window, **options)
