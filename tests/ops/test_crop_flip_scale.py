import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from numpy_resampling import positions, read_cubic

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients

FILLS = ["zero", "circular", "reflect"]
SCIPY = {"zero": "grid-constant", "circular": "grid-wrap", "reflect": "mirror"}


def draw(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


jitted_crop = jax.jit(ops.crop, static_argnames=("size", "fill"))
jitted_flip = jax.jit(ops.flip, static_argnames="axis")
jitted_scale = jax.jit(ops.scale, static_argnames=("fill", "order"))


def cut_from_padded(x, corner, size, fill):
    """NumPy pads as far as any window reaches, and a slice takes the window."""
    margin = 25
    width = [(0, 0), *[(margin, margin)] * (x.ndim - 2), (0, 0)]
    filled = np.pad(x, width, mode={"zero": "constant", "circular": "wrap", "reflect": "reflect"}[fill])
    spans = [[slice(c + margin, c + margin + n) for c, n in zip(at, size, strict=True)] for at in corner]
    return np.stack([image[tuple(span)] for image, span in zip(filled, spans, strict=True)])


class TestCrop:
    @given(
        shape=st.sampled_from([(2, 6, 3), (3, 5, 4, 2), (1, 1, 7, 1)]),
        fill=st.sampled_from(FILLS),
        each=st.booleans(),
        data=st.data(),
    )
    @drawn_cases(12)
    def test_is_a_slice_of_the_padded_map(self, shape, fill, each, data):
        spatial = len(shape) - 2
        corners = st.lists(st.integers(-15, 15), min_size=spatial, max_size=spatial)
        corner = data.draw(st.lists(corners, min_size=shape[0], max_size=shape[0]) if each else corners)
        size = data.draw(st.sampled_from([(3,), (9,)] if spatial == 1 else [(3, 8), (6, 1)]))
        x = draw(shape)
        expected = cut_from_padded(x, np.broadcast_to(corner, (shape[0], spatial)), size, fill)
        np.testing.assert_array_equal(jitted_crop(x, jnp.asarray(corner), size=size, fill=fill), expected)

    def test_one_size_for_both_axes_and_zeros_outside(self):
        x = draw((1, 4, 5, 1))
        y = np.asarray(ops.crop(jnp.asarray(x), (2, -1), size=3))
        assert y.shape == (1, 3, 3, 1)
        np.testing.assert_array_equal(y[0, :2, 1:], x[0, 2:, :2])
        assert not y[0, 2].any()
        assert not y[0, :, 0].any()

    @pytest.mark.parametrize("fill", FILLS)
    def test_of_the_maps_own_size_is_a_shift_back(self, fill):
        x, corner = draw((2, 5, 6, 1)), np.asarray([[3, -2], [-7, 0]])
        crop, shift = jax.jit(lambda x, c: (ops.crop(x, c, size=(5, 6), fill=fill), ops.shift(x, -c, fill=fill)))(
            x, corner
        )
        np.testing.assert_array_equal(crop, shift)

    @pytest.mark.parametrize("dtype", ["uint8", "bool", "bfloat16"])
    def test_any_dtype(self, dtype):
        x = (draw((1, 6, 1)) > 0).astype(dtype)
        y = np.asarray(jitted_crop(x, np.asarray([4], np.uint8), size=3))
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y[0, :2], x[0, 4:])
        assert not y[0, 2].any()

    def test_vmap_over_images_and_corners(self):
        x, corners = draw((4, 5, 6, 1)), np.asarray([[0, 1], [-2, 3], [5, -6], [1, 1]], np.int32)
        mapped = jax.jit(jax.vmap(lambda x, c: ops.crop(x[None], c, size=4)[0]))(x, corners)
        np.testing.assert_array_equal(mapped, jitted_crop(x, corners, size=4))

    def test_gradients_in_the_image(self):
        with jax.enable_x64(True):
            x = draw((2, 4, 5, 1), dtype=np.float64)
            crop = jax.jit(lambda x: ops.crop(x, ((1, -2), (-1, 3)), size=4, fill="reflect"))
            check_gradients(crop, (x,))


class TestFlip:
    @pytest.mark.parametrize(("axis", "flip"), [("width", np.fliplr), ("height", np.flipud)])
    def test_each_image_by_its_own_switch(self, axis, flip):
        x, flipped = draw((3, 4, 5, 2)), np.asarray([True, False, True])
        expected = np.stack([flip(image) if yes else image for image, yes in zip(x, flipped, strict=True)])
        np.testing.assert_array_equal(ops.flip(jnp.asarray(x), flipped, axis=axis), expected)
        np.testing.assert_array_equal(jitted_flip(x, flipped, axis=axis), expected)
        mapped = jax.jit(jax.vmap(lambda image, yes: ops.flip(image[None], yes, axis=axis)[0]))(x, flipped)
        np.testing.assert_array_equal(mapped, expected)

    def test_whole_batch(self):
        x = draw((2, 4, 5, 2))
        np.testing.assert_array_equal(ops.flip(jnp.asarray(x), axis="width"), x[:, :, ::-1])
        np.testing.assert_array_equal(jitted_flip(x, False, axis="height"), x)
        np.testing.assert_array_equal(jitted_flip(x, True, axis="height"), x[:, ::-1])

    @pytest.mark.parametrize("dtype", ["uint8", "bfloat16"])
    def test_signals_of_any_dtype(self, dtype):
        x = np.arange(10).reshape(1, 5, 2).astype(dtype)
        y = jitted_flip(x, axis="length")
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x[:, ::-1])

    def test_gradients_in_the_image(self):
        with jax.enable_x64(True):
            x = draw((2, 3, 4, 1), dtype=np.float64)
            flip = jax.jit(lambda x: ops.flip(x, [True, False], axis="width"))
            check_gradients(flip, (x,))


