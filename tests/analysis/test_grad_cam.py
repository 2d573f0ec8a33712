"""Grad-CAM against its definition on a network whose last layer is known: there it is the class activation map."""

import jax.numpy as jnp
import numpy as np
import pytest
from frameworks import HEAD, every_framework, plain

from cnnjax import InputError
from cnnjax.analysis import grad_cam

IMAGES = np.random.default_rng(0).random((3, 6, 5, 1)).astype(np.float32)


@every_framework
def test_behind_the_mean_it_is_the_class_activation_map(make):
    """Zhou et al. 2016: with a mean over space and a dense layer behind the maps, weights are the dense layer's."""
    hidden = np.asarray(plain(jnp.asarray(IMAGES))[1]["hidden"])
    units = [1, 0, 2]
    expected = np.maximum(np.einsum("bhwc,cb->bhw", hidden, HEAD[:, units]) / 30, 0)
    found = grad_cam(make(), IMAGES, "hidden", "0", units, batch_size=2)
    assert expected.any((1, 2)).sum() >= 2
    np.testing.assert_allclose(found.maps[..., 0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.units[:, 0], units)
    np.testing.assert_allclose(found.values, (hidden.mean((1, 2)) @ HEAD)[range(3), units], rtol=1e-4)


def test_small_maps_are_stretched_over_the_image():
    def f(x):
        maps = x.reshape(len(x), 2, 3, 2, 3, 1).mean((2, 4))
        return {"maps": maps, "logits": (maps * jnp.asarray([1.0, 2.0]).reshape(1, 1, 2, 1)).sum((1, 2))}

    images = np.random.default_rng(1).random((2, 6, 6, 1)).astype(np.float32)
    small = grad_cam(f, images, "maps", "logits", 0, resize=False).maps
    np.testing.assert_allclose(small, 1.5 * images.reshape(2, 2, 3, 2, 3, 1).mean((2, 4)), rtol=1e-5)
    whole = grad_cam(f, images, "maps", "logits", 0).maps
    assert whole.shape == images.shape
    # The middle of a 3×3 block is the middle of a unit.
    np.testing.assert_allclose(whole[:, 1::3, 1::3], small, rtol=1e-5)


@pytest.mark.parametrize(
    ("maps", "message"),
    [("hiden", "no layer 'hiden': perhaps hidden"), ("0", r"'0' has shape \(3, 3\): expected maps")],
)
def test_bad_input(maps, message):
    with pytest.raises(InputError, match=message):
        grad_cam(plain, IMAGES, maps, "0", 0)


def test_maps_that_the_unit_is_not_made_of():
    for maps in (lambda x: 2 * x, lambda x: x.astype(jnp.float16)):
        with pytest.raises(InputError, match="not made of 'maps'"):
            grad_cam(lambda x: {"maps": maps(x), "logits": x.sum((1, 2))}, IMAGES, "maps", "logits", 0)  # noqa: B023
