import math

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, signal

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients

blur_pool = jax.jit(ops.blur_pool, static_argnames=("taps", "stride", "padding"))
max_blur_pool = jax.jit(ops.max_blur_pool, static_argnames=("window", "taps", "stride", "padding"))


def draw(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def binomial(taps):
    """(1, 1) / 2 convolved with itself."""
    weights = np.ones(1)
    for _ in range(taps - 1):
        weights = np.convolve(weights, [0.5, 0.5])
    return weights


@given(
    shape=st.sampled_from([(2, 9, 2), (1, 8, 3), (1, 8, 9, 2), (2, 7, 8, 1)]),
    taps=st.integers(2, 7),
    stride=st.integers(1, 4),
)
@drawn_cases(4)
@pytest.mark.parametrize(("padding", "mode"), [("same", "constant"), ("circular", "wrap"), ("reflect", "mirror")])
def test_against_scipy(shape, taps, stride, padding, mode):
    x = draw(shape)
    expected = x
    for axis in range(1, len(shape) - 1):
        # SciPy's window of even size starts one place earlier.
        origin = (taps - 1) // 2 - taps // 2
        expected = ndimage.correlate1d(expected, binomial(taps), axis=axis, mode=mode, origin=origin)
        expected = np.take(expected, np.arange(0, shape[axis], stride), axis)
    with jax.enable_x64(True):
        y = blur_pool(x, taps=taps, stride=stride, padding=padding)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("padding", ["valid", "full", "same_xla", 2, ((1, 0), (0, 3))])
@pytest.mark.parametrize(("taps", "stride"), [(3, (2, 1)), (4, (1, 3))])
def test_other_paddings_against_convolve2d(padding, taps, stride):
    x = draw((1, 7, 8, 1), dtype=np.float32)
    pairs = padding
    if not isinstance(padding, tuple):
        pairs = [numpy_loops.amounts(padding, n, taps, s, 1) for n, s in zip((7, 8), stride, strict=True)]
    full = signal.convolve2d(np.pad(x[0, :, :, 0], pairs), np.outer(binomial(taps), binomial(taps)), mode="valid")
    y = blur_pool(x, taps=taps, stride=stride, padding=padding)
    np.testing.assert_allclose(y[0, :, :, 0], full[:: stride[0], :: stride[1]], atol=1e-6)


@pytest.mark.parametrize("taps", range(2, 8))
def test_taps_are_binomial(taps):
    impulse = jnp.zeros((1, 15, 1)).at[0, 7, 0].set(1.0)
    y = blur_pool(impulse, taps=taps, stride=1, padding="valid").ravel()
    weights = [math.comb(taps - 1, j) / 2 ** (taps - 1) for j in range(taps)]
    np.testing.assert_array_equal(y[y > 0], weights)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("taps", [2, 3, 4, 7])
class TestTheMeanOfTheMap:
    def test_is_kept_at_stride_2_on_circular_maps_of_even_size(self, taps, dtype, tolerance):
        x = draw((2, 8, 14, 3), dtype=dtype)
        with jax.enable_x64(True):
            y = blur_pool(x, taps=taps, padding="circular")
            np.testing.assert_allclose(y.mean((1, 2)), x.mean((1, 2)), rtol=0, atol=tolerance)

    def test_does_not_see_any_circular_shift(self, taps, dtype, tolerance):
        x = draw((1, 8, 8, 3), dtype=dtype)
        shifted = np.concatenate([np.roll(x, (i, j), (1, 2)) for i in range(-3, 4) for j in range(-3, 4)])
        with jax.enable_x64(True):
            means = ops.global_avg_pool(blur_pool(shifted, taps=taps, padding="circular"))
        np.testing.assert_allclose(means, np.broadcast_to(means[:1], means.shape), rtol=0, atol=tolerance)


@pytest.mark.parametrize("options", [{"stride": 3, "padding": "circular"}, {"padding": "same"}])
@pytest.mark.parametrize("taps", [3, 4])
def test_the_mean_is_not_kept_at_larger_strides_nor_where_zeros_come_in(taps, options):
    x = draw((2, 12, 12, 3), dtype=np.float32) + np.float32(1)
    assert np.abs(blur_pool(x, taps=taps, **options).mean((1, 2)) - x.mean((1, 2))).max() > 1e-2


@pytest.mark.parametrize("taps", [3, 4])
def test_constants_stay_but_where_zeros_come_in(taps):
    x = jnp.ones((1, 8, 8, 1))
    for padding in ("reflect", "circular", "valid"):
        np.testing.assert_array_equal(blur_pool(x, taps=taps, padding=padding), 1)
    assert blur_pool(x, taps=taps, padding="same")[0, 0, 0, 0] < 1


@pytest.mark.parametrize(("rank", "options"), [(1, {"taps": 4, "stride": 3}), (2, {"padding": "circular"})])
def test_gradients_and_vmap(rank, options):
    with jax.enable_x64(True):
        x = jnp.asarray(draw((3, 2, *(6, 8)[:rank], 2)))
        pool = jax.jit(lambda x: ops.blur_pool(x, **options))
        check_gradients(pool, (x[0],))
        np.testing.assert_allclose(jax.vmap(pool)(x), np.stack(list(map(pool, x))), atol=1e-15)


def test_bfloat16_is_kept_and_summed_in_float32():
    x = jnp.full((1, 16, 1), 0.1, jnp.bfloat16)
    y = blur_pool(x, taps=7)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, x[:, :8])
    assert max_blur_pool(x, window=2).dtype == jnp.bfloat16