def zoomed(image, factor, fill, order):
    at = positions(image.shape, np.eye(2) / factor)
    if order == 3:
        return np.vectorize(lambda i, j: read_cubic(image, i, j, fill))(*at)
    return scipy.ndimage.map_coordinates(image, at, order=order, mode=SCIPY[fill])


class TestScale:
    @pytest.mark.parametrize("fill", FILLS)
    @pytest.mark.parametrize(("order", "shape"), [(0, (5, 7)), (1, (6, 6)), (1, (5, 7)), (3, (5, 6))])
    def test_against_scipy_and_keys_written_out(self, fill, order, shape):
        with jax.enable_x64(True):
            x = draw((3, *shape, 1), dtype=np.float64)
            factors = np.asarray([1.83, 0.61, 0.27])
            expected = np.stack([zoomed(a[..., 0], f, fill, order) for a, f in zip(x, factors, strict=True)])
            y = jitted_scale(x, factors, fill=fill, order=order)
            np.testing.assert_allclose(np.asarray(y)[..., 0], expected, atol=1e-12)

    @pytest.mark.parametrize(("order", "method", "reach"), [(1, "linear", 1), (3, "cubic", 2)])
    @pytest.mark.parametrize("factor", [1.7, 0.8])
    def test_against_jax_image_where_the_window_is_inside(self, order, method, reach, factor):
        x = draw((1, 12, 11, 2))
        half = (1 - factor) / 2
        theirs = jax.jit(
            jax.image.scale_and_translate, static_argnames=("shape", "spatial_dims", "method", "antialias")
        )
        translation = np.asarray([12 * half, 11 * half], np.float32)
        expected = theirs(
            x, x.shape, (1, 2), np.full(2, factor, np.float32), translation, method=method, antialias=False
        )
        at = positions((12, 11), np.eye(2) / factor)
        inside = [(p >= reach - 1) & (p <= n - reach) for p, n in zip(at, (12, 11), strict=True)]
        inside = inside[0] & inside[1]
        assert inside.sum() > 30
        y = jitted_scale(x, factor, order=order)
        np.testing.assert_allclose(np.asarray(y)[0][inside], np.asarray(expected[0])[inside], atol=2e-5)

    @pytest.mark.parametrize(("order", "shape"), [(0, (7, 7)), (1, (6, 9)), (3, (7, 6))])
    def test_factor_1_is_the_identity_bit_for_bit(self, order, shape):
        x = draw((2, *shape, 2))
        np.testing.assert_array_equal(jitted_scale(x, np.float32(1), order=order), x)

    def test_twice_as_large_shows_every_pixel_of_the_inner_half(self):
        x = draw((1, 9, 9, 1))
        for order in (0, 1, 3):
            y = np.asarray(jitted_scale(x, np.asarray([2]), order=order))
            np.testing.assert_array_equal(y[:, ::2, ::2], x[:, 2:7, 2:7])

    def test_half_as_large_stands_in_zeros(self):
        y = ops.scale(jnp.ones((1, 8, 8, 1)), 0.5, order=0)
        expected = np.zeros((8, 8))
        expected[2:6, 2:6] = 1
        np.testing.assert_array_equal(y[0, ..., 0], expected)

    def test_each_image_by_its_own_factor(self):
        x, factors = draw((3, 6, 7, 2)), np.asarray([1.4, 0.5, 3.0], np.float32)
        together = jitted_scale(x, factors)
        apart = [jitted_scale(a[None], f)[0] for a, f in zip(x, factors, strict=True)]
        np.testing.assert_allclose(together, np.stack(apart), atol=1e-6)
        mapped = jax.jit(jax.vmap(lambda a, f: ops.scale(a[None], f)[0]))(x, factors)
        np.testing.assert_allclose(mapped, together, atol=1e-6)

    @pytest.mark.parametrize(
        ("order", "fill", "factor"),
        [(1, "circular", 0.63), (3, "zero", [1.31, 0.77])],
    )
    def test_gradients_in_image_and_factor(self, order, fill, factor):
        with jax.enable_x64(True):
            x = draw((2, 5, 6, 1), dtype=np.float64)
            scale = jax.jit(lambda x, f: ops.scale(x, f, fill=fill, order=order))
            check_gradients(scale, (x, np.asarray(factor)))

    def test_dtypes(self):
        x = np.arange(25, dtype=np.uint8).reshape(1, 5, 5, 1)
        assert jitted_scale(x, 2.0, order=0).dtype == jnp.uint8
        for order in (1, 3):
            half = jitted_scale(x.astype(jnp.bfloat16), 1.3, order=order)
            assert half.dtype == jnp.bfloat16
            full = jitted_scale(x.astype(np.float32), 1.3, order=order)
            np.testing.assert_allclose(np.asarray(half, np.float32), full, rtol=2**-8, atol=1e-5)


