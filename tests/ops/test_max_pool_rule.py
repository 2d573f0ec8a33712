"""The gradient of every maximum goes to the first of equals, never into padding, and NaN is the maximum: everywhere."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import ops
from tests.repeats import repeated


def chosen(x, window, stride, pairs, dilation):
    """Of each window the flat position on the map whose value is taken: only positions on the map compete."""
    space = x.shape
    spans = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    counts = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(space, pairs, spans, stride, strict=True)]
    places = np.empty(counts, int)
    for to in np.ndindex(*counts):
        axes = [
            [i for i in range(s * t - before, s * t - before + span, d) if 0 <= i < n]
            for t, s, (before, _), span, d, n in zip(to, stride, pairs, spans, dilation, space, strict=True)
        ]
        seen = [np.ravel_multi_index(place, space) for place in itertools.product(*axes)]
        values = x.ravel()[seen].astype(np.float64)
        nan = np.flatnonzero(np.isnan(values))
        places[to] = seen[nan[0] if nan.size else int(np.flatnonzero(values == values.max())[0])]
    return places


def strange(shape, dtype, seed=0):
    """Ties, NaN and both infinities; and a corner of −∞ alone."""
    values = np.asarray([-2, -1, 0, 1, 2, -np.inf, np.inf, np.nan])
    share = [0.3, 0.3, 0.2, 0.08, 0.05, 0.05, 0.01, 0.01]
    x = np.random.default_rng(seed).choice(values, p=share, size=shape)
    x[tuple(slice(0, -(-n // 2)) for n in shape)] = -np.inf
    return jnp.asarray(x, dtype)


CASES = [
    ((70,), (33,), (3,), ((5, 40),), (2,)),
    ((7, 8), (3, 2), (2, 1), ((1, 2), (1, 0)), (1, 2)),
    ((6, 40), (4, 35), (1, 2), ((3, 0), (20, 30)), (1, 1)),
    ((8, 6), (4, 3), (4, 3), ((0, 0), (0, 0)), (1, 1)),
    ((9,), (3,), (2,), ((2, 2),), (1,)),
    ((64,), (33,), (1,), ((0, 0),), (1,)),
    ((40,), (37,), (2,), ((20, 9),), (1,)),
    ((90,), (40,), (50,), ((0, 0),), (1,)),
    ((12,), (3,), (2,), ((3, 2),), (3,)),
    ((36, 37), (34, 36), (1, 1), ((30, 2), (1, 33)), (1, 1)),
    ((5, 6), (5, 6), (9, 7), ((0, 0), (0, 0)), (1, 1)),
]


NARROW = [(*case, dtype) for case in (CASES[5], CASES[4], CASES[2], CASES[3]) for dtype in ("bfloat16", "float16")]


@pytest.mark.parametrize(
    ("space", "window", "stride", "pairs", "dilation", "dtype"),
    [*repeated([(*case, "float32") for case in CASES], quick=4), *repeated(NARROW)],
)
def test_values_gradients_and_switches_of_strange_maps(space, window, stride, pairs, dilation, dtype):
    x = strange(space, dtype, seed=sum(window))
    places = chosen(np.asarray(x), window, stride, pairs, dilation)
    cotangent = np.random.default_rng(1).integers(1, 3, size=places.shape)
    gradient = np.zeros(x.size)
    np.add.at(gradient, places.ravel(), cotangent.ravel())
    options = {"window": window, "stride": stride, "padding": pairs, "dilation": dilation}

    @jax.jit
    def program(x, cotangent):
        y, pull = jax.vjp(lambda x: ops.max_pool(x[None, ..., None], **options), x)
        (switched, switches), pull_switched = jax.vjp(
            lambda x: ops.max_pool_with_switches(x[None, ..., None], **options), x
        )
        zeros = np.zeros(switches.shape, jax.dtypes.float0)
        back = ops.max_unpool(cotangent, switches, input_size=space, **options)
        return y, switched, pull(cotangent)[0], pull_switched((cotangent, zeros))[0], back

    values, switched, *gradients = program(x, jnp.asarray(cotangent[None, ..., None], dtype))
    for array in (values, switched):
        found = np.asarray(array, np.float64).reshape(places.shape)
        np.testing.assert_array_equal(found, np.asarray(x, np.float64).ravel()[places])
    for array in gradients:
        assert array.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(array, np.float64).reshape(space), gradient.reshape(space))


def test_nan_takes_the_gradient_from_long_windows_too():
    x = np.random.default_rng(0).normal(size=64).astype(np.float32)
    x[[5, 20, 50]] = np.nan
    gradient = jax.jit(jax.grad(lambda x: ops.max_pool(x[None, :, None], 33, stride=1).sum()))(x)
    np.testing.assert_array_equal(np.flatnonzero(gradient), [5, 20, 50])


@pytest.mark.parametrize(
    ("window", "options"), repeated([(34, {"stride": 2, "padding": "same"}), (34, {"stride": 1}), (3, {"stride": 1})])
)
class TestTransformationsOfWindowsOfAnyLength:
    def test_second_derivatives(self, window, options):
        x = np.random.default_rng(2).permutation(40).astype(np.float32)
        pairs = ((16, 17),) if "padding" in options else ((0, 0),)
        places = chosen(x, (window,), (options["stride"],), pairs, (1,))

        def energy(x):
            return (ops.max_pool(x[None, :, None], window, **options) ** 2).sum()

        expected = np.diag(2.0 * np.bincount(places, minlength=40))
        for found in jax.jit(lambda x: (jax.hessian(energy)(x), jax.jacfwd(jax.jacfwd(energy))(x)))(x):
            np.testing.assert_array_equal(found, expected)

    def test_vmap(self, window, options):
        x = np.random.default_rng(3).normal(size=(3, 40)).astype(np.float32)
        gradient = jax.jit(jax.grad(lambda x: (ops.max_pool(x[None, :, None], window, **options) ** 2).sum()))
        np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(x), np.stack(list(map(gradient, x))))


def test_gradients_of_many_windows_are_summed_in_float32():
    x = jnp.zeros((1, 599, 1), jnp.bfloat16).at[0, 299].set(1)
    gradient = jax.jit(jax.grad(lambda x: ops.max_pool(x, 300, stride=1).sum()))(x)
    assert gradient.dtype == jnp.bfloat16
    assert gradient[0, 299, 0] == 300


POOLS = {
    "max_pool": functools.partial(ops.max_pool, window=3, stride=2, padding=1),
    "max_pool, long": functools.partial(ops.max_pool, window=34, stride=1),
    "max_pool, dilated": functools.partial(ops.max_pool, window=3, stride=1, dilation=2),
    "blocks": functools.partial(ops.max_pool, window=2),
    "global_max_pool": ops.global_max_pool,
    "switches": lambda x: ops.max_pool_with_switches(x, 3, stride=2)[0],
    "max_blur_pool": functools.partial(ops.max_blur_pool, window=2),
    "lp_pool": functools.partial(ops.lp_pool, window=3, stride=2),
    "polyphase_pool": functools.partial(ops.polyphase_pool, stride=2),
}


@pytest.mark.parametrize("name", POOLS)
def test_one_program_for_every_platform(name):
    gradient = jax.jit(jax.grad(lambda x: (POOLS[name](x) ** 2).sum()))
    traced = gradient.trace(jax.ShapeDtypeStruct((2, 40, 36, 3), jnp.float32))
    cpu, *others = (traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda", "tpu"))
    # XLA's own rule sends what belongs to a NaN elsewhere, and from windows of −∞ into their padding.
    assert "select_and_scatter" not in cpu
    assert others == [cpu, cpu]