class TestMaxBlurPool:
    @pytest.mark.parametrize(("padding", "mode"), [("circular", "wrap"), ("reflect", "reflect")])
    @pytest.mark.parametrize(("window", "taps", "stride"), [(2, 3, 2), (3, 3, 2), (3, 4, 2), (2, 5, 3)])
    def test_is_the_maximum_then_the_blur(self, padding, mode, window, taps, stride):
        x = draw((1, 8, 10, 2), dtype=np.float32)
        around = ((window - 1) // 2, window // 2)
        wide = np.pad(x, ((0, 0), around, around, (0, 0)), mode=mode)
        dense = np.lib.stride_tricks.sliding_window_view(wide, (window, window), (1, 2)).max((-1, -2))
        for axis in (1, 2):
            dense = ndimage.correlate1d(
                dense,
                binomial(taps),
                axis=axis,
                mode={"wrap": "wrap", "reflect": "mirror"}[mode],
                origin=(taps - 1) // 2 - taps // 2,
            )
        y = max_blur_pool(x, window=window, taps=taps, stride=stride, padding=padding)
        np.testing.assert_allclose(y, dense[:, ::stride, ::stride], atol=1e-6)

    def test_halves_as_zhangs_and_differs_in_the_last_position_alone(self):
        x = jnp.asarray(draw((1, 10, 12, 2), dtype=np.float32))
        ours = max_blur_pool(x, window=2)
        theirs = ops.blur_pool(ops.max_pool(x, 2, stride=1), taps=3, padding="reflect")
        assert ours.shape == theirs.shape == (1, 5, 6, 2)
        np.testing.assert_allclose(ours[:, :-1, :-1], theirs[:, :-1, :-1], atol=1e-6)
        assert np.abs(ours - theirs)[:, -1].max() > 0.1
        assert np.abs(ours - theirs)[:, :, -1].max() > 0.1

    def test_signals(self):
        x = jnp.asarray([0.0, 4.0, 0.0, 0.0, 8.0, 0.0]).reshape(1, 6, 1)
        # Maxima 4 4 0 8 8 0, then (1, 2, 1) / 4 around the first, third and fifth.
        np.testing.assert_array_equal(ops.max_blur_pool(x, 2, padding="circular").ravel(), [3, 3, 6])


@pytest.mark.parametrize("taps", [1, 8, 0, -3])
def test_other_taps_are_refused(taps):
    for op in (ops.blur_pool, lambda x, **options: ops.max_blur_pool(x, 2, **options)):
        with pytest.raises(InputError, match=rf"taps={taps} must be an int from 2 to 7"):
            op(jnp.ones((1, 16, 1)), taps=taps)


def test_taps_that_are_no_int_are_refused(without_type_checks):
    with pytest.raises(InputError, match=r"taps=3.0 must be an int from 2 to 7"):
        ops.blur_pool(jnp.ones((1, 16, 1)), taps=3.0)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 2, 1), {"taps": 7}, r"padding='reflect' needs 3 positions beyond the border, but the map has only 2"),
        ((1, 8, 8, 1), {"stride": 0}, r"stride=0 must be a positive int"),
        ((1, 8, 8, 1), {"padding": "zero"}, r"padding='zero' is unknown; use one of valid"),
        ((8, 8), {}, r"x has shape \(8, 8\); expected"),
    ],
)
def test_errors_name_the_value_and_the_remedy(shape, options, message):
    with pytest.raises(InputError, match=message):
        ops.blur_pool(jnp.ones(shape), **options)


def test_integers_are_refused():
    with pytest.raises(InputError, match=r"x is uint8; pooling needs floating point"):
        ops.blur_pool(jnp.ones((1, 4, 4, 1), jnp.uint8))
