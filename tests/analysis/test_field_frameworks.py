"""Fields and cost of one small network, written for each framework."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import analysis
from tests.references.frameworks import BIAS, KERNEL, MAKERS, every_framework

IMAGES = np.random.default_rng(5).normal(size=(3, 9, 9, 1)).astype(np.float32)
HIDDEN = "1/hidden"


@every_framework
def test_receptive_field(make):
    logits, activations = analysis.receptive_field(make(), IMAGES)
    hidden = activations["hidden"]
    assert (hidden.size, hidden.stride, hidden.padding, hidden.units) == ((3, 3), (1, 1), (1, 1), (9, 9))
    assert (logits.size, logits.stride) == ((9, 9), (0, 0))
    assert hidden.exact == logits.exact == (True, True)


@every_framework
def test_influence(make):
    reached = analysis.influence(make(), IMAGES, HIDDEN, (4, 4))
    expected = np.zeros((9, 9), bool)
    expected[3:6, 3:6] = True
    np.testing.assert_array_equal(reached, expected)


@every_framework
def test_effective_field(make):
    field = analysis.effective_receptive_field(make(), jnp.asarray(IMAGES), HIDDEN)
    # The derivative of Σ_o relu(h_o) is the sum of the kernels of those channels whose unit is on.
    window = IMAGES[:, 3:6, 3:6, 0]
    on = np.einsum("bij,ijo->bo", window, KERNEL[:, :, 0]) + BIAS > 0
    weights = np.abs(np.einsum("bo,ijo->bij", on, KERNEL[:, :, 0])).mean(0)
    expected = np.zeros((9, 9))
    expected[3:6, 3:6] = weights / weights.sum()
    assert field.unit == (4, 4)
    np.testing.assert_allclose(field.map, expected, atol=1e-6)


@every_framework
def test_cost(make):
    cost = analysis.cost(make(), IMAGES)
    found = {name: layer.multiply_adds for name, layer in cost.layers.items()}
    assert found == {"hidden": 3 * 9 * 9 * 9 * 4, "0": 3 * 4 * 3}


@pytest.mark.parametrize("framework", ["nnx", "equinox"])
def test_parameters_are_those_of_the_module(framework):
    cost = analysis.cost(MAKERS[framework](), IMAGES)
    assert {name: layer.parameters for name, layer in cost.layers.items()} == {"hidden": 9 * 4 + 4, "0": 4 * 3}
