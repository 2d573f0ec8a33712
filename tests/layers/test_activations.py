"""Nonlinearities that do not alias: what they are of numbers, and whole networks that no shift moves the scores of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from layer_cases import draw

from cnnjax import InputError, layers, models, ops
from cnnjax.layers.activations import ALIAS_FREE
from cnnjax.sweep.network import NetworkConfig
from tests.drawn import drawn_variables
from tests.repeats import repeated


def test_numbers_without_places_meet_the_function_itself():
    x = draw(3, 5)
    np.testing.assert_allclose(layers.alias_free_relu(x), np.maximum(x, 0))
    # tanh's approximation is within 5e-4 of the normal distribution function's.
    np.testing.assert_allclose(layers.alias_free_gelu(x), x * scipy.stats.norm.cdf(x), atol=1e-3)


def test_the_quadratic_is_the_nearest_to_gelu_over_normal_numbers():
    x, weights = np.polynomial.hermite_e.hermegauss(80)
    powers, root = np.stack([x**0, x, x**2], 1), np.sqrt(weights)
    nearest = np.linalg.lstsq(root[:, None] * powers, root * x * scipy.stats.norm.cdf(x), rcond=None)[0]
    near = (abs(x) < 5)[:, None]
    values = layers.alias_free_quadratic(jnp.asarray(x[near[:, 0]][:, None], jnp.float32))
    np.testing.assert_allclose(np.ravel(values), powers[near[:, 0]] @ nearest, rtol=1e-5)


@pytest.mark.parametrize("activation", ALIAS_FREE)
def test_maps_over_a_group_are_filtered_one_orientation_like_another(activation):
    x = draw(2, 4, 5, 4, 3)
    each = [activation(x[:, :, :, turn]) for turn in range(4)]
    np.testing.assert_allclose(activation(x), np.stack(each, 3), atol=1e-6)


NETWORKS = {
    "all_conv": lambda **fields: models.AllConv(num_classes=3, widths=(4, 6), depth=1, **fields),
    "resnet": lambda **fields: models.ResNet(num_classes=3, widths=(4, 6), depth=1, stem="7x7", shortcut="B", **fields),
    "pre-activation": lambda **fields: models.ResNet(
        num_classes=3, widths=(4, 6), depth=1, pre_activation=True, **fields
    ),
    "vgg": lambda **fields: models.VGG(num_classes=3, widths=(4, 6), depth=1, head="average", norm="batch", **fields),
}


CASES = [("resnet", (12, 16)), ("all_conv", (9, 8)), ("pre-activation", (8, 8)), ("vgg", (8, 6))]


@pytest.mark.parametrize(("network", "size"), repeated(CASES, quick=2))
def test_circular_networks_without_aliasing_are_exactly_invariant_to_every_real_shift(network, size):
    fields = dict(downsample="alias_free", activation=layers.alias_free_quadratic, dtype=jnp.float64)
    with jax.enable_x64(True):
        image = draw(1, *size, 2, dtype=np.float64)
        offsets = [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.5, 0.5), (-2.25, 3.1)]
        images = np.concatenate([ops.fourier_shift(image, offset) for offset in offsets])
        logits = {}
        for padding in ("circular", "same"):
            model = NETWORKS[network](padding=padding, **fields)
            variables = drawn_variables(model, images)
            logits[padding] = np.asarray(jax.jit(lambda v, x, m=model: m.apply(v, x)[0])(variables, images))
    scale = np.ptp(logits["circular"][0])
    assert scale > 0.01
    np.testing.assert_allclose(
        logits["circular"], logits["circular"][:1] + np.zeros((5, 1)), rtol=0, atol=1e-11 * scale
    )
    # With zeros at the border there is one that does not move along.
    assert np.abs(logits["same"] - logits["same"][0]).max() > 1e-3 * np.ptp(logits["same"][0])


def test_group_networks_of_even_sizes_stay_exact_under_quarter_turns():
    fields = dict(group="p4", downsample="alias_free", activation=layers.alias_free_gelu, dtype=jnp.float64)
    with jax.enable_x64(True):
        image = draw(1, 8, 8, 1, dtype=np.float64)
        model = models.AllConv(num_classes=3, widths=(6,), depth=1, **fields)
        variables, both = drawn_variables(model, image), np.concatenate([image, np.rot90(image, axes=(1, 2))])
        logits = jax.jit(lambda v, x: model.apply(v, x)[0])(variables, both)
        np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-11 * np.ptp(logits[0]))


def test_they_are_options_of_every_network_of_maps():
    for name in ("all_conv", "resnet", "vgg", "lenet5", "alexnet"):
        config = NetworkConfig.of(name, downsample="alias_free", activation="alias_free_gelu")
        assert (config.downsample, config.activation) == ("alias_free", "alias_free_gelu")


def test_tokens_are_refused(without_type_checks):
    model = models.ViT(2, width=8, depth=1, heads=2, activation=layers.alias_free_gelu)
    with pytest.raises(InputError, match=r"ViT: activation=the function alias_free_gelu resamples maps"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8, 8, 1)))
