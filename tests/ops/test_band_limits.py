"""Ideal resampling against NumPy's and SciPy's transforms; pools and nonlinearities commute with every real shift."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal

from cnnjax import InputError, ops
from tests.gradients import check_gradients

resample = jax.jit(ops.fourier_resample, static_argnames="size")
pool = jax.jit(ops.alias_free_pool, static_argnames="stride")
apply = jax.jit(ops.alias_free, static_argnames=("function", "factor"))
SHAPES = [(2, 7, 3), (2, 8, 1), (1, 6, 8, 2), (2, 5, 9, 1), (1, 2, 3, 2), (1, 1, 4, 1)]


def square(x):
    return 0.3 + x / 2 - x**2


def cube(x):
    return square(x) + x**3 / 5


def fourth(x):
    return x**4


def draw(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def band(n, m):
    """Frequencies below the Nyquist frequency of both grids."""
    return [k for k in range(-n, n) if abs(k) < min(n, m) / 2]


def points(n, m):
    """Where the middle of each of m equal parts of n pixels lies."""
    return (np.arange(m) + 0.5) * n / m - 0.5


def shifted(x, offset):
    """By SciPy's phases, of maps without the Nyquist frequency."""
    spectrum = np.fft.fftn(x, axes=range(1, x.ndim - 1))
    return np.fft.ifftn(ndimage.fourier_shift(spectrum, (0, *offset, 0)), axes=range(1, x.ndim - 1)).real


@pytest.mark.parametrize(("n", "m"), [(7, 12), (8, 16), (8, 12), (9, 4), (12, 6), (6, 3), (5, 5), (4, 2), (3, 1)])
def test_resampling_is_the_band_limited_signal_at_the_new_points(n, m):
    x = draw((2, n, 3))
    spectrum = np.fft.fft(x, axis=1)
    waves = [np.exp(2j * np.pi * k * points(n, m) / n)[None, :, None] * spectrum[:, [k]] / n for k in band(n, m)]
    with jax.enable_x64(True):
        y = resample(x, size=m)
    np.testing.assert_allclose(y, sum(waves).real, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("n", "m"), [(7, 12), (8, 16), (9, 4), (12, 5)])
