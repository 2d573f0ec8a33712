"""Textured shapes: each cue has the class's own value, and each can be left out without changing the others."""

import jax
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import DataConfig, load, shapes, textured
from cnnjax.data.sources.textured_shapes import draw_split

LUMA = np.array([0.299, 0.587, 0.114])
COUNT = 64


def drawn(*without):
    return draw_split("test", COUNT, 32, without=without).astype(np.float64) / 255


@pytest.fixture(scope="module")
def whole():
    return drawn()


def test_classes_are_even_and_named_by_their_shapes():
    data = load(DataConfig("textured_shapes", train_images=24, test_images=16))
    assert data.class_names == shapes.KINDS
    assert np.bincount(data.train.labels).tolist() == [3] * 8
    np.testing.assert_array_equal(data.test.images, draw_split("test", 16, 32))
    assert not np.array_equal(data.train.images[:16], data.test.images)


def test_the_hue_plane_is_orthonormal_and_at_right_angles_to_luma():
    directions = np.vstack([textured.HUE_PLANE, LUMA / np.linalg.norm(LUMA)]).astype(np.float64)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-6)


def test_without_colour_the_luma_of_every_pixel_stays(whole):
    plain = drawn("color")
    # Two roundings to bytes; hardly a value is clipped.
    off = np.abs(whole @ LUMA - plain @ LUMA)
    assert np.quantile(off, 0.999) < 1.5 / 255
    between = plain - (plain @ LUMA)[..., None]
    assert np.abs(between.mean((1, 2))).max() < 3.5 * textured.NOISE / 32  # noise alone, in the mean of 32² pixels


def test_hues_alone_are_those_of_the_classes():
    color = drawn("shape", "texture").mean((1, 2))
    color -= (color @ LUMA)[:, None]
    angle = np.rad2deg(np.arctan2(*(color @ textured.HUE_PLANE.T.astype(np.float64)).T[::-1]))
    off = (angle - 45 * (np.arange(COUNT) % 8) + 180) % 360 - 180
    assert np.abs(off).max() < textured.HUE_SPREAD + 2
    assert np.abs(off).max() > textured.HUE_SPREAD - 4


def test_textures_alone_have_the_direction_and_the_period_of_the_class():
    texture = (drawn("shape", "color") @ LUMA)[:, :, :]
    spectrum = np.abs(np.fft.fft2(texture - texture.mean((1, 2), keepdims=True), s=(256, 256)))
    for label, power in enumerate(spectrum[:8]):
        row, column = np.unravel_index(power[:128].argmax(), (128, 256))
        down, across = row / 256, (column - 256 * (column > 127)) / 256
        np.testing.assert_allclose(1 / np.hypot(down, across), textured.PERIODS[label // 4], rtol=0.05)
        turned = (np.rad2deg(np.arctan2(down, across)) - 45 * (label % 4) + 90) % 180 - 90
        assert abs(turned) < textured.TURN + 2


def test_without_texture_shape_and_background_are_flat_and_the_same_otherwise(whole):
    flat, scenes = drawn("texture"), np.asarray(shapes.sample(jax.random.key(1), COUNT, size=28))
    coverage = np.asarray(shapes.render(scenes, canvas=32))[..., 0]
    difference = (whole - flat) @ LUMA
    assert np.abs(difference[coverage == 0]).max() < 1.5 / 255
    inside = [flat[i][coverage[i] == 1] @ LUMA for i in range(COUNT)]
    assert max(part.std() for part in inside) < 1.5 * textured.NOISE
    textures = [whole[i][coverage[i] == 1] @ LUMA for i in range(COUNT)]
    assert min(part.std() for part in textures) > textured.AMPLITUDE[0] / 2


def test_without_shape_no_place_is_unlike_another():
    figure = drawn("shape", "texture")
    quarters = np.stack([figure[:, :16, :16], figure[:, :16, 16:], figure[:, 16:, :16], figure[:, 16:, 16:]])
    means = quarters.mean((2, 3))
    assert np.ptp(means, axis=0).max() < 6 * textured.NOISE / 16 * np.sqrt(2)


def test_sizes_at_which_shapes_cannot_be_told_apart_are_refused():
    with pytest.raises(InputError, match=r"pictures of 9 pixels; use data\.size 10 or more"):
        load(DataConfig("textured_shapes", size=9))
    assert load(DataConfig("textured_shapes", size=10, train_images=8, test_images=8)).test.images.shape[1:3] == (
        10,
        10,
    )
