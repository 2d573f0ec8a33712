"""Invariance curves against their definition, and of functions whose distances are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, runtime
from cnnjax.analysis import Rotation, Scale, Shift, confidence_curve, invariance_curve
from tests.references.frameworks import every_framework, plain

IMAGES = np.random.default_rng(0).random((5, 8, 8, 1)).astype(np.float32)


TRANSFORMS = [Shift((0, 0)), Shift((2, -1), fill="zero"), Rotation(30), Scale(1.5)]


@functools.cache
def by_definition():
    """The distances of the hidden layer, `(transforms, images)`."""
    hidden = jax.jit(lambda x: [plain(a)[1]["hidden"] for a in (x, *(transform(x) for transform in TRANSFORMS))])
    still, *moved = (np.asarray(a).reshape(len(IMAGES), -1) for a in hidden(IMAGES))
    return np.stack([np.linalg.norm(a - still, axis=1) / np.linalg.norm(still, axis=1) for a in moved])


@every_framework
def test_the_definition(make, monkeypatch):
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: 2)
    logits, found = invariance_curve(make(), IMAGES, TRANSFORMS)
    assert logits.shape == found["hidden"].shape == (4, 5)
    np.testing.assert_allclose(found["hidden"], by_definition(), rtol=1e-4, atol=1e-7)
    assert not logits[0].any()
    assert (found["hidden"][1:] > 0.01).all()


def test_what_is_known():
    """Sums over space do not see a circular shift, pixels apart become orthogonal, and of nothing there is no share."""
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, 3, 3] = 0.7
    transforms = [Shift((0, d), fill="circular") for d in range(-3, 4)]
    found = invariance_curve(lambda x: {"pixels": x, "sum": x.sum((1, 2)), "dead": 0 * x}, image, transforms)
    np.testing.assert_allclose(found["pixels"][:, 0], np.sqrt(2) * (np.arange(-3, 4) != 0), rtol=1e-6)
    np.testing.assert_array_equal(found["sum"], np.zeros((7, 1)))
    assert np.isnan(found["dead"]).all()


def test_confidence():
    labels = np.array([0, 2, 1, 1, 0])
    transforms = [Shift((0, 0)), Rotation(90), Shift((3, 3), fill="zero")]
    found = confidence_curve(plain, IMAGES, labels, transforms, logits="0")
    for t, transform in enumerate(transforms):
        logits = jax.jit(lambda x, transform=transform: plain(transform(x))[0])(IMAGES)
        powers = np.exp(np.asarray(logits, np.float64))
        np.testing.assert_allclose(found[t], (powers / powers.sum(1, keepdims=True))[np.arange(5), labels], rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: invariance_curve(plain, IMAGES, []), "no transform"),
        (lambda: invariance_curve(plain, IMAGES, [Shift((0, 8))]), "out of sight"),
        (lambda: invariance_curve(plain, IMAGES[:, :6], [Rotation(90)]), "give square ones"),
        (lambda: invariance_curve(plain, IMAGES * np.nan, [Rotation(90)]), "NaN"),
        (lambda: invariance_curve(lambda x: x.sum(), IMAGES, [Rotation(90)]), "output has shape"),
        (lambda: invariance_curve(lambda x: jnp.log(0 * x), IMAGES, [Rotation(90)]), "not finite"),
        (lambda: confidence_curve(plain, IMAGES, np.arange(5), [Rotation(90)], logits="0"), "below 3"),
        (lambda: confidence_curve(plain, IMAGES, np.zeros(4, int), [Rotation(90)], logits="0"), "one for each of 5"),
        (lambda: confidence_curve(plain, IMAGES, np.zeros(5, int), [Rotation(90)], logits="hidden"), "expected logits"),
    ],
)
def test_bad_input(call, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        call()
