import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
import scipy.signal
from conv_cases import PADDINGS_AND_DTYPES, assert_close, cases, normal
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients

jitted = jax.jit(ops.fft_convolve, static_argnames=("padding", "groups"))


@given(data=st.data())
@drawn_cases(3)
@pytest.mark.parametrize(("padding", "dtype"), PADDINGS_AND_DTYPES)
def test_it_agrees_with_loops(padding, dtype, data):
    case = data.draw(cases(padding, strides=(1, 1), dilations=(1, 1), max_window=6))
    padding, groups = case.options["padding"], case.options["groups"]

    with jax.enable_x64(dtype == np.float64):
        x, kernel = normal(case.x_shape, dtype=dtype), normal(case.kernel_shape, 1, dtype)
        fast = jax.jit(lambda x, w: ops.fft_convolve(x, w, padding=padding, groups=groups))(x, kernel)
        flipped = np.flip(np.asarray(kernel), axis=tuple(range(kernel.ndim - 2)))
        assert_close(fast, numpy_loops.conv(np.asarray(x), flipped, **case.options), dtype)


def test_the_theorem():
    """The spectrum of a circular convolution is the product of the spectra, summed over channels."""
    with jax.enable_x64(True):
        x, kernel = normal((1, 8, 6, 3), dtype=np.float64), normal((3, 5, 3, 1), 1, np.float64)
        y = np.asarray(jitted(x, kernel, padding="circular"))[0, ..., 0]
    x, kernel = np.asarray(x), np.asarray(kernel)
    spectra = np.fft.fft2(x[0], axes=(0, 1)) * np.fft.fft2(kernel[..., 0], s=(8, 6), axes=(0, 1))
    # The window is centred on the pixel it makes, the theorem's ends there.
    np.testing.assert_allclose(np.fft.fft2(np.roll(y, (1, 2), (0, 1))), spectra.sum(-1), rtol=0, atol=1e-12)


def test_a_kernel_larger_than_a_circular_map_wraps_around():
    with jax.enable_x64(True):
        x, kernel = normal((1, 5, 1), dtype=np.float64), normal((13, 1, 1), 1, np.float64)
        y = np.ravel(jitted(x, kernel, padding="circular"))
    x, kernel = np.ravel(x), np.ravel(kernel)
    expected = [sum(kernel[j] * x[(i + 6 - j) % 5] for j in range(13)) for i in range(5)]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(64, 5), (31, 31)])
def test_full_is_scipys(size):
    x, kernel = np.asarray(normal((40, 37))), np.asarray(normal(size, 1))
    y = np.asarray(jitted(x[None, ..., None], kernel[..., None, None]))[0, ..., 0]
    expected = scipy.signal.fftconvolve(x.astype(np.float64), kernel.astype(np.float64))
    # The bound that its docstring states.
    epsilon = np.finfo(np.float32).eps
    assert np.abs(y - expected).max() <= epsilon * np.linalg.norm(x) * np.linalg.norm(kernel)


@pytest.mark.parametrize("padding", ["full", "circular", "reflect"])
def test_gradients_forward_and_reverse(padding):
    with jax.enable_x64(True):
        x, kernel = normal((2, 5, 4, 2), dtype=np.float64), normal((3, 4, 1, 4), 1, np.float64)
        op = functools.partial(jitted, padding=padding, groups=2)
        check_gradients(op, (x, kernel))


def test_eager_is_jitted():
    with jax.enable_x64(True):
        x, kernel = normal((2, 5, 4, 2), dtype=np.float64), normal((3, 4, 1, 4), 1, np.float64)
        eager = ops.fft_convolve(x, kernel, padding="reflect", groups=2)
        np.testing.assert_allclose(eager, jitted(x, kernel, padding="reflect", groups=2), rtol=0, atol=1e-13)


def test_leading_axes_come_through_vmap():
    x, kernels = normal((3, 2, 6, 1)), normal((3, 3, 1, 2), 1)
    together = jax.jit(jax.vmap(ops.fft_convolve))(x, kernels)
    apart = [jitted(a, w) for a, w in zip(np.asarray(x), np.asarray(kernels), strict=True)]
    np.testing.assert_allclose(together, np.stack(apart), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_once(dtype):
    x, kernel = normal((2, 8, 8, 4), dtype=dtype), normal((3, 3, 4, 5), 1, dtype)
    half = jitted(x, kernel)
    wide = [np.asarray(a, np.float32) for a in (x, kernel)]
    exact = jax.jit(lambda x, w: ops.convolve(x, w, padding="full"))(*wide)
    assert half.dtype == dtype
    np.testing.assert_allclose(np.asarray(half, np.float32), exact, rtol=float(jnp.finfo(dtype).eps) / 2, atol=2e-5)


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((1, 6, 6, 3), (3, 3, 2, 4), {}, r"x has 3 channels, but kernel of shape \(3, 3, 2, 4\) reads 2"),
        ((1, 6, 6, 3), (3, 3, 4), {}, r"kernel has shape \(3, 3, 4\); a signal needs"),
        ((1, 6, 6, 4), (3, 3, 2, 3), {"groups": 2}, r"groups=2 must be a positive int that divides kernel's 3 outputs"),
        ((1, 6, 1), (7, 1, 1), {"padding": "valid"}, r"the window spans 7 positions, more than the 6"),
        ((1, 6, 1), (3, 1, 1), {"padding": "wrap"}, r"padding='wrap' is unknown"),
    ],
)
def test_errors_name_the_value_and_the_remedy(x, kernel, options, message):
    with pytest.raises(InputError, match=message):
        ops.fft_convolve(jnp.ones(x), jnp.ones(kernel), **options)
