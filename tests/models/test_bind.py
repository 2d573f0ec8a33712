"""A bound network is the function that its module is, compiled once for all networks of its architecture."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis, models, ops
from tests.drawn import drawn_variables

IMAGES = jnp.asarray(np.random.default_rng(0).random((2, 8, 8, 1)), jnp.float32)
FIELDS = dict(num_classes=3, widths=(4,), depth=1, head_width=4)
MODEL = models.AllConv(**FIELDS)
VARIABLES = drawn_variables(MODEL, IMAGES)
KERNELS = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 3, 1, 2)), jnp.float32)


def test_it_gives_what_the_module_gives_in_forward_order():
    logits, activations = models.bind(MODEL, VARIABLES)(IMAGES)
    expected, layers = MODEL.apply(VARIABLES, IMAGES)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert list(activations) == list(layers)
    assert list(layers) != sorted(layers)
    for name, layer in layers.items():
        np.testing.assert_allclose(activations[name], layer, rtol=1e-5, atol=1e-6)


def test_analyses_read_the_program_of_the_module():
    bound, written = models.bind(MODEL, VARIABLES), lambda images: MODEL.apply(VARIABLES, images)
    assert analysis.receptive_field(bound, IMAGES) == analysis.receptive_field(written, IMAGES)
    assert analysis.cost(bound, IMAGES) == analysis.cost(written, IMAGES)
    assert str(jax.make_jaxpr(bound)(IMAGES)).count("jit") == str(jax.make_jaxpr(written)(IMAGES)).count("jit")


def test_networks_of_one_architecture_are_traced_once():
    traced = []

    def network(kernel, x):
        traced.append(x.shape)
        return {"maps": jnp.tanh(ops.conv(x, kernel))}

    for kernel in KERNELS:
        found = models.bind(network, kernel)(IMAGES)["maps"]
        np.testing.assert_allclose(found, jnp.tanh(ops.conv(IMAGES, kernel)), rtol=1e-5, atol=1e-6)
    assert len(traced) == 1
    again = models.AllConv(**FIELDS)
    assert again is not MODEL
    assert models.bind(again, VARIABLES).func is models.bind(MODEL, VARIABLES).func


def test_a_bound_network_is_an_argument_of_jit():
    energy = jax.jit(lambda f, x: (f(x) ** 2).sum())
    slope = jax.grad(energy)(models.bind(lambda scale, x: scale * x, jnp.float32(3)), IMAGES)
    # d/ds Σ (s x)² = 2 s Σ x².
    np.testing.assert_allclose(slope.args[0], 6 * (np.asarray(IMAGES) ** 2).sum(), rtol=1e-5)


class Scaled(nn.Module):
    scale: np.ndarray

    def __call__(self, images):
        return self.scale * images


@pytest.mark.parametrize(
    ("model", "variables", "message"),
    [
        (MODEL, VARIABLES["params"], "must be what model.init returns"),
        (MODEL, None, "must be what model.init returns"),
        (3, {}, "model=3 must be a Flax module or a function"),
        (lambda v, x: x, {"relu": jax.nn.relu}, r"variables\['relu'\]"),
        (Scaled(np.ones(2)), {}, "has no hash to find what is compiled for it: give a function of"),
    ],
)
def test_what_cannot_be_bound_is_refused(model, variables, message):
    with pytest.raises(InputError, match=message) as error:
        models.bind(model, variables)
    assert "\n" not in str(error.value)
