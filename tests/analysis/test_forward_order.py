"""Layers come back in the order in which the network computes them, whatever their names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import analysis, models, ops
from tests.repeats import repeated

RANDOM = np.random.default_rng(0)
KERNELS = {"first": RANDOM.normal(size=(3, 3, 1, 2)), "second": RANDOM.normal(size=(3, 3, 2, 2))}
KERNELS = {name: jnp.asarray(kernel, jnp.float32) for name, kernel in KERNELS.items()}
IMAGES = jnp.asarray(RANDOM.random((3, 8, 8, 1)), jnp.float32)
SHIFT = analysis.Shift((0, 1), fill="circular")
LAYERS = ["stem", "body", "end"]


def network(kernels, images):
    stem = jax.nn.relu(ops.conv(images, kernels["first"], padding="circular"))
    body = jax.nn.relu(ops.conv(stem, kernels["second"], padding="circular"))
    return body.mean((1, 2)), {"stem": stem, "body": body, "end": body.mean((1, 2))}


BOUND = models.bind(network, KERNELS)

PER_ACTIVATION = {
    "receptive_field": lambda f: analysis.receptive_field(f, IMAGES),
    "equivariance_error": lambda f: analysis.equivariance_error(f, IMAGES, SHIFT),
    "normalized_variance": lambda f: analysis.normalized_variance(f, IMAGES, analysis.shifts(1)),
    "intervene": lambda f: analysis.intervene(f, lambda name, a: a)(IMAGES),
    "fitted_map_error": lambda f: analysis.fitted_map_error(f, IMAGES, SHIFT),
    "shift_terms": lambda f: analysis.shift_terms(f, IMAGES, SHIFT),
    "lie_derivative": lambda f: analysis.lie_derivative(f, IMAGES, "brightness"),
    "local_equivariance_error": lambda f: analysis.local_equivariance_error(f, IMAGES, "brightness"),
    "is_linear": lambda f: analysis.is_linear(f, IMAGES),
    "linearity_error": lambda f: analysis.linearity_error(f, IMAGES),
    "correspondence": lambda f: analysis.correspondence(f, IMAGES, IMAGES.at[:, 0, 0].set(2.0)),
    "invariance_curve": lambda f: analysis.invariance_curve(f, IMAGES, [SHIFT]),
    "goodfellow_invariance": lambda f: analysis.goodfellow_invariance(f, IMAGES, analysis.shifts(1), firing_rate=0.3),
    "translation_sensitivity_map": lambda f: analysis.translation_sensitivity_map(f, IMAGES, max_shift=1),
    "with_relu_rule": lambda f: analysis.with_relu_rule(f, rule="deconvnet")(IMAGES),
}


@pytest.mark.parametrize("name", repeated(PER_ACTIVATION, quick=4))
def test_a_result_like_that_of_f_has_its_layers_in_forward_order(name):
    _, layers = PER_ACTIVATION[name](BOUND)
    assert list(layers) == LAYERS
    # What stands under a name is still of that layer: bodies read two windows of three, stems one.
    if name == "receptive_field":
        assert {layer: field.size[0] for layer, field in layers.items()} == {"stem": 3, "body": 5, "end": 8}
        assert list(analysis.by_name((None, layers))) == LAYERS


def test_a_function_of_ones_own_keeps_its_order_too():
    for _ in range(2):  # the second time JAX knows its program
        _, layers = analysis.receptive_field(plain, IMAGES)
        assert list(layers) == LAYERS


def plain(images):
    return network(KERNELS, images)


def test_names_in_a_result_stand_where_its_numbers_are():
    values = {"b": 2.0, "a": {"d": 4.0, "c": 3.0}}
    assert analysis.by_name((1.0, values)) == {"0": 1.0, "b": 2.0, "d": 4.0, "c": 3.0}
    assert list(analysis.by_name((1.0, values))) == ["0", "b", "d", "c"]
