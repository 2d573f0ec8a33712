"""Coloured shapes: grey tells the form and not the hue, differences of channels the hue; the same on every machine."""

import jax
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import DataConfig, colored, load, shapes


def hue_of(pixels):
    """In degrees, counter-clockwise from red, as seen along the axis of greys (Preucil's hexagon made a circle)."""
    red, green, blue = np.moveaxis(np.asarray(pixels, np.float64), -1, 0)
    return np.rad2deg(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360


@pytest.fixture(scope="module")
def data():
    return load(DataConfig("coloured_shapes", train_images=960, test_images=240))


@pytest.fixture(scope="module")
def painted():
    """One shape in each hue many times over, without noise in the mean of many pixels."""
    hues = np.arange(900, dtype=np.int32) % 3
    coverage = np.broadcast_to(np.eye(8, dtype=np.float32)[None, :, :, None], (900, 8, 8, 1))
    return hues, np.asarray(jax.jit(colored.paint)(jax.random.key(0), coverage, hues), np.float64)


def test_the_hue_plane_is_orthonormal_and_at_right_angles_to_grey():
    directions = np.vstack([colored.HUE_PLANE, np.ones(3) / np.sqrt(3)]).astype(np.float64)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-6)


def test_the_hues_lie_where_red_green_and_blue_do():
    directions = [[np.cos(angle), np.sin(angle)] @ colored.HUE_PLANE for angle in np.deg2rad([0, 120, 240])]
    np.testing.assert_allclose(hue_of(np.eye(3) + 1e-9), [0, 120, 240], atol=1e-4)
    np.testing.assert_allclose(np.cos(np.deg2rad(hue_of(directions) - [0, 120, 240])), 1, atol=1e-6)


def test_hues_are_those_of_their_names_and_backgrounds_have_any(painted):
    hues, pictures = painted
    shape, background = pictures[:, np.eye(8, dtype=bool)].mean(1), pictures[:, ~np.eye(8, dtype=bool)].mean(1)
    off = (hue_of(shape) - 120 * hues + 180) % 360 - 180
    # Noise of 0.05 in the mean of 8 pixels turns a chroma of 0.15 by up to 5 standard deviations of 7 degrees.
    assert np.abs(off).max() < colored.HUE_SPREAD + 35
    assert np.abs(off).max() > colored.HUE_SPREAD - 5
    counts = np.histogram(hue_of(background), bins=6, range=(0, 360))[0]
    assert counts.min() > 150 - 5 * np.sqrt(150)


def test_grey_says_nothing_about_the_hue_and_shows_the_shape(painted):
    hues, pictures = painted
    grey = pictures.mean(-1)
    contrast = grey[:, np.eye(8, dtype=bool)].mean(1) - grey[:, ~np.eye(8, dtype=bool)].mean(1)
    low, high = colored.CONTRAST
    assert np.abs(contrast).min() > 2 * low - 0.06
    assert np.abs(contrast).max() < 2 * high + 0.06
    # Darker and lighter equally often, in each hue: 300 fair draws.
    for hue in range(3):
        assert abs((contrast[hues == hue] > 0).sum() - 150) < 5 * np.sqrt(75)
        assert abs(contrast[hues == hue].mean()) < 5 * 0.3 / np.sqrt(300)


def test_classes_are_hue_times_kind_and_come_equally_often(data):
    assert data.class_names[:9] == (*(f"red {kind}" for kind in shapes.KINDS), "green disc")
    np.testing.assert_array_equal(np.bincount(data.train.labels), np.full(24, 40))
    assert data.train.images.shape == (960, 32, 32, 3)
    assert data.margin == 0


def test_a_formula_reads_the_hue_of_most_pictures(data):
    middle = data.train.images[:, 13:19, 13:19].mean((1, 2)) / 255
    nearest = np.round(hue_of(middle) / 120) % 3
    assert (nearest == data.train.labels // 8).mean() > 0.8  # rings are open there


def test_the_first_pictures_do_not_depend_on_how_many(data):
    few = load(DataConfig("coloured_shapes", train_images=30, test_images=10))
    np.testing.assert_array_equal(few.train.images, data.train.images[:30])
    np.testing.assert_array_equal(few.test.labels, data.test.labels[:10])
    assert not np.array_equal(few.train.images[:10], few.test.images)


def test_another_size_and_one_too_small(data):
    assert load(DataConfig("coloured_shapes", size=16, train_images=8, test_images=8)).train.images.shape[1:3] == (
        16,
        16,
    )
    with pytest.raises(InputError, match=r"pictures of 10 pixels; use data.size 11 or more"):
        load(DataConfig("coloured_shapes", size=10))
