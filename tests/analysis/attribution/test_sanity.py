"""The checks of attributions on random networks: the published patterns hold, and the measures are what they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.tree_util import Partial

from cnnjax import InputError, ops
from cnnjax.analysis import saliency, sanity

RULES = ("gradient", "deconvnet", "guided")


def cloudy(count, side, seed=0):
    """Images whose spectrum falls as natural images' does, 1 / f, with mean 0."""
    across = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side)] * 2))
    across[0, 0] = np.inf
    noise = np.random.default_rng(seed).normal(size=(count, side, side))
    images = np.fft.ifft2(np.fft.fft2(noise) / across).real
    return (images / images.std((1, 2), keepdims=True))[..., None].astype(np.float32)


def one_layer(pool, params, x):
    x = jax.nn.relu(ops.conv(x, params["conv"]))
    x = ops.max_pool(x, 2) if pool else x
    return x.reshape(len(x), -1) @ params["dense"]


@functools.cache
def explanation(rule):
    return lambda f, images: saliency(f, images, unit=0, rule=rule, value_range=None).maps


def test_what_a_random_network_shows_is_the_image():
    """Nie et al. 2018: 256 random 7×7 filters on 32×32 pixels; .00, .05 and .88 without pooling, 0, .36, .73 with."""
    random = np.random.default_rng(0)
    images = cloudy(6, 32)
    for pool, published in ((False, (0, 0.05, 0.88)), (True, (0, 0.36, 0.73))):
        units = 256 * (16 if pool else 32) ** 2
        params = {
            "conv": jnp.asarray(random.normal(size=(7, 7, 1, 256)), jnp.float32),
            "dense": jnp.asarray(random.normal(size=(units, 1)), jnp.float32),
        }
        f = Partial(one_layer_with[pool], params)
        gradient, deconvnet, guided = (
            float(np.mean(sanity.image_recovery(f, images, explanation(rule)))) for rule in RULES
        )
        # Their images are photographs: how much a picture shares with one differs by as much.
        assert abs(gradient - published[0]) < 0.1
        assert deconvnet == pytest.approx(published[1], abs=0.1) if not pool else 0.2 < deconvnet < 0.8
        assert guided == pytest.approx(published[2], abs=0.15)


one_layer_with = {pool: functools.partial(one_layer, pool) for pool in (False, True)}


def deep(params, x):
    for layer in ("conv1", "conv2", "conv3"):
        x = jax.nn.relu(ops.conv(x, params[layer]["kernel"]) + params[layer]["bias"][None, None, None])
        x = ops.max_pool(x, 2)
    return x.reshape(len(x), -1) @ params["logits"]["kernel"]


def drawn(seed):
    random = np.random.default_rng(seed)
    params = {}
    for layer, shape in {"conv1": (5, 5, 1, 32), "conv2": (3, 3, 32, 32), "conv3": (3, 3, 32, 32)}.items():
        kernel = random.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        params[layer] = {"bias": jnp.zeros(shape[-1]), "kernel": jnp.asarray(kernel, jnp.float32)}
    return {**params, "logits": {"kernel": jnp.asarray(random.normal(size=(4 * 4 * 32, 2)), jnp.float32)}}


@functools.cache
def cascades():
    images = cloudy(8, 32, seed=1)
    return {rule: sanity.cascading_randomization(deep, drawn(0), drawn(1), images, explanation(rule)) for rule in RULES}


def test_the_gradient_collapses_and_the_others_do_not():
    """Adebayo et al. 2018: from the first to the last layer .15 → .01, deconvnet .65 → .44, guided .95 → .64."""
    ends = {rule: cascade.signed.mean(1)[[0, -1]] for rule, cascade in cascades().items()}
    assert abs(ends["gradient"][1]) < 0.1
    assert ends["deconvnet"][1] > 0.2
    assert ends["guided"][1] > 0.4
    assert ends["guided"][1] > ends["deconvnet"][1]
    for rule in RULES[1:]:
        assert ends[rule][0] > ends["gradient"][0] + 0.2


def test_cascades_are_what_they_say():
    found = cascades()["gradient"]
    assert found.layers == ("logits", "conv3", "conv2", "conv1")
    assert len(found.maps) == 5
    old, new = drawn(0), drawn(1)
    half = {**old, "logits": new["logits"], "conv3": new["conv3"]}
    images = cloudy(8, 32, seed=1)
    expected = [explanation("gradient")(Partial(deep, params), images) for params in (old, half, new)]
    for place, maps in zip((0, 2, 4), expected, strict=True):
        np.testing.assert_allclose(found.maps[place], maps, rtol=1e-5, atol=1e-6)
    for image in (0, 5):
        pair = [maps[image].ravel() for maps in expected[:2]]
        assert found.signed[1, image] == pytest.approx(scipy.stats.spearmanr(*pair).statistic, abs=1e-5)
        assert found.absolute[1, image] == pytest.approx(scipy.stats.spearmanr(*np.abs(pair)).statistic, abs=1e-5)


def test_recovery_is_the_correlation():
    images = cloudy(3, 8)
    other = np.random.default_rng(0).normal(size=images.shape) + images
    found = sanity.image_recovery(lambda x: x, images, lambda f, x: other)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(images, other, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(sanity.image_recovery(lambda x: x, images, lambda f, x: -2 * x + 1), -1, rtol=1e-5)
    assert np.isnan(sanity.image_recovery(lambda x: x, images, lambda f, x: 0 * x)).all()


def test_layers_that_are_fresh_already_are_left_out():
    fresh = {**drawn(1), "conv2": drawn(0)["conv2"]}
    found = sanity.cascading_randomization(deep, drawn(0), fresh, cloudy(8, 32, seed=1), explanation("gradient"))
    assert found.layers == ("logits", "conv3", "conv1")


@pytest.mark.parametrize(
    ("fresh", "explain", "message"),
    [
        (drawn(0), explanation("gradient"), "same numbers"),
        ({k: drawn(1)[k] for k in ("conv1", "logits")}, explanation("gradient"), "other parameters"),
        (jax.tree.map(lambda a: a[:1], drawn(1)), explanation("gradient"), "other parameters"),
        (drawn(1), lambda f, x: x[..., 0], "expected finite maps"),
        (drawn(1), lambda f, x: x + np.nan, "expected finite maps"),
    ],
)
def test_bad_input(fresh, explain, message):
    with pytest.raises(InputError, match=message):
        sanity.cascading_randomization(deep, drawn(0), fresh, cloudy(2, 32), explain)