def test_resampling_is_scipys_but_for_where_its_first_point_lies(n, m):
    phases = 2 * np.pi * np.arange(n) / n
    x = sum(np.cos(k * phases - a) for k, a in zip(range(min(n, m) // 2 + min(n, m) % 2), range(9), strict=False))
    x = x[None, :, None]
    expected = signal.resample(shifted(x, (-points(n, m)[0],)), m, axis=1)
    with jax.enable_x64(True):
        np.testing.assert_allclose(resample(x, size=m), expected, rtol=0, atol=1e-13)


def test_images_are_resampled_along_one_axis_after_the_other():
    x = draw((2, 6, 7, 2))
    with jax.enable_x64(True):
        columns = resample(x.reshape(2, 6, 14), size=9).reshape(2, 9, 7, 2)
        rows = resample(np.moveaxis(columns, 2, 1).reshape(2, 7, 18), size=4)
        expected = np.moveaxis(np.asarray(rows).reshape(2, 4, 9, 2), 1, 2)
        np.testing.assert_allclose(resample(x, size=(9, 4)), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_pools_and_polynomials_commute_with_shifts_by_any_part_of_a_pixel(shape):
    space = np.array(shape[1:-1])
    offset = np.array((0.5, -1.37))[: len(space)]
    x = draw(shape)  # with its Nyquist frequency, where it has one
    with jax.enable_x64(True):
        moved = np.asarray(ops.fourier_shift(x, offset))
        halved = -(-space // 2)
        cases = [
            (pool(moved), pool(x), offset * halved / space),
            (resample(moved, size=5), resample(x, size=5), offset * 5 / space),
            (apply(moved, square, factor=1.5), apply(x, square, factor=1.5), offset),
            (apply(moved, cube), apply(x, cube), offset),
        ]
    for of_moved, y, by in cases:
        np.testing.assert_allclose(of_moved, shifted(y, by), rtol=0, atol=2e-13)


def test_what_a_grid_too_coarse_folds_back_does_not_move_along():
    x = draw((4, 9, 1))

    def error(function, factor, by=0.3):
        y, of_moved = (apply(maps, function, factor=factor) for maps in (x, ops.fourier_shift(x, (by,))))
        return np.abs(of_moved - shifted(y, (by,))).mean()

    with jax.enable_x64(True):
        for function, coarse, fine in ((square, 1, 1.5), (cube, 1.5, 2), (fourth, 2, 2.5)):
            assert error(function, coarse) > 1e-2
            assert error(function, fine) < 1e-12
        # On a grid twice as fine half a pixel is one point.
        assert error(jax.nn.relu, 2, by=0.5) < 1e-12
        rectified = [error(jax.nn.relu, factor) for factor in (1, 3, 9, 27)]
    # A kink makes frequencies that fall off as 1 / k²: the finer the grid, the less is folded back.
    assert all(finer < 0.5 * coarser for coarser, finer in itertools.pairwise(rectified))
    assert rectified[-1] > 1e-6


@pytest.mark.parametrize("n", [6, 7])
def test_a_square_is_the_convolution_of_the_spectrum_with_itself(n):
    x = draw((n,))
    most = (n - 1) // 2
    spectrum = np.array([np.fft.fft(x)[k] / n for k in range(-most, most + 1)])
    middle = np.convolve(spectrum, spectrum)[most:-most] if most else spectrum**2
    expected = sum(
        c * np.exp(2j * np.pi * k * np.arange(n) / n) for k, c in zip(range(-most, most + 1), middle, strict=True)
    )
    with jax.enable_x64(True):
        y = apply(x[None, :, None], jnp.square, factor=1.5)
    np.testing.assert_allclose(np.ravel(y), expected.real, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(1, 5, 5, 2), (1, 6, 6, 1)])
def test_mirror_images_and_quarter_turns_commute(shape):
    x = draw(shape)
    with jax.enable_x64(True):
        for move in (lambda x: np.flip(x, 1), lambda x: np.rot90(x, axes=(1, 2))):
            for op in (pool, functools.partial(resample, size=9), functools.partial(apply, function=jax.nn.relu)):
                np.testing.assert_allclose(op(move(x)), move(op(x)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [4, 5])
def test_all_but_the_nyquist_frequency_is_kept(n):
    x = draw((3, n, 2))
    alternating = (-1.0) ** np.arange(n)[None, :, None]
    nyquist = (x * alternating).mean(1, keepdims=True) * alternating if n % 2 == 0 else 0
    with jax.enable_x64(True):
        for back in (apply(x, lambda x: x), resample(np.asarray(resample(x, size=11)), size=n)):
            np.testing.assert_allclose(back, x - nyquist, rtol=0, atol=1e-14)


def test_a_map_of_two_becomes_its_mean():
    x = draw((1, 4, 3), dtype=np.float32)
    np.testing.assert_allclose(pool(x), np.broadcast_to(x.mean(1, keepdims=True), (1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    "op",
    [functools.partial(ops.alias_free_pool, stride=(2, 3)), functools.partial(ops.alias_free, function=jnp.tanh)],
)
def test_gradients(op):
    with jax.enable_x64(True):
        check_gradients(op, (draw((1, 4, 5, 2)),), atol=1e-5, rtol=1e-5)


def test_narrow_floats_are_worked_in_float32():
    x = jnp.asarray(draw((1, 6, 6, 1)), jnp.bfloat16)
    wide = pool(x.astype(jnp.float32))
    assert pool(x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(pool(x), wide.astype(jnp.bfloat16))
    seen = []
    jax.eval_shape(lambda x: ops.alias_free(x, lambda y: seen.append(y.dtype) or y), x)
    assert seen == [jnp.float32]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.fourier_resample(x, size=0), r"size=0 must be a positive int"),
        (lambda x: ops.fourier_resample(x, size=(4, 4, 4)), r"size=\(4, 4, 4\) must be a positive int, or 2 of them"),
        (lambda x: ops.fourier_resample(x, size=10**9), r"size=1000000000 is more than 65536 points along an axis"),
        (lambda x: ops.alias_free_pool(x, stride=-1), r"stride=-1 must be a positive int"),
        (lambda x: ops.alias_free_pool(x[0, 0, 0]), r"x has shape \(1,\)"),
        (lambda x: ops.alias_free_pool(x.astype(int)), r"x is int.*between its pixels are fractions"),
        (lambda x: ops.alias_free(x, jnp.abs, factor=0.5), r"factor=0.5 must be a number from 1 to 64"),
        (lambda x: ops.alias_free(x, jnp.abs, factor=1e30), r"factor=1e\+30 must be a number from 1 to 64"),
        (lambda x: ops.alias_free(x, jnp.sum), r"function gave float32\[\] for float32\[1,1,8,8\]"),
        (lambda x: ops.alias_free(x, lambda x: x > 0), r"function gave bool\[1,1,8,8\]"),
        (lambda x: ops.alias_free(x, lambda x: None), r"function gave None"),
        (lambda x: ops.alias_free(x, 3), r"function=3 must be a function"),
    ],
)
def test_what_is_refused(call, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        call(jnp.ones((1, 4, 4, 1)))
