"""Backward rules at max pools of any function, against unpooling with the recorded switches."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnnjax import InputError, ops
from cnnjax.analysis import Projector, with_pool_rule
from tests.repeats import repeated

RULES = ("add", "overwrite", "max")
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 8, 3)), jnp.float32)
G = np.random.default_rng(1).normal(size=(2, 9, 8, 3)).astype(np.float32)


def flax_pool(x, window, stride, padding):
    return nn.max_pool(x, window, stride, padding)


def ops_pool(x, window, stride, padding):
    return ops.max_pool(x, window, stride=stride, padding=padding)


def channels_first(x, window, stride, padding):
    """As Equinox pools: one image at a time, channels before space."""

    def one(image):
        return lax.reduce_window(image, -jnp.inf, lax.max, (1, *window), (1, *stride), ((0, 0), *padding))

    return jax.vmap(one)(jnp.moveaxis(x, -1, 1)).transpose(0, 2, 3, 1)


def unpooled(x, g, overlap, window, stride, padding):
    """Window after window in row-major order, the first of its maxima chosen."""
    x = np.asarray(x)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-np.inf)
    back = np.full(padded.shape, np.nan)
    for b, c in np.ndindex(x.shape[0], x.shape[-1]):
        for i, j in np.ndindex(*g.shape[1:3]):
            top, left = i * stride[0], j * stride[1]
            view = padded[b, top : top + window[0], left : left + window[1], c]
            row, column = np.unravel_index(view.argmax(), view.shape)
            at, value = (b, top + row, left + column, c), g[b, i, j, c]
            if np.isnan(back[at]) or overlap == "overwrite":
                back[at] = value
            else:
                back[at] = back[at] + value if overlap == "add" else max(back[at], value)
    (top, _), (left, _) = padding
    return np.nan_to_num(back)[:, top : top + x.shape[1], left : left + x.shape[2]]


def ruled(f, overlap, signals):
    """What f is with the rule, and what the rule sends back, as one program."""

    @jax.jit
    def value_and_back(x, signals):
        value, pull = jax.vjp(with_pool_rule(f, overlap), x)
        return value, pull(signals)[0]

    return value_and_back(X, signals)


# Overlapping windows for every library, others for one of each layout.
POOLS = [
    *((pool, (3, 3), (2, 2), ((0, 0), (0, 0))) for pool in (ops_pool, flax_pool, channels_first)),
    (channels_first, (3, 2), (1, 2), ((1, 1), (0, 1))),
    (flax_pool, (2, 2), (2, 2), ((0, 0), (0, 0))),
    # One axis after the other, and blocks that do not overlap.
    (ops_pool, (3, 2), (1, 2), ((1, 1), (0, 1))),
    (ops_pool, (2, 2), (2, 2), ((0, 0), (0, 0))),
]


# Each pool with one rule, and then with the others.
@pytest.mark.parametrize(
    ("overlap", "pool", "window", "stride", "padding"),
    repeated([(RULES[(n + at) % 3], *pool) for n in range(3) for at, pool in enumerate(POOLS)], quick=len(POOLS)),
)
def test_pools_of_every_library(overlap, pool, window, stride, padding):
    def f(x):
        return pool(x, window, stride, padding)

    expected = f(X)
    g = G[:, : expected.shape[1], : expected.shape[2]]
    value, back = ruled(f, overlap, g)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(back, unpooled(X, g, overlap, window, stride, padding), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "wrapper",
    repeated(
        [
            lambda f: lambda x: lax.cond(x.sum() < 1e9, f, f, x),
            lambda f: lambda x: lax.scan(lambda c, a: (c, f(a[None])[0]), 0.0, x)[1],
            jax.jit,
            jax.checkpoint,
        ],
        quick=2,
    ),
)
def test_inside_calls_branches_and_loops(wrapper):
    f = wrapper(lambda x: 2 * ops.max_pool(x, 3, stride=2))
    g = G[:, :4, :3]
    _, back = ruled(f, "overwrite", g)
    expected = 2 * unpooled(X, g, "overwrite", (3, 3), (2, 2), ((0, 0), (0, 0)))
    np.testing.assert_allclose(back, expected, rtol=1e-6, atol=1e-6)


def test_a_pool_along_one_axis_that_is_read_twice_is_one_of_its_own():
    def f(x):
        rows = nn.max_pool(x, (3, 1), (2, 1))
        return nn.max_pool(rows, (1, 3), (1, 2)), rows

    none = ((0, 0), (0, 0))
    first, second = G[:, :4, :3], G[:, :4]
    (_, rows), back = ruled(f, "overwrite", (first, second))
    inner = unpooled(np.asarray(rows), first, "overwrite", (1, 3), (1, 2), none).astype(np.float32)
    expected = unpooled(X, inner + second, "overwrite", (3, 1), (2, 1), none)
    np.testing.assert_allclose(back, expected, rtol=1e-6, atol=1e-6)


OPTIONS = [{"dilation": (2, 3)}, {"ceil_mode": True, "padding": 1}, {"window": 36}]


@pytest.mark.parametrize(
    ("overlap", "options"),
    repeated([(RULES[(n + at) % 3], options) for n in range(3) for at, options in enumerate(OPTIONS)], quick=3),
)
def test_dilated_pools_those_of_ceil_mode_and_long_windows(overlap, options):
    options = {"window": 3, "stride": 2, **options}
    x = np.random.default_rng(0).integers(0, 3, size=(1, 40, 38, 2)).astype(np.float32)

    @jax.jit
    def program(x):
        y, pull = jax.vjp(with_pool_rule(lambda x: ops.max_pool(x, **options), overlap), x)
        _, switches = ops.max_pool_with_switches(x, **options)
        return pull(y)[0], ops.max_unpool(y, switches, input_size=x.shape[1:-1], overlap=overlap, **options)

    np.testing.assert_array_equal(*program(x))


def test_bad_input(without_type_checks):
    with pytest.raises(InputError, match="overlap='sum' is unknown; use one of add"):
        with_pool_rule(jax.nn.relu, "sum")
    with pytest.raises(InputError, match="no max pool"):
        with_pool_rule(jax.nn.relu, "max")(X)
    with pytest.raises(InputError, match="no max pool"):
        Projector(jax.nn.relu, overlap="max")(np.ones((4, 4, 1), np.float32))
    with pytest.raises(InputError, match="3 axes"):
        with_pool_rule(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 2), (1, 1, 1, 1), "VALID"), "max")(X)
