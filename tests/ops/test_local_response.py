"""Local response normalisation against the formula of Krizhevsky et al. 2012, section 3.3, as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, ops
from tests.gradients import check_gradients


def by_loops(x, size, alpha, beta, k):
    """`b^i = a^i / (k + α Σ_{j = max(0, i − n/2)}^{min(N − 1, i + n/2)} (a^j)²)^β`."""
    y, last = np.empty_like(x), x.shape[-1] - 1
    for i in range(last + 1):
        low, high = max(0, i - size // 2), min(last, i + size // 2)
        y[..., i] = x[..., i] / (k + alpha * (x[..., low : high + 1] ** 2).sum(-1)) ** beta
    return y


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 3, 4, 3)])
@pytest.mark.parametrize(
    "constants", [{}, dict(size=3, alpha=0.5, beta=0.5, k=1), dict(size=4, alpha=2, beta=1.5, k=0.1)]
)
def test_it_is_the_formula(shape, constants):
    x = np.random.default_rng(0).normal(size=shape) * 50
    expected = by_loops(x, **dict(size=5, alpha=1e-4, beta=0.75, k=2) | constants)
    with jax.enable_x64(True):
        np.testing.assert_allclose(ops.local_response_norm(jnp.asarray(x), **constants), expected, rtol=1e-12)
    single = jax.jit(lambda x: ops.local_response_norm(x, **constants))(jnp.asarray(x, jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=2e-6)


def test_its_gradient_is_that_of_the_formula():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 5)))
        check_gradients(lambda x: ops.local_response_norm(x, size=3, alpha=0.5), (x,), rtol=1e-6)


def test_bfloat16_sums_in_float32():
    x = jnp.full((1, 1, 600), 4.0, jnp.bfloat16)
    y = ops.local_response_norm(x, size=601, alpha=1.0, beta=0.5, k=1.0)
    assert y.dtype == jnp.bfloat16
    middle = 4 / np.sqrt(1 + 16 * 600)
    np.testing.assert_allclose(y[0, 0, 300].astype(jnp.float32), middle, rtol=2**-8)


@pytest.mark.parametrize(
    ("shape", "constants", "message"),
    [
        ((4,), {}, "shape"),
        ((1, 2, 2, 3), dict(size=0), "size=0"),
        ((1, 2, 2, 3), dict(k=0.0), "k=0.0 must be positive"),
        ((1, 2, 2, 3), dict(alpha=-1.0), "alpha=-1.0 must not be negative"),
    ],
)
def test_what_cannot_be_normalised_is_refused(shape, constants, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        ops.local_response_norm(jnp.ones(shape), **constants)
