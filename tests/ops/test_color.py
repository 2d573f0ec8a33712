"""Grey by luma: the one of ITU-R BT.601, which stays, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError, ops

X = np.random.default_rng(0).uniform(size=(3, 5, 4, 3)).astype(np.float32)


def test_every_channel_is_the_luma_and_the_luma_stays():
    gray = np.asarray(ops.grayscale(X))
    luma = 0.299 * X[..., 0] + 0.587 * X[..., 1] + 0.114 * X[..., 2]
    np.testing.assert_allclose(gray, np.stack([luma] * 3, -1), atol=1e-6)
    np.testing.assert_allclose(gray @ np.array([0.299, 0.587, 0.114]), luma, atol=1e-6)


def test_it_is_the_grey_of_pillow_to_its_rounding():
    bytes_of = np.round(255 * X[0]).astype(np.uint8)
    gray = 255 * np.asarray(ops.grayscale(bytes_of[None] / np.float32(255)))[0, ..., 0]
    assert np.abs(gray - np.asarray(Image.fromarray(bytes_of).convert("L"), np.float32)).max() < 1


def test_grey_images_stay_and_other_channels_are_refused():
    np.testing.assert_array_equal(ops.grayscale(X[..., :1]), X[..., :1])
    with pytest.raises(InputError, match="x has 2 channels; luma is that of red, green and blue"):
        ops.grayscale(X[..., :2])


def test_bytes_are_refused_in_which_every_weight_would_be_0_and_half_precision_is_rounded_once():
    with pytest.raises(InputError, match="x is uint8; it must be floating point"):
        ops.grayscale(np.round(255 * X).astype(np.uint8))
    half = X.astype(np.float16)
    luma = (half.astype(np.float64) @ np.array([0.299, 0.587, 0.114])).astype(np.float16)
    assert np.abs(np.asarray(ops.grayscale(half))[..., 0] - luma).max() <= np.finfo(np.float16).eps / 2