class TestBicubicRotation:
    @pytest.mark.parametrize("fill", FILLS)
    def test_against_keys_written_out(self, fill):
        with jax.enable_x64(True):
            x, degrees = draw((2, 6, 5, 1), dtype=np.float64), np.asarray([23.7, -151.2])
            y = jax.jit(lambda x, d: ops.rotate(x, d, fill=fill, order=3))(x, degrees)
            for image, turned, angle in zip(x, np.asarray(y), np.deg2rad(degrees), strict=True):
                cos, sin = np.cos(angle), np.sin(angle)
                at = positions((6, 5), [[cos, sin], [-sin, cos]])
                expected = np.vectorize(lambda i, j, image=image: read_cubic(image[..., 0], i, j, fill))(*at)
                np.testing.assert_allclose(turned[..., 0], expected, atol=1e-12)

    def test_reproduces_quadratics(self):
        """Of Keys' family only a = −1/2 does."""
        with jax.enable_x64(True):
            row, column = np.meshgrid(np.arange(13.0) - 6, np.arange(13.0) - 6, indexing="ij")

            def quadratic(u, v):
                return 0.3 * u**2 - 0.7 * u * v + 0.2 * v**2 + u - 2 * v + 1

            x = quadratic(row, column)[None, ..., None]
            y = np.asarray(jax.jit(lambda x: ops.rotate(x, 31.0, order=3))(x))[0, ..., 0]
            cos, sin = np.cos(np.deg2rad(31)), np.sin(np.deg2rad(31))
            expected = quadratic(cos * row + sin * column, cos * column - sin * row)
            inside = row**2 + column**2 < 4.9**2
            np.testing.assert_allclose(y[inside], expected[inside], atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "corner", "options", "message"),
    [
        ((1, 4, 4, 1), (1, 1), {"size": 2, "fill": "fourier"}, r"fill='fourier' is unknown; use one of zero, circular"),
        ((1, 4, 4, 1), (0.5, 1), {"size": 2}, r"corner is float32; a crop starts at a whole pixel"),
        ((1, 4, 4, 1), (1,), {"size": 2}, r"corner has shape \(1,\); .* needs \(2,\) for the whole batch or \(1, 2\)"),
        ((1, 4, 4, 1), (1, 1), {"size": 0}, r"size=0 must be a positive int, or 2 of them"),
        ((1, 4, 4, 1), (1, 1), {"size": (2, 3, 4)}, r"size=\(2, 3, 4\) must be a positive int, or 2 of them"),
    ],
)
def test_crop_errors(shape, corner, options, message):
    with pytest.raises(InputError, match=message):
        ops.crop(jnp.ones(shape), corner, **options)


@pytest.mark.parametrize(
    ("shape", "flipped", "axis", "message"),
    [
        ((1, 4, 4, 1), True, "length", r"axis='length' is not an axis of x .*; use 'height' or 'width'"),
        ((1, 4, 1), True, "width", r"axis='width' is not an axis of x of shape \(1, 4, 1\); use 'length'"),
        ((2, 4, 4, 1), [True], "width", r"flipped is bool of shape \(1,\); it must be one boolean or \(2,\)"),
        ((2, 4, 4, 1), 1, "width", r"flipped is int32 of shape \(\)"),
    ],
)
def test_flip_errors(shape, flipped, axis, message):
    with pytest.raises(InputError, match=message):
        ops.flip(jnp.ones(shape), flipped, axis=axis)


@pytest.mark.parametrize(
    ("shape", "factor", "options", "message"),
    [
        ((1, 4, 4, 1), 0, {}, r"factor=0 must be positive: above 1 enlarges"),
        ((2, 4, 4, 1), np.asarray([1.0, -2.0]), {}, r"factor=array.* must be positive"),
        ((2, 4, 4, 1), np.ones(3), {}, r"factor has shape \(3,\); it must be a scalar or \(2,\), one per image"),
        ((1, 4, 4, 1), 2.0, {"order": 2}, r"order=2 is unknown"),
        ((1, 4, 4, 1), 2.0, {"fill": "wrap"}, r"fill='wrap' is unknown"),
        ((1, 4, 1), 2.0, {}, r"x has shape \(1, 4, 1\); this warp needs images \(batch, height, width, channels\)"),
    ],
)
def test_scale_errors(shape, factor, options, message):
    with pytest.raises(InputError, match=message):
        ops.scale(jnp.ones(shape), factor, **options)
