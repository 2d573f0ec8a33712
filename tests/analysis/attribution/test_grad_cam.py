"""Grad-CAM against its definition on a network whose last layer is known: there it is the class activation map."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.analysis import Shift, confidence_curve, deletion, grad_cam, occlusion, saliency
from tests.references.frameworks import HEAD, every_framework, plain

IMAGES = np.random.default_rng(0).random((3, 6, 5, 1)).astype(np.float32)


@every_framework
def test_behind_the_mean_it_is_the_class_activation_map(make):
    """Zhou et al. 2016: with a mean over space and a dense layer behind the maps, weights are the dense layer's."""
    hidden = np.asarray(plain(jnp.asarray(IMAGES))[1]["hidden"])
    units = [1, 0, 2]
    expected = np.maximum(np.einsum("bhwc,cb->bhw", hidden, HEAD[:, units]) / 30, 0)
    found = grad_cam(make(), IMAGES, "hidden", units, output="0", batch_size=2)
    assert expected.any((1, 2)).sum() >= 2
    np.testing.assert_allclose(found.maps[..., 0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.units[:, 0], units)
    np.testing.assert_allclose(found.values, (hidden.mean((1, 2)) @ HEAD)[range(3), units], rtol=1e-4)


def test_small_maps_are_stretched_over_the_image():
    def f(x):
        maps = x.reshape(len(x), 2, 3, 2, 3, 1).mean((2, 4))
        return {"maps": maps, "logits": (maps * jnp.asarray([1.0, 2.0]).reshape(1, 1, 2, 1)).sum((1, 2))}

    images = np.random.default_rng(1).random((2, 6, 6, 1)).astype(np.float32)
    small = grad_cam(f, images, "maps", 0, output="logits", resize=False).maps
    np.testing.assert_allclose(small, 1.5 * images.reshape(2, 2, 3, 2, 3, 1).mean((2, 4)), rtol=1e-5)
    whole = grad_cam(f, images, "maps", 0, output="logits").maps
    assert whole.shape == images.shape
    # The middle of a 3×3 block is the middle of a unit.
    np.testing.assert_allclose(whole[:, 1::3, 1::3], small, rtol=1e-5)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ("hiden", "layer='hiden' is unknown; .*perhaps you meant hidden"),
        ("0", r"'0' has shape \(3, 3\): expected maps"),
    ],
)
def test_bad_input(maps, message):
    with pytest.raises(InputError, match=message):
        grad_cam(plain, IMAGES, maps, 0, output="0")


def test_maps_that_the_unit_is_not_made_of():
    for maps in (lambda x: 2 * x, lambda x: x.astype(jnp.float16)):
        with pytest.raises(InputError, match="not made of 'maps'"):
            grad_cam(lambda x: {"maps": maps(x), "logits": x.sum((1, 2))}, IMAGES, "maps", 0, output="logits")  # noqa: B023


def two_maps(x):
    hidden, after = x * 2, x**2 * 3
    return after.mean((1, 2)) + hidden.sum((1, 2)), {"first": {"hidden": hidden}, "second": [after, x.mean((1, 2))]}


def test_every_name_that_an_error_lists_is_accepted():
    images = np.concatenate([IMAGES, IMAGES[..., :1] / 2], -1)
    for wrong, first in (("conv9", "hidden"), ("2", "hidden"), ("0", "1/first/hidden")):
        with pytest.raises(InputError) as caught:
            grad_cam(two_maps, images, wrong)
        listed = re.split(r"one of |channels\), as ", str(caught.value))[1].removesuffix(".").split(", ")
        assert listed == [first, "1/second/0"]
    for name in (*listed, "hidden"):
        grad_cam(two_maps, images, name)
    with pytest.raises(InputError) as caught:
        saliency(two_maps, images, "conv9")
    for name in str(caught.value).partition("one of ")[2].removesuffix(".").split(", "):
        saliency(two_maps, images, name, 0)


def test_the_unit_is_by_default_the_most_probable_class():
    images = jnp.asarray(IMAGES)
    label = np.asarray(plain(images)[0]).argmax(1)
    expected = grad_cam(plain, images, "hidden", label, output="0")
    np.testing.assert_array_equal(grad_cam(plain, images, "hidden").maps, expected.maps)
    np.testing.assert_array_equal(grad_cam(plain, images, "1/hidden").units[:, 0], label)

    def with_name(x):
        logits, activations = plain(x)
        return {"first": x.sum((1, 2)), **activations, "logits": logits}

    named = grad_cam(with_name, images, "hidden")
    np.testing.assert_allclose(named.values, expected.values, rtol=1e-6)
    np.testing.assert_array_equal(saliency(plain, images).maps, saliency(plain, images, "0", label).maps)
    np.testing.assert_array_equal(
        confidence_curve(plain, images, label, [Shift((0, 0))]),
        confidence_curve(plain, images, label, [Shift((0, 0))], logits="0"),
    )
    np.testing.assert_array_equal(
        deletion(plain, images, images[..., 0], steps=2).probability,
        deletion(plain, images, images[..., 0], logits="0", steps=2).probability,
    )
    assert occlusion(plain, images[0], "hidden").label == label[0]
    with pytest.raises(InputError, match="returns 2 activations: name the layer, one of a, b"):
        grad_cam(lambda x: {"a": x, "b": x.sum((1, 2))}, images, "a")
