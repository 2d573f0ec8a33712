"""Smoothing that keeps outlines: against loops and SciPy, texture that goes and edges that stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cnnjax import InputError, ops


def by_loops(image, sigma, contrast, steps):
    """The definition, pixel by pixel, for one image (height, width, channels)."""
    reach, guide = int(np.ceil(2 * sigma)), np.zeros_like(image)

    def along_the_width(x, g):
        y = np.empty_like(x)
        for row in range(x.shape[0]):
            for p in range(x.shape[1]):
                total, weights = 0.0, 0.0
                for q in range(max(0, p - reach), min(x.shape[1], p + reach + 1)):
                    apart = ((g[row, p] - g[row, q]) ** 2).sum()
                    weight = np.exp(-((p - q) ** 2) / (2 * sigma**2) - apart / (2 * contrast**2))
                    total, weights = total + weight * x[row, q], weights + weight
                y[row, p] = total / weights
        return y

    for _ in range(steps):
        rows = along_the_width(image, guide)
        guide = along_the_width(rows.swapaxes(0, 1), guide.swapaxes(0, 1)).swapaxes(0, 1)
    return guide


@pytest.mark.parametrize(("sigma", "contrast", "steps", "channels"), [(1.2, 0.3, 3, 3), (0.5, 1.0, 1, 1)])
def test_it_is_the_definition(sigma, contrast, steps, channels):
    x = np.random.default_rng(0).uniform(size=(2, 7, 9, channels))
    expected = [by_loops(image, sigma, contrast, steps) for image in x]
    with jax.enable_x64(True):
        found = ops.rolling_guidance(jnp.asarray(x), sigma=sigma, contrast=contrast, steps=steps)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_first_step_is_a_gaussian_blur_of_the_pixels_that_there_are():
    x = np.random.default_rng(0).uniform(size=(1, 12, 15, 1)).astype(np.float32)
    blur = lambda image: ndimage.gaussian_filter(image, 1.5, mode="constant", truncate=2)  # noqa: E731
    expected = blur(x[0, ..., 0]) / blur(np.ones_like(x[0, ..., 0]))
    np.testing.assert_allclose(ops.rolling_guidance(x, sigma=1.5, steps=1)[0, ..., 0], expected, atol=1e-5)


def test_texture_goes_and_the_edge_stays():
    edge = np.where(np.arange(24) < 12, 0.25, 0.75)
    texture = 0.15 * np.cos(2 * np.pi * np.arange(24) / 3)  # along the columns
    x = (edge[None, :] + texture[:, None]).astype(np.float32)[None, ..., None]
    smooth = np.asarray(ops.rolling_guidance(x, sigma=2.0))[0, ..., 0]
    blurred = ndimage.gaussian_filter(x[0, ..., 0], 2.0)
    inside = smooth[4:20]  # rows near the border average over fewer stripes
    assert inside.std(0).max() < 0.05 * texture.std()
    assert np.diff(inside, axis=1)[:, 11].min() > 0.9 * 0.5  # the step of one half, from one pixel to the next
    assert np.diff(blurred, axis=1)[:, 11].max() < 0.25 * 0.5  # which a blur of the same width spreads


def test_constants_stay_and_mirror_images_are_smoothed_alike():
    x = np.random.default_rng(0).uniform(size=(1, 8, 10, 3)).astype(np.float32)
    smooth = np.asarray(ops.rolling_guidance(x, sigma=1.5))
    for axis in (1, 2):
        np.testing.assert_allclose(ops.rolling_guidance(np.flip(x, axis), sigma=1.5), np.flip(smooth, axis), atol=1e-5)
    np.testing.assert_allclose(ops.rolling_guidance(np.full_like(x, 0.3), sigma=1.5), 0.3, atol=1e-6)
    assert (smooth.min(), smooth.max()) > (x.min(), 0)
    assert smooth.max() < x.max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma=0.0 must be positive"),
        ({"sigma": float("inf")}, "sigma=inf must be a finite number"),
        ({"sigma": 1, "contrast": -0.1}, "contrast=-0.1 must be positive"),
        ({"sigma": 1, "steps": 0}, "steps=0 must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        ops.rolling_guidance(np.ones((1, 4, 4, 1), np.float32), **options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((1, 4, 4, 3), np.uint8), "x is uint8; it must be floating point"),
        (np.ones((1, 4, 4, 0), np.float32), r"x has shape \(1, 4, 4, 0\); give one channel at least"),
    ],
)
def test_what_is_no_picture_is_refused(x, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        ops.rolling_guidance(x, sigma=1.0)
