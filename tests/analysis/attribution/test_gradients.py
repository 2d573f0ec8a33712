"""Attributions by gradients against derivatives written out, and against the axioms that they are named for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from cnnjax import InputError, ops
from cnnjax.analysis import integrated_gradients, project, saliency, smooth_grad, strength
from tests.references.frameworks import BIAS, HEAD, KERNEL, every_framework
from tests.repeats import repeated

IMAGES = np.random.default_rng(0).random((3, 6, 5, 1)).astype(np.float32)


def gradient_by_hand(image, unit):
    """Of a logit of `frameworks.plain`: convolution, rectifier, mean over space, product."""
    padded = np.pad(image[..., 0], 1)
    space = image.shape[:2]
    hidden = np.zeros((*space, 4))
    for i, j in np.ndindex(*space):
        hidden[i, j] = np.einsum("yx,yxc->c", padded[i : i + 3, j : j + 3], KERNEL[:, :, 0]) + BIAS
    gradient = np.zeros_like(padded)
    for i, j in np.ndindex(*space):
        signal = HEAD[:, unit] / np.prod(space) * (hidden[i, j] > 0)
        gradient[i : i + 3, j : j + 3] += KERNEL[:, :, 0] @ signal
    return gradient[1:-1, 1:-1, None]


@every_framework
def test_saliency_is_the_gradient(make):
    f = make()
    found = saliency(f, IMAGES, "0", [2, 0, 1])
    np.testing.assert_array_equal(found.units, [[2], [0], [1]])
    np.testing.assert_allclose(found.values, f(jnp.asarray(IMAGES))[0][np.arange(3), [2, 0, 1]], rtol=1e-5)
    for image, unit, picture in zip(IMAGES, [2, 0, 1], found.maps, strict=True):
        np.testing.assert_allclose(picture, gradient_by_hand(image, unit), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(strength(-found.maps), np.abs(found.maps[..., 0]))


def network(kernels, x):
    for kernel in kernels:
        x = jax.nn.relu(ops.conv(x, kernel))
    return {"maps": x, "logits": x.sum((1, 2))}


KERNELS = [
    jnp.asarray(np.random.default_rng(seed).normal(size=shape) / np.sqrt(9 * shape[2]), jnp.float32)
    for seed, shape in enumerate([(3, 3, 1, 4), (3, 3, 4, 3)])
]
NETWORK = Partial(network, KERNELS)


@pytest.mark.parametrize("rule", repeated(["gradient", "deconvnet", "guided"]))
def test_rules_are_those_of_projections(rule):
    """A projection's signal is the unit's value, saliency's is 1."""
    found = saliency(NETWORK, IMAGES, "maps", 2, rule=rule, batch_size=2)
    for image, unit, value, picture in zip(IMAGES, found.units, found.values, found.maps, strict=True):
        expected = project(NETWORK, image, "maps", 2, rule=rule)
        np.testing.assert_array_equal(unit, expected.units[0])
        np.testing.assert_allclose(value, expected.values[0], rtol=1e-6)
        np.testing.assert_allclose(value * picture, expected.pictures[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["gradient", "guided"])
@pytest.mark.parametrize("layer", ["maps", "logits"])
def test_all_units_at_once_are_those_one_by_one(layer, rule):
    found = saliency(NETWORK, IMAGES, layer, "all", rule=rule, batch_size=2)
    assert found.maps.shape == (3, 3, 6, 5, 1)
    for channel in range(3):
        one = saliency(NETWORK, IMAGES, layer, channel, rule=rule)
        np.testing.assert_array_equal(found.units[:, channel], one.units)
        np.testing.assert_allclose(found.values[:, channel], one.values, rtol=1e-6)
        np.testing.assert_allclose(found.maps[:, channel], one.maps, rtol=1e-4, atol=1e-6)


def test_averages_and_integrals_of_all_units_at_once():
    averaged = smooth_grad(NETWORK, IMAGES, "maps", "all", key=jax.random.key(1), samples=2)
    one = smooth_grad(NETWORK, IMAGES, "maps", averaged.units[:, 1], key=jax.random.key(1), samples=2)
    np.testing.assert_allclose(averaged.maps[:, 1], one.maps, rtol=1e-4, atol=1e-6)
    whole = integrated_gradients(NETWORK, IMAGES, "logits", "all", steps=40)
    # Completeness: each map adds up to what the unit has more than on black.
    dark = NETWORK(jnp.zeros_like(IMAGES))["logits"]
    np.testing.assert_allclose(whole.maps.sum((2, 3, 4)), whole.values - dark, rtol=0.02, atol=0.02)


def test_another_word_for_the_units_is_refused(without_type_checks):
    with pytest.raises(InputError, match="every"):
        saliency(NETWORK, IMAGES, "maps", "every")


def test_by_default_the_most_probable_class():
    found = saliency(NETWORK, IMAGES, "logits")
    np.testing.assert_array_equal(found.units[:, 0], NETWORK(jnp.asarray(IMAGES))["logits"].argmax(1))
    np.testing.assert_array_equal(found.maps, saliency(NETWORK, IMAGES, "logits", found.units).maps)


def test_networks_of_one_architecture_share_a_compilation():
    runs = []

    def counted(kernels, x):
        runs.append(None)
        return network(kernels, x)

    def of(factor):
        return saliency(Partial(counted, [kernel * factor for kernel in KERNELS]), IMAGES, "logits", 1)

    of(1.0)
    before = len(runs)
    found = of(3.0)
    # Shapes are looked up again, no more.
    assert len(runs) == before + 1
    np.testing.assert_allclose(found.maps, 9 * saliency(NETWORK, IMAGES, "logits", 1).maps, rtol=1e-4, atol=1e-6)


def cubes(x):
    return (x**3).sum((1, 2))


def test_smooth_grad_of_what_is_known():
    """Of Σ x³ the mean over noise of the gradient is 3 (x² + σ²); of a linear function every gradient is the same."""
    images = np.broadcast_to(np.float32([0.25, 0.75])[:, None, None, None], (2, 20, 20, 1)).copy()
    images[:, 0, 0], images[:, 0, 1] = 0, 1
    key, samples = jax.random.key(0), 40
    found = smooth_grad(cubes, images, unit=0, key=key, noise=0.2, samples=samples)
    np.testing.assert_allclose(found.values, (images**3).sum((1, 2, 3)), rtol=1e-5)
    for level, picture in zip((0.25, 0.75), found.maps, strict=True):
        inside = picture[1:]
        # The variance of (x + σ ε)² is 4 x² σ² + 2 σ⁴.
        error = 3 * np.sqrt((4 * level**2 * 0.04 + 2 * 0.04**2) / samples / inside.size)
        assert abs(inside.mean() - 3 * (level**2 + 0.04)) < 4 * error
        assert inside.std() > 0
    again = smooth_grad(cubes, images, unit=0, key=key, noise=0.2, samples=samples)
    np.testing.assert_array_equal(again.maps, found.maps)
    other = smooth_grad(cubes, images, unit=0, key=jax.random.key(1), noise=0.2, samples=samples)
    assert (other.maps != found.maps).any()
    linear = smooth_grad(lambda x: 3 * x.sum((1, 2)), images, unit=0, key=key, samples=3)
    np.testing.assert_allclose(linear.maps, 3, rtol=1e-6)


def test_completeness():
    """Integrated gradients add up to the difference of the values: the axiom, for a smooth and a rectified network."""
    with jax.enable_x64(True):
        kernels = [jnp.asarray(kernel, jnp.float64) for kernel in KERNELS]
        images = IMAGES.astype(np.float64)

        def smooth(x):
            return jnp.tanh(ops.conv(jnp.tanh(ops.conv(x, kernels[0])), kernels[1])).sum((1, 2))

        baseline = np.random.default_rng(4).random((6, 5, 1))
        for start in (0.0, baseline):
            found = integrated_gradients(smooth, images, unit=[0, 1, 2], baseline=start, steps=20)
            at = [
                smooth(jnp.broadcast_to(jnp.asarray(x), images.shape))[np.arange(3), [0, 1, 2]] for x in (images, start)
            ]
            np.testing.assert_allclose(found.values, at[0], rtol=1e-12)
            np.testing.assert_allclose(found.maps.sum((1, 2, 3)), at[0] - at[1], rtol=1e-9)

        rectified = functools.partial(network, kernels)
        gaps = []
        for steps in (4, 64):
            found = integrated_gradients(rectified, images, "logits", 0, baseline=baseline, steps=steps)
            start = rectified(jnp.asarray(baseline)[None])["logits"][0, 0]
            gaps.append(np.abs(found.maps.sum((1, 2, 3)) - (found.values - start)).max())
        assert gaps[1] < 0.02 * np.abs(found.values - start).max()
        assert gaps[1] < gaps[0]


def test_pixels_that_change_nothing_get_nothing():
    def f(x):
        return jnp.tanh(x[:, :3].sum((1, 2)))

    found = integrated_gradients(f, IMAGES, unit=0).maps
    assert (found[:, :3] > 0).all()
    assert not found[:, 3:].any()
    # A pixel that is as in the baseline has no part in the difference.
    assert not integrated_gradients(f, IMAGES, unit=0, baseline=IMAGES[0]).maps[0].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: saliency(NETWORK, IMAGES, "logit", 0), "layer='logit' is unknown; .*perhaps you meant logits"),
        (lambda: saliency(NETWORK, IMAGES, "logits", 3), r"no unit \(3,\)"),
        (lambda: saliency(NETWORK, IMAGES, "logits", [0, 1]), "2 units for 3 images"),
        (lambda: saliency(NETWORK, IMAGES * 255, "logits", 0), "outside .*divide pixels by 255"),
        (lambda: saliency(NETWORK, IMAGES[0], "logits", 0), "shape"),
        (lambda: saliency(NETWORK, IMAGES + np.nan, "logits", 0), "NaN"),
        (lambda: saliency(NETWORK, IMAGES, "logits", 0, batch_size=0), "batch_size=0"),
        (lambda: saliency(lambda x: x.sum(), IMAGES), "no units for each of 3 images"),
        (lambda: saliency(cubes, IMAGES, unit=0, rule="guided"), "no rectifier"),
        (lambda: smooth_grad(cubes, IMAGES, unit=0, key=jax.random.key(0), noise=-1), "noise=-1"),
        (lambda: smooth_grad(cubes, IMAGES, unit=0, key=jax.random.key(0), samples=0), "samples=0"),
        (lambda: integrated_gradients(cubes, IMAGES, unit=0, steps=0), "steps=0"),
        (lambda: integrated_gradients(cubes, IMAGES, unit=0, baseline=np.inf), "baseline"),
        (lambda: integrated_gradients(cubes, IMAGES, unit=0, baseline=np.zeros((9, 6, 5, 1))), "baseline"),
    ],
)
def test_bad_input(call, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        call()
