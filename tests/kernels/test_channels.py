"""Sums for each channel by kernels: their numbers, against NumPy in float64, PyTorch and XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import layers
from cnnjax.kernels import channels
from cnnjax.kernels.channel_calls import call_moments, call_sums
from tests.drawn_cases import drawn_cases


def drawn(shape, seed, mean=0.0):
    return (np.random.default_rng(seed).normal(size=shape) + mean).astype(np.float32)


def sums_of(a, b, center):
    a, b, center = (np.asarray(x, np.float64) for x in (a, b, center))
    return a.sum(1), (a * (b - center[:, None])).sum(1)


def moments_of(x):
    x = np.asarray(x, np.float64)
    return x.mean(1), x.var(1)


def assert_near(made, expected, scale):
    for got, right in zip(made, expected, strict=True):
        assert (got.dtype, got.shape) == (jnp.float32, right.shape)
        np.testing.assert_allclose(got, right, atol=1e-6 * scale)


@given(
    copies=st.integers(1, 3),
    positions=st.sampled_from([1, 2, 17, 255, 257, 1000]),
    width=st.sampled_from([1, 2, 3, 8, 16, 19, 24, 37, 64, 100, 160]),
    once=st.integers(0, 7),
)
@drawn_cases(15)
def test_drawn_maps_against_numpy(copies, positions, width, once):
    # Any of the three operands may be one that all copies share.
    leads = [1 if once >> bit & 1 else copies for bit in range(3)]
    a, b = (drawn((lead, positions, width), seed, mean=seed) for seed, lead in enumerate(leads[:2]))
    center = drawn((leads[2], width), 2)
    assert_near(jax.jit(call_moments)(b), moments_of(b), 10)
    expected = [np.broadcast_to(right, (max(leads), width)) for right in sums_of(a, b, center)]
    assert_near(jax.jit(call_sums)(a, b, center), expected, positions)


@pytest.mark.parametrize("width", [16, 48])
def test_many_positions_are_added_up_no_worse_than_by_xla(width):
    # Several chunks, the last of them not of full size, and tiles likewise.
    a, b = drawn((1, 100_003, width), 0, mean=1), drawn((1, 100_003, width), 1, mean=-2)
    center = moments_of(b)[0].astype(np.float32)
    for ours, theirs, expected, operands in (
        (call_sums, channels._plain_sums, sums_of(a, b, center), (a, b, center)),
        (call_moments, channels._plain_moments, moments_of(b), (b,)),
    ):
        errors = [
            [np.abs(np.asarray(got) - right).max() for got, right in zip(jax.jit(f)(*operands), expected, strict=True)]
            for f in (ours, theirs)
        ]
        # One rounding of the largest sum is left to chance.
        scale = [np.spacing(np.float32(np.abs(right).max())) for right in expected]
        assert np.all(errors[0] <= np.maximum(errors[1], scale)), errors


@pytest.mark.parametrize("mean", [3000.0, -3e5])
def test_the_variance_does_not_suffer_from_the_mean(mean):
    x = drawn((1, 50_000, 24), 0) * 8 + np.float32(mean)
    got, (_, expected) = jax.jit(call_moments)(x)[1], moments_of(x)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_deviations_that_begin_late_are_found():
    # All of a tile, and of a chunk, is alike: the variance is that between them.
    x = np.repeat(np.float32([5, 5, 5, -7]), 10_000)[None, :, None] * np.ones(16, np.float32)
    np.testing.assert_allclose(jax.jit(call_moments)(x)[1], moments_of(x)[1], rtol=1e-6)
    np.testing.assert_array_equal(jax.jit(call_moments)(np.ones_like(x) * 1e25)[1], np.zeros((1, 16)))


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [1e30]])
def test_numbers_that_are_not_finite_go_where_those_of_xla_go(values):
    a, b = drawn((1, 600, 20), 0), drawn((1, 600, 20), 1)
    for place, value in enumerate(values):
        a[0, 100 * place, 3] = b[0, 250 * place, 5] = value
    for ours, theirs, operands in (
        (call_sums, channels._plain_sums, (a, b, drawn((1, 20), 2))),
        (call_moments, channels._plain_moments, (a,)),
    ):
        for got, expected in zip(jax.jit(ours)(*operands), jax.jit(theirs)(*operands), strict=True):
            for kind in (np.isnan, np.isposinf, np.isneginf):
                np.testing.assert_array_equal(kind(got), kind(expected))


def test_buffers_need_not_be_aligned():
    a, b, center = drawn((1, 50, 16), 0), drawn((1, 50, 16), 1), drawn((1, 16), 2)

    def shifted(both):
        x, y, z = jnp.split(both[1:], np.cumsum([a.size, b.size]))
        return call_sums(x.reshape(a.shape), y.reshape(b.shape), z.reshape(center.shape))

    both = jnp.concatenate([jnp.zeros(1), a.ravel(), b.ravel(), center.ravel()])
    assert_near(jax.jit(shifted)(both), sums_of(a, b, center), 50)


@pytest.mark.parametrize("width", [3, 32])
def test_batch_normalisation_and_its_gradient_against_pytorch(width):
    torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install torch==2.13.0")
    x, cotangent = drawn((4, 9, 7, width), 0, mean=2), drawn((4, 9, 7, width), 1)
    scale, bias = drawn(width, 2, mean=1), drawn(width, 3)
    stats = {"mean": np.zeros(width, np.float32), "var": np.ones(width, np.float32)}

    def normalised(x, scale, bias):
        variables = {"params": {"batch": {"scale": scale, "bias": bias}}, "batch_stats": {"batch": stats}}
        return layers.Norm("batch").apply(variables, x, train=True, mutable=["batch_stats"])[0]

    gradient = jax.jit(lambda *at: jax.vjp(normalised, *at)[1](cotangent))
    text = gradient.lower(x, scale, bias).as_text()
    assert text.count("@cnnjax_channels1_moments") == 1
    assert text.count("@cnnjax_channels1_sums") == 1

    theirs = torch.nn.BatchNorm2d(width, dtype=torch.float64)
    moved = [torch.from_numpy(a).double().movedim(-1, 1) for a in (x, cotangent)]
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(scale))
        theirs.bias.copy_(torch.from_numpy(bias))
    made = theirs(moved[0].requires_grad_())
    made.backward(moved[1])
    np.testing.assert_allclose(jax.jit(normalised)(x, scale, bias), made.detach().movedim(1, -1), atol=3e-6)
    expected = (moved[0].grad.movedim(1, -1), theirs.weight.grad, theirs.bias.grad)
    for got, right in zip(gradient(x, scale, bias), expected, strict=True):
        np.testing.assert_allclose(got, right, atol=2e-6 * float(right.abs().max()))


def test_narrow_maps_are_added_up_in_float32():
    x = jnp.asarray(drawn((2, 40, 40, 8), 0, mean=2), jnp.bfloat16)
    made = jax.jit(
        lambda x: layers.Norm("batch", dtype=jnp.bfloat16).init_with_output(jax.random.key(0), x, train=True)
    )
    expected = np.asarray(x, np.float64)
    expected = (expected - expected.mean((0, 1, 2))) / np.sqrt(expected.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(np.asarray(made(x)[0], np.float64), expected, rtol=2**-8, atol=1e-3)
    assert "@cnnjax_channels1_moments" in made.lower(x).as_text()
