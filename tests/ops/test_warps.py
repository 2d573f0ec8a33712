import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients
from tests.repeats import repeated

FILLS = ["zero", "circular", "reflect"]


def draw(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


jitted_shift = jax.jit(ops.shift, static_argnames="fill")
jitted_fourier_shift = jax.jit(ops.fourier_shift)
jitted_rotate = jax.jit(ops.rotate, static_argnames=("fill", "order"))


class TestShift:
    @given(
        shape=st.sampled_from([(2, 6, 3), (3, 5, 4, 2), (1, 1, 7, 1)]),
        fill=st.sampled_from(FILLS),
        each=st.booleans(),
        data=st.data(),
    )
    @drawn_cases(12)
    def test_against_loops(self, shape, fill, each, data):
        spatial = len(shape) - 2
        offset = st.lists(st.integers(-20, 20), min_size=spatial, max_size=spatial)
        offsets = data.draw(st.lists(offset, min_size=shape[0], max_size=shape[0]) if each else offset)
        offsets = np.asarray(offsets, np.int32)
        x = draw(shape)
        expected = numpy_loops.shift(np.asarray(x), np.broadcast_to(offsets, (shape[0], spatial)), fill)
        np.testing.assert_array_equal(jitted_shift(x, offsets, fill=fill), expected)

    @pytest.mark.parametrize("fill", FILLS)
    def test_eager_is_jitted(self, fill):
        x, offsets = jnp.asarray(draw((3, 5, 4, 2))), ((2, -1), (0, 7), (-9, 3))
        eager = ops.shift(x, offsets, fill=fill)
        np.testing.assert_array_equal(eager, jitted_shift(x, np.asarray(offsets, np.int32), fill=fill))

    @pytest.mark.parametrize("offset", [(0, 0), (1, -2), (-9, 40)])
    def test_circular_is_numpy_roll(self, offset):
        x = draw((2, 6, 5, 3))
        y = jitted_shift(x, np.asarray(offset, np.int32), fill="circular")
        np.testing.assert_array_equal(y, np.roll(x, offset, (1, 2)))

    @pytest.mark.parametrize(
        ("dtype", "fill"), [("uint8", "zero"), ("bool", "circular"), ("bfloat16", "reflect"), ("int32", "zero")]
    )
    def test_any_dtype(self, dtype, fill):
        x = (draw((1, 6, 1)) > 0).astype(dtype)
        y = jitted_shift(x, np.asarray([2], np.int8), fill=fill)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y[0, 2:], x[0, :-2])

    def test_vmap_over_images_and_offsets(self):
        x, offsets = draw((4, 5, 6, 1)), np.asarray([[0, 1], [-2, 3], [5, -6], [1, 1]], np.int32)
        for fill in FILLS:
            mapped = jax.jit(jax.vmap(lambda x, o, fill=fill: ops.shift(x[None], o, fill=fill)[0]))(x, offsets)
            np.testing.assert_array_equal(mapped, jitted_shift(x, offsets, fill=fill))

    @pytest.mark.parametrize(
        ("fill", "offset"), [("zero", ((3, 0), (-1, 7))), ("circular", (1, -2)), ("reflect", ((3, 0), (-1, 7)))]
    )
    def test_gradients_in_the_image(self, fill, offset):
        with jax.enable_x64(True):
            x = draw((2, 4, 5, 1), dtype=np.float64)
            check_gradients(jax.jit(lambda x: ops.shift(x, offset, fill=fill)), (x,))


