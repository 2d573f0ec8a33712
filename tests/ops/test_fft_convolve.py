import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
import scipy.signal
from conv_cases import PADDINGS, assert_close, cases, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from cnnjax import InputError, ops


@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
@settings(deadline=None, max_examples=5)
@pytest.mark.parametrize("padding", PADDINGS)
def test_it_agrees_with_convolve_and_with_loops(padding, data, dtype):
    case = data.draw(cases(padding, strides=(1, 1), dilations=(1, 1), max_window=6))
    padding, groups = case.options["padding"], case.options["groups"]

    @jax.jit
    def both(x, kernel):
        fast = ops.fft_convolve(x, kernel, padding=padding, groups=groups)
        return fast, ops.convolve(x, kernel, padding=padding, groups=groups)

    with jax.enable_x64(dtype == np.float64):
        x, kernel = normal(case.x_shape, dtype=dtype), normal(case.kernel_shape, 1, dtype)
        fast, slow = both(x, kernel)
        flipped = np.flip(np.asarray(kernel), axis=tuple(range(kernel.ndim - 2)))
        assert_close(fast, slow, dtype)
        assert_close(fast, numpy_loops.conv(np.asarray(x), flipped, **case.options), dtype)


def test_the_theorem():
    """The spectrum of a circular convolution is the product of the spectra, summed over channels."""
    with jax.enable_x64(True):
        x, kernel = normal((1, 8, 6, 3), dtype=np.float64), normal((3, 5, 3, 1), 1, np.float64)
        y = np.asarray(ops.fft_convolve(x, kernel, padding="circular"))[0, ..., 0]
    spectra = np.fft.fft2(x[0], axes=(0, 1)) * np.fft.fft2(kernel[..., 0], s=(8, 6), axes=(0, 1))
    # The window is centred on the pixel it makes, the theorem's ends there.
    np.testing.assert_allclose(np.fft.fft2(np.roll(y, (1, 2), (0, 1))), spectra.sum(-1), rtol=0, atol=1e-12)


def test_a_kernel_larger_than_a_circular_map_wraps_around():
    with jax.enable_x64(True):
        x, kernel = normal((1, 5, 1), dtype=np.float64), normal((13, 1, 1), 1, np.float64)
        y = ops.fft_convolve(x, kernel, padding="circular").ravel()
    x, kernel = np.ravel(x), np.ravel(kernel)
    expected = [sum(kernel[j] * x[(i + 6 - j) % 5] for j in range(13)) for i in range(5)]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(64, 5), (31, 31)])
def test_full_is_scipys(size):
    x, kernel = normal((40, 37)), normal(size, 1)
    y = ops.fft_convolve(x[None, ..., None], kernel[..., None, None])[0, ..., 0]
    expected = scipy.signal.fftconvolve(np.asarray(x, np.float64), np.asarray(kernel, np.float64))
    # The bound that its docstring states.
    epsilon = np.finfo(np.float32).eps
    assert np.abs(y - expected).max() <= epsilon * np.linalg.norm(x) * np.linalg.norm(kernel)


@pytest.mark.parametrize("padding", ["full", "circular", "reflect"])
def test_gradients_forward_and_reverse_eager_and_jitted(padding):
    def op(x, kernel):
        return ops.fft_convolve(x, kernel, padding=padding, groups=2)

    with jax.enable_x64(True):
        x, kernel = normal((2, 5, 4, 2), dtype=np.float64), normal((3, 4, 1, 4), 1, np.float64)
        check_grads(jax.jit(op), (x, kernel), order=1, modes=("fwd", "rev"))
        np.testing.assert_allclose(op(x, kernel), jax.jit(op)(x, kernel), rtol=0, atol=1e-13)


def test_leading_axes_come_through_vmap():
    x, kernels = normal((3, 2, 6, 1)), normal((3, 3, 1, 2), 1)
    together = jax.vmap(ops.fft_convolve)(x, kernels)
    np.testing.assert_allclose(
        together, np.stack([ops.convolve(a, w, padding="full") for a, w in zip(x, kernels, strict=True)]), atol=1e-5
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_once(dtype):
    x, kernel = normal((2, 8, 8, 4)).astype(dtype), normal((3, 3, 4, 5), 1).astype(dtype)
    half = ops.fft_convolve(x, kernel)
    exact = ops.convolve(x.astype(jnp.float32), kernel.astype(jnp.float32), padding="full")
    assert half.dtype == dtype
    np.testing.assert_allclose(half.astype(jnp.float32), exact, rtol=float(jnp.finfo(dtype).eps) / 2, atol=2e-5)


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
