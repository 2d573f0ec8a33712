"""A transform of one's own is measured as the library's are."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis, ops

RANDOM = np.random.default_rng(0)
IMAGES = jnp.asarray(RANDOM.random((3, 8, 8, 1)), jnp.float32)
KERNEL = jnp.asarray(RANDOM.normal(size=(3, 3, 1, 2)), jnp.float32)
SHIFT = analysis.Shift((0, 2), fill="circular")
ROLL = analysis.OwnTransform(lambda x: jnp.roll(x, 2, 2), lambda maps, stride: jnp.roll(maps, 2 // int(stride[1]), 2))
NEGATIVE = analysis.OwnTransform(lambda x: 1 - x, lambda maps, stride: maps)


def network(images):
    conv = ops.conv(images, KERNEL, stride=2)  # with zeros beyond the border: not circular
    return conv.mean((1, 2)), {"conv": conv}


def test_the_error_of_a_shift_that_is_written_by_hand_is_that_of_the_shift():
    own = analysis.equivariance_error(network, IMAGES, ROLL)
    assert own[1]["conv"] == pytest.approx(analysis.equivariance_error(network, IMAGES, SHIFT)[1]["conv"], rel=1e-6)
    assert own[1]["conv"] > 0.01


def test_maps_that_are_to_stay_are_compared_with_themselves():
    conv, negative = (np.asarray(network(x)[1]["conv"], np.float64) for x in (IMAGES, 1 - IMAGES))
    error = analysis.equivariance_error(network, IMAGES, NEGATIVE)[1]["conv"]
    assert error == pytest.approx(np.linalg.norm(negative - conv) / np.linalg.norm(conv), rel=1e-5)


def test_answers_are_compared_over_an_orbit_of_ones_own():
    orbit = analysis.orbit_of([SHIFT, NEGATIVE, analysis.Flip("width")], name="mine")
    found = analysis.predict(network, IMAGES, orbit).classes
    moved = [IMAGES, jnp.roll(IMAGES, 2, 2), 1 - IMAGES, IMAGES[:, :, ::-1]]
    expected = np.stack([np.asarray(network(x)[0]).argmax(-1) for x in moved])
    np.testing.assert_array_equal(found, expected)
    agree = (expected[1:] == expected[0]).mean()
    assert analysis.consistency(network, IMAGES, orbit)["consistency"].mean == pytest.approx(agree)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda: analysis.OwnTransform(3, NEGATIVE.maps), "images=3 must be a function"),
        (lambda: analysis.OwnTransform(NEGATIVE.images, lambda maps: maps), "maps=.* must take 2 arguments"),
        (lambda: analysis.OwnTransform(lambda x: x[0], NEGATIVE.maps), "transform.images makes .* of images"),
        (lambda: analysis.OwnTransform(lambda x: None, NEGATIVE.maps), "transform.images gives None"),
    ],
)
def test_what_is_not_a_pair_of_such_functions_is_refused(transform, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        analysis.equivariance_error(network, IMAGES, transform())


def test_an_orbit_keeps_the_shape_of_images():
    orbit = analysis.orbit_of([lambda x: x[:, 1:]])
    with pytest.raises(InputError, match="keep their shape"):
        analysis.consistency(network, IMAGES, orbit)
    with pytest.raises(InputError, match="transforms is empty"):
        analysis.orbit_of([])