class TestFourierShift:
    @pytest.mark.parametrize("n", [12, 13])
    @pytest.mark.parametrize("offset", [0.5, -3.3, 17.0])
    def test_moves_a_band_limited_signal_as_its_formula_does(self, n, offset):
        rng = np.random.default_rng(0)
        waves = [(k, rng.normal(), rng.uniform(0, 2 * np.pi)) for k in range((n + 1) // 2)]

        def signal(i):
            return sum(a * np.cos(2 * np.pi * k * i / n + phase) for k, a, phase in waves)

        x = signal(np.arange(n)).astype(np.float32)[None, :, None]
        y = jitted_fourier_shift(x, np.asarray([offset], np.float32))
        np.testing.assert_allclose(y[0, :, 0], signal(np.arange(n) - offset), atol=1e-5)

    @pytest.mark.parametrize("shape", [(7, 10), (8, 9)])
    def test_moves_plane_waves_in_two_dimensions_each_image_by_its_own(self, shape):
        i, j = np.meshgrid(*map(np.arange, shape), indexing="ij")
        offsets = np.asarray([[0.25, -1.5], [3.7, 2.2], [-0.6, 0.0]], np.float32)

        def wave(i, j):
            return np.cos(2 * np.pi * (2 * i / shape[0] - 3 * j / shape[1]) + 0.3) + np.sin(2 * np.pi * i / shape[0])

        x = np.broadcast_to(wave(i, j), (3, *shape)).astype(np.float32)[..., None]
        expected = np.stack([wave(i - a, j - b) for a, b in offsets])
        y = jitted_fourier_shift(x, offsets)
        np.testing.assert_allclose(y[..., 0], expected, atol=1e-5)
        for image in range(3):
            alone = jitted_fourier_shift(x[image : image + 1], offsets[image])
            np.testing.assert_allclose(alone[0, ..., 0], expected[image], atol=1e-5)

    @pytest.mark.parametrize("offset", [0.25, 1.0, 2.5])
    def test_nyquist_frequency_stays_real(self, offset):
        alternating = np.asarray([1, -1] * 4, np.float32)
        y = jitted_fourier_shift(alternating[None, :, None], np.asarray([offset], np.float32))
        np.testing.assert_allclose(y[0, :, 0], np.cos(np.pi * offset) * alternating, atol=1e-6)
        board = alternating[:, None] * alternating[None]
        y = jitted_fourier_shift(board[None, ..., None], np.asarray([offset, 0.25], np.float32))
        np.testing.assert_allclose(y[0, ..., 0], np.cos(np.pi * offset) * np.cos(np.pi / 4) * board, atol=1e-6)

    @pytest.mark.parametrize("shape", [(2, 8, 1), (2, 7, 8, 2)])
    def test_whole_pixels_are_a_roll_to_rounding(self, shape):
        with jax.enable_x64(True):
            x = draw(shape, dtype=np.float64)
            axes = tuple(range(1, len(shape) - 1))
            for pixels in (1, -3, 100):
                y = jitted_fourier_shift(x, np.full(len(axes), pixels))
                np.testing.assert_allclose(y, np.roll(x, pixels, axes), atol=1e-13)

    def test_many_times_round_stays_as_exact(self):
        x = draw((1, 8, 1))
        y = jitted_fourier_shift(x, np.asarray([8003], np.float32))
        np.testing.assert_allclose(y, np.roll(x, 8003, 1), atol=2e-6)

    def test_white_noise_comes_back_on_odd_maps(self):
        x = draw((1, 9, 11, 1))
        offset = np.asarray([0.3, -2.6], np.float32)
        there = jitted_fourier_shift(x, offset)
        np.testing.assert_allclose(jitted_fourier_shift(there, -offset), x, atol=1e-5)

    @pytest.mark.parametrize(
        ("shape", "window", "dilation"), [((2, 7, 1), (3,), 2), ((2, 8, 1), (4,), 1), ((1, 7, 8, 2), (3, 2), 2)]
    )
    def test_commutes_with_circular_convolution_on_odd_and_even_maps(self, shape, window, dilation):
        """Both multiply the spectrum, so any real offset will do, and the Nyquist frequency of an even map too."""
        with jax.enable_x64(True):
            x = draw(shape, dtype=np.float64)
            kernel = draw((*window, shape[-1], 3), seed=1, dtype=np.float64)
            offset = (0.37, -2.81)[: len(window)]

            @jax.jit
            def program(x, kernel):
                def blur(x):
                    return ops.conv(x, kernel, padding="circular", dilation=dilation)

                still = blur(x)
                moved = ops.fourier_shift(still, offset)
                return still, moved, blur(ops.fourier_shift(x, offset))

            still, moved, together = map(np.asarray, program(x, kernel))
            np.testing.assert_allclose(together, moved, atol=1e-12)
            assert np.abs(moved - still).max() > 0.1

    @pytest.mark.parametrize("n", [7, 8])
    def test_two_shifts_are_one_but_for_the_nyquist_frequency(self, n):
        """There the factors are cosines: cos(πa) cos(πb) is cos(π(a + b)) plus sin(πa) sin(πb)."""
        with jax.enable_x64(True):
            x = draw((1, n, 1), dtype=np.float64)
            a, b = 0.3, 0.45
            twice = x
            for offset in (a, b):
                twice = jitted_fourier_shift(twice, np.asarray([offset]))
            once = jitted_fourier_shift(x, np.asarray([a + b]))
            alternating = (-1.0) ** np.arange(n)
            amplitude = alternating @ x[0, :, 0] / n if n % 2 == 0 else 0
            expected = np.sin(np.pi * a) * np.sin(np.pi * b) * amplitude * alternating
            np.testing.assert_allclose((np.asarray(twice) - np.asarray(once))[0, :, 0], expected, atol=1e-12)

    @pytest.mark.parametrize(("shape", "offset"), [((2, 6, 1), (1,)), ((2, 5, 4, 1), (2, 2))])
    def test_gradients_in_image_and_offset(self, shape, offset):
        with jax.enable_x64(True):
            f = jax.jit(lambda x, o: ops.fourier_shift(x, o))
            arrays = draw(shape, dtype=np.float64), draw(offset, seed=1, dtype=np.float64)
            check_gradients(f, arrays)

    def test_bfloat16(self):
        x = draw((1, 8, 1), dtype=jnp.bfloat16)
        y = jitted_fourier_shift(x, np.ones(1, np.float32))
        assert y.dtype == jnp.bfloat16
        np.testing.assert_array_equal(y, np.roll(x, 1, 1))


class TestRotate:
    @pytest.mark.parametrize(
        ("fill", "order", "size"),
        repeated(
            [
                *(("zero", 0, 4), ("circular", 1, 32), ("reflect", 3, 5), ("zero", 1, 5), ("zero", 3, 32)),
                *(("circular", 0, 5), ("circular", 3, 4), ("reflect", 0, 32), ("reflect", 1, 4)),
            ],
            quick=3,
        ),
    )
    def test_quarter_turns_are_exact_with_a_traced_angle(self, size, order, fill):
        x = draw((2, size, size, 2))
        for quarters in (-5, -2, -1, 0, 1, 2, 3, 4, 8):
            y = jitted_rotate(x, np.float32(90 * quarters), fill=fill, order=order)
            np.testing.assert_array_equal(y, np.rot90(x, quarters, (1, 2)))

    def test_eager_and_integer_degrees(self):
        x = draw((1, 6, 6, 1))
        np.testing.assert_array_equal(ops.rotate(jnp.asarray(x), 90), np.rot90(x, 1, (1, 2)))
        np.testing.assert_array_equal(jitted_rotate(x, np.asarray([-90])), np.rot90(x, -1, (1, 2)))

    def test_half_turn_of_any_rectangle(self):
        x = draw((1, 5, 8, 1))
        np.testing.assert_array_equal(jitted_rotate(x, 180.0), x[:, ::-1, ::-1])

    def test_each_image_by_its_own_angle(self):
        x = draw((4, 6, 7, 2))
        degrees = np.asarray([0, 33, -90, 210], np.float32)
        together = jitted_rotate(x, degrees)
        apart = [jitted_rotate(a[None], d)[0] for a, d in zip(x, degrees, strict=True)]
        np.testing.assert_allclose(together, np.stack(apart), atol=1e-6)
        mapped = jax.jit(jax.vmap(lambda a, d: ops.rotate(a[None], d)[0]))(x, degrees)
        np.testing.assert_allclose(mapped, together, atol=1e-6)

    @pytest.mark.parametrize(
        ("fill", "theirs", "order", "shape"),
        [
            ("zero", "grid-constant", 0, (9, 9)),
            ("zero", "grid-constant", 1, (8, 8)),
            ("circular", "grid-wrap", 0, (8, 8)),
            ("circular", "grid-wrap", 1, (6, 9)),
            ("reflect", "mirror", 0, (6, 9)),
            ("reflect", "mirror", 1, (9, 9)),
        ],
    )
    def test_against_scipy(self, fill, theirs, order, shape):
        x = draw((1, *shape, 1))
        for degrees in (7.3, 47.1, -101.9, 213.0):
            expected = scipy.ndimage.rotate(
                x[0, :, :, 0].astype(np.float64), degrees, order=order, reshape=False, mode=theirs
            )
            y = np.asarray(jitted_rotate(x, degrees, fill=fill, order=order))
            np.testing.assert_allclose(y[0, :, :, 0], expected, atol=2e-5)

    def test_zero_mode_darkens_the_corners(self):
        y = np.asarray(jitted_rotate(np.ones((1, 16, 16, 1), np.float32), 45.0))
        assert y[0, 0, 0, 0] == 0
        np.testing.assert_allclose(y[0, 6:10, 6:10], 1, rtol=1e-6)

    @pytest.mark.parametrize(
        ("fill", "degrees"), repeated([("zero", [133.3, -71.9]), ("circular", 28.1), ("reflect", 28.1)])
    )
    def test_gradients_in_image_and_angle(self, fill, degrees):
        with jax.enable_x64(True):
            x = draw((2, 5, 6, 1), dtype=np.float64)
            rotate = jax.jit(lambda x, d: ops.rotate(x, d, fill=fill))
            check_gradients(rotate, (x, np.asarray(degrees)))

    def test_angle_has_a_derivative_at_zero_too(self):
        """Linear interpolation has a corner at the grid, so the derivative is the one towards larger positions."""
        row, column = np.meshgrid(np.arange(9.0) - 4, np.arange(9.0) - 4, indexing="ij")
        ramp = (2 * row - column).astype(np.float32)[None, ..., None]
        _, slope = jax.jvp(lambda d: jitted_rotate(ramp, d), (0.0,), (1.0,))
        slope = np.asarray(slope)
        expected = (2 * column + row) * np.pi / 180
        np.testing.assert_allclose(slope[0, 1:-1, 1:-1, 0], expected[1:-1, 1:-1], atol=1e-5)

    def test_dtypes(self):
        x = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
        y = jitted_rotate(x, 90.0, order=0)
        assert y.dtype == jnp.uint8
        np.testing.assert_array_equal(y, np.rot90(x, 1, (1, 2)))
        half = jitted_rotate(x.astype(jnp.bfloat16), 30.0)
        assert half.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(half, np.float32), jitted_rotate(x.astype(np.float32), 30.0), rtol=2**-8)


@pytest.mark.parametrize(
    ("shape", "offset", "fill", "message"),
    [
        ((1, 4, 4, 1), (1, 1), "wrap", r"fill='wrap' is unknown; use one of zero, circular, reflect"),
        ((1, 4, 4, 1), (0.5, 1), "zero", r"offset is float32, but shift .* or use fourier_shift"),
        ((1, 4, 4, 1), (1,), "zero", r"offset has shape \(1,\); .* needs \(2,\) for the whole batch or \(1, 2\)"),
        ((3, 4, 1), ((1,), (2,)), "circular", r"offset has shape \(2, 1\); .* needs \(1,\) .* or \(3, 1\)"),
        ((3, 4, 1), 1, "circular", r"offset has shape \(\); "),
        ((4, 4), (1, 1), "zero", r"x has shape \(4, 4\); expected"),
    ],
)
def test_shift_errors(shape, offset, fill, message):
    with pytest.raises(InputError, match=message):
        ops.shift(jnp.ones(shape), offset, fill=fill)


def test_fourier_refuses_integers():
    with pytest.raises(InputError, match=r"x is uint8; fourier_shift needs floating point"):
        ops.fourier_shift(jnp.ones((1, 4, 1), jnp.uint8), (1,))


@pytest.mark.parametrize(
    ("shape", "degrees", "options", "message"),
    [
        ((1, 4, 4, 1), 1.0, {"fill": "fourier"}, r"fill='fourier' is unknown; use one of zero, circular, reflect\."),
        (
            (1, 4, 4, 1),
            1.0,
            {"order": 2},
            r"order=2 is unknown; use 0 \(nearest pixel\), 1 \(bilinear\) or 3 \(bicubic\)\.",
        ),
        ((2, 4, 4, 1), np.ones(3), {}, r"degrees has shape \(3,\); it must be a scalar or \(2,\)"),
        ((1, 4, 1), 1.0, {}, r"x has shape \(1, 4, 1\); this warp needs images \(batch, height, width, channels\)"),
    ],
)
def test_rotate_errors(shape, degrees, options, message):
    with pytest.raises(InputError, match=message):
        ops.rotate(jnp.ones(shape), degrees, **options)


@pytest.mark.parametrize(("order", "name"), [(1, "bilinear"), (3, "bicubic")])
def test_interpolation_refuses_integers(order, name):
    with pytest.raises(InputError, match=rf"x is uint8; {name} resampling needs floating point"):
        ops.rotate(jnp.ones((1, 4, 4, 1), jnp.uint8), 1.0, order=order)
