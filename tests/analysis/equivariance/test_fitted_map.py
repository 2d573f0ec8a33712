"""Errors after a fitted linear map against SciPy's Procrustes and least squares, and facts of filters that turn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import lstsq, orthogonal_procrustes

from cnnjax import InputError, ops
from cnnjax.analysis import Flip, Rotation, Shift, equivariance_error, fitted_map_error


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


KERNEL = jnp.asarray(noise(3, 3, 1, 3, seed=1), jnp.float32)
IMAGES = noise(4, 6, 6, 1).astype(np.float32)


def network(x):
    maps = jax.nn.relu(ops.conv(x, KERNEL, padding="circular"))
    return maps.mean((1, 2)), {"maps": maps}


def turned(a):
    return np.rot90(a, axes=(1, 2))


def rows(a, start):
    return np.asarray(a, np.float64)[start::2].reshape(-1, a.shape[-1])


@pytest.mark.parametrize("kind", ["linear", "orthogonal"])
def test_it_is_the_error_of_scipys_map_on_the_other_images(kind):
    before, after = turned(network(IMAGES)[1]["maps"]), network(turned(IMAGES))[1]["maps"]
    (x, x_new), (y, y_new) = ([rows(a, start) for start in (0, 1)] for a in (before, after))
    center, target = x.mean(0), y.mean(0)
    matrix = lstsq(x - center, y - target)[0] if kind == "linear" else orthogonal_procrustes(x - center, y - target)[0]
    expected = np.linalg.norm(y_new - target - (x_new - center) @ matrix) / np.linalg.norm(y_new - target)
    pooled, maps = fitted_map_error(network, IMAGES, Rotation(90), kind=kind)
    np.testing.assert_allclose(maps["maps"], expected, rtol=1e-4)
    assert math.isfinite(pooled)


def test_slopes_that_turn_into_each_other_are_equivariant_up_to_an_orthogonal_map():
    slope = np.array([[-1, 0, 1]] * 3)
    kernel = jnp.asarray(np.stack([slope, slope.T], -1)[:, :, None], jnp.float32)

    def slopes(x):
        return ops.conv(x, kernel, padding="circular")

    for transform in (Rotation(90), Flip("width")):
        assert equivariance_error(slopes, IMAGES, transform) > 1
        for kind in ("linear", "orthogonal"):
            assert fitted_map_error(slopes, IMAGES, transform, kind=kind) < 1e-5


def test_a_factor_between_the_sides_is_a_linear_map_and_no_orthogonal_one():
    # Images are brighter on the right, and f doubles those that are not: f(T x) = 2 T f(x).
    images = IMAGES.copy()
    images[:, :, 0], images[:, :, -1] = 1, 2

    def f(x):
        return x * jnp.where(x[:, :, :1] > x[:, :, -1:], 2.0, 1.0)

    assert fitted_map_error(f, images, Flip("width"), kind="linear") < 1e-6
    assert fitted_map_error(f, images, Flip("width"), kind="orthogonal") > 0.4


def test_what_says_nothing_of_the_moved_image_has_an_error_of_about_one():
    # A shift by one pixel of white noise in a function that looks at one fixed place.
    images = noise(40, 6, 6, 1).astype(np.float32)
    error = fitted_map_error(lambda x: (x[:, 2, 2], x), images, Shift((0, 1), fill="circular"))[0]
    assert 0.9 < error < 1.3


def test_a_function_that_ignores_its_input_has_none():
    assert math.isnan(fitted_map_error(lambda x: 0 * x + 0.3, IMAGES, Flip("width")))


def test_a_pooled_activation_is_one_row_for_each_image():
    images, left = noise(30, 4, 4, 1).astype(np.float32), np.tile([1.0, 1.0, 0.0, 0.0], 4)
    halves = jnp.asarray(np.stack([left, 1 - left], 1), jnp.float32)

    def f(x):
        return x.reshape(-1, 16) @ halves, x

    # Mirrored, the sums over the halves change places.
    for kind in ("linear", "orthogonal"):
        assert fitted_map_error(f, images, Flip("width"), kind=kind)[0] < 1e-5


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES[:1], {}, "images is 1: a map is fitted on half"),
        (IMAGES, {"kind": "linaer"}, r"kind='linaer' is unknown.*perhaps you meant linear"),
        (np.full_like(IMAGES, np.nan), {}, "NaN"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_input(images, options, message):
    with pytest.raises(InputError, match=message):
        fitted_map_error(lambda x: x, images, Flip("width"), **options)


def test_an_activation_of_all_images_together_is_refused():
    with pytest.raises(InputError, match=r"activation 1 has shape .* for .* images: a map is fitted image by image"):
        fitted_map_error(lambda x: (x, x.sum(0)), IMAGES, Flip("width"))
