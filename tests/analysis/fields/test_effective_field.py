"""Effective fields of networks whose derivatives are known: their moments, their growth, their centre."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from cnnjax import InputError, analysis, ops
from tests.repeats import repeated

RNG = np.random.default_rng(0)


def stack(n, k=3, rank=1, kernel=None):
    """N convolutions with one kernel, by default of equal weights."""
    kernel = jnp.ones((k,) * rank) / k**rank if kernel is None else jnp.asarray(kernel)

    def network(x):
        for _ in range(n):
            x = ops.conv(x, kernel.astype(x.dtype)[..., None, None])
        return x

    return network


def signal(n, batch=1):
    return RNG.normal(size=(batch, n, 1)).astype(np.float32)


# Luo et al. 2016: the variance of n uniform kernels is n (k² − 1) / 12, their share of the field falls as 1 / √n.
@pytest.mark.parametrize(("n", "share"), repeated([(5, 0.664), (20, 0.356), (10, 0.492), (40, 0.255)], quick=2))
def test_the_share_of_the_field_that_has_an_effect(n, share):
    r = 2 * n + 1
    field = analysis.effective_receptive_field(stack(n), signal(r + 2))
    assert analysis.receptive_field(stack(n), signal(r + 2)).size == (r,)
    np.testing.assert_allclose(field.covariance, [[n * 8 / 12]], rtol=1e-4)
    assert abs(4 * field.sigma[0] / r - share) < 5e-4


@pytest.mark.parametrize("k", repeated([2, 3, 5]))
def test_it_grows_as_the_root_of_the_depth(k):
    sigma = [analysis.effective_receptive_field(stack(n, k), signal(161)).sigma[0] for n in (4, 16)]
    np.testing.assert_allclose(sigma, [math.sqrt(n * (k * k - 1) / 12) for n in (4, 16)], rtol=1e-4)
    np.testing.assert_allclose(sigma[1] / sigma[0], 2, rtol=1e-4)


def test_one_layer_is_its_kernel():
    kernel = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0], [2.0, -1.0, 0.25]])
    image = RNG.normal(size=(3, 7, 7, 1)).astype(np.float32)
    expected = np.zeros((7, 7))
    expected[2:5, 2:5] = kernel
    for kind, values in (("absolute", abs(expected)), ("signed", expected), ("squared", expected**2)):
        field = analysis.effective_receptive_field(stack(1, kernel=kernel, rank=2), image, kind=kind)
        np.testing.assert_allclose(field.map, values / abs(values).sum(), atol=1e-6)
        np.testing.assert_array_equal(field.mass, abs(field.map))
    row, column = np.indices((7, 7))
    mass = expected**2 / (expected**2).sum()
    center = (mass * row).sum(), (mass * column).sum()
    np.testing.assert_allclose(field.center, center, rtol=1e-5)
    covariance = (mass * (row - center[0]) * (column - center[1])).sum()
    np.testing.assert_allclose(field.covariance[0, 1], covariance, rtol=1e-4)


def test_images_may_cancel_when_signs_are_kept():
    def odd(x):
        return x * jnp.abs(x[:, 4:5])

    def sign_of_first(x):
        return x * jnp.sign(x[:, :1])

    images = np.ones((2, 9, 1), np.float32)
    images[1] = -1
    assert analysis.effective_receptive_field(sign_of_first, images).map[4] == 1
    with pytest.raises(InputError, match="derivative 0"):
        analysis.effective_receptive_field(sign_of_first, images, kind="signed")
    signed = analysis.effective_receptive_field(odd, images[1:], unit=(2,), kind="signed").map
    np.testing.assert_allclose(signed, [0, 0, 0.5, 0, 0.5, 0, 0, 0, 0])


@pytest.mark.parametrize(("size", "stride"), repeated([(32, 2), (33, 1), (32, 1), (33, 2)], quick=2))
def test_the_middle_unit_is_centred_where_its_field_is(size, stride):
    def network(x):
        return stack(3, 3, 2)(ops.conv(x, jnp.ones((4, 4, 1, 1)), stride=stride, padding="valid"))

    image = RNG.normal(size=(1, size, size, 1)).astype(np.float32)
    field = analysis.effective_receptive_field(network, image)
    theory = analysis.receptive_field(network, image)
    assert field.unit == tuple((n - 1) // 2 for n in theory.units)
    np.testing.assert_allclose(field.center, theory.center(field.unit), atol=1e-3)
    # Of an odd map this is the middle of what is read; of an even one it is half a unit before.
    middle = (stride * (theory.units[0] - 1) + 3) / 2
    even = theory.units[0] % 2 == 0
    np.testing.assert_allclose(field.center, [middle - stride / 2 if even else middle] * 2, atol=1e-3)


def test_radius_counts_whole_pixels():
    kernel = np.zeros((5, 5))
    kernel[2, 2], kernel[2, 4], kernel[0, 2], kernel[4, 2], kernel[2, 0] = 0.6, 0.1, 0.1, 0.1, 0.1
    field = analysis.effective_receptive_field(stack(1, kernel=kernel), np.zeros((1, 9, 9, 1), np.float32))
    assert [field.radius(mass) for mass in (0.5, 0.6, 0.7, 1)] == [0, 0, 2, 2]
    for mass in (0, 1.5, -1):
        with pytest.raises(InputError, match=f"mass={mass}"):
            field.radius(mass)


def test_deep_stacks_are_gaussian():
    n = 24
    field = analysis.effective_receptive_field(stack(n, 3, 2), RNG.normal(size=(1, 51, 51, 1)).astype(np.float32))
    fit = field.gaussian()
    # The central limit theorem: the excess kurtosis of a uniform kernel of 3 is −3/2, of 24 of them −1/16.
    np.testing.assert_allclose(fit.sigma, [math.sqrt(16)] * 2, rtol=0.02)
    np.testing.assert_allclose(fit.center, (25, 25), atol=1e-3)
    np.testing.assert_allclose(fit.height, 1 / (2 * math.pi * 16), rtol=0.04)
    assert fit.r_squared > 0.999
    # The radius that holds 95 % of a Gaussian of two dimensions is σ √(−2 ln 0.05).
    assert abs(field.radius(0.95) - 4 * math.sqrt(-2 * math.log(0.05))) < 0.5
    one = analysis.effective_receptive_field(stack(n), signal(61))
    assert abs(one.radius(0.95) - 4 * norm.ppf(0.975)) < 0.6


def test_a_field_of_few_pixels_has_no_fit():
    field = analysis.effective_receptive_field(stack(1), signal(9))
    with pytest.raises(InputError, match="3 pixels"):
        field.gaussian()


def test_channels_add_up_or_are_chosen():
    def network(x):
        return jnp.concatenate([ops.conv(x, jnp.ones((3, 1, 1))), x, -x], -1)

    both = analysis.effective_receptive_field(network, signal(9)).map
    np.testing.assert_allclose(both[3:6], [1 / 3] * 3, rtol=1e-6)
    chosen = analysis.effective_receptive_field(network, signal(9), unit=(4, 1)).map
    assert chosen[4] == 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_dtypes(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        images = jnp.asarray(signal(21), dtype)
        field = analysis.effective_receptive_field(stack(4), images)
    assert field.map.dtype == np.float64
    np.testing.assert_allclose(field.sigma[0] ** 2, 4 * 8 / 12, rtol=2e-2 if dtype == jnp.bfloat16 else 1e-5)


@pytest.mark.usefixtures("without_type_checks")
def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="kind='mean' is unknown"):
        analysis.effective_receptive_field(lambda x: x, signal(5), kind="mean")


def test_what_has_no_field_is_refused():
    with pytest.raises(InputError, match="derivative 0"):
        analysis.effective_receptive_field(lambda x: jnp.sign(x), signal(5))
    with pytest.raises(InputError, match="not finite"):
        analysis.effective_receptive_field(lambda x: jnp.sqrt(x * 0), signal(5))
