"""What reads traced programs finds in the library's convolution what it finds in XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import analysis, models, ops
from cnnjax.kernels.by_xla import plain
from cnnjax.ops import convolution
from tests.drawn import drawn_variables
from tests.repeats import repeated

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 16, 16, 3)), jnp.float32)
DEPTHWISE = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 1, 6)), jnp.float32)
POINTWISE = jnp.asarray(np.random.default_rng(2).normal(size=(1, 1, 6, 4)), jnp.float32)


def separable(x):
    """Depthwise with two features for each channel, pointwise, and the adjoint of a strided one in two groups."""
    h = jax.nn.relu(ops.conv(x, DEPTHWISE, groups=3, stride=2))
    h = ops.conv(h, POINTWISE)
    up = ops.conv_transpose(h, DEPTHWISE[..., :4], input_size=16, stride=2, groups=4)
    return h, up


def network(name):
    model = getattr(models, name)(num_classes=5)
    variables = drawn_variables(model, IMAGES)
    return lambda images: model.apply(variables, images)


NETWORKS = {"separable": lambda: separable} | {
    name: lambda name=name: network(name) for name in ("resnet20", "alexnet_small", "group_all_conv")
}


@pytest.fixture(params=NETWORKS)
def both(request, monkeypatch):
    """What a function of a network gives with the library's convolution and with XLA's."""
    f = NETWORKS[request.param]()

    def of(analyse):
        ours = analyse(f)
        with monkeypatch.context() as patch:
            patch.setattr(
                convolution,
                "convolution",
                lambda x, kernel, geometry: plain(x, kernel, geometry=geometry, which="forward", mapped=(False, False)),
            )
            return ours, analyse(lambda images: f(images))

    return of


def test_receptive_fields_cost_and_linearity_are_the_same(both):
    ours, theirs = both(lambda f: analysis.receptive_field(f, IMAGES))
    assert jax.tree.map(str, ours) == jax.tree.map(str, theirs)
    ours, theirs = both(lambda f: analysis.cost(f, IMAGES))
    assert ours == theirs
    assert ours.multiply_adds > 0
    ours, theirs = both(lambda f: analysis.is_linear(f, IMAGES))
    assert ours == theirs


@pytest.mark.parametrize("both", repeated(["separable", "alexnet_small"]), indirect=True)
def test_rectifier_rules_and_interventions_are_the_same(both):
    def pictures(f):
        def first(images):
            return jax.tree.leaves(f(images))[0].sum()

        return [jax.jit(jax.grad(analysis.with_relu_rule(first, rule)))(IMAGES) for rule in ("gradient", "guided")]

    def edited(f):
        return jax.tree.leaves(jax.jit(analysis.intervene(f, lambda name, a: a * (1 + len(name) % 2)))(IMAGES))

    for analyse in (pictures, edited):
        for got, expected in zip(*both(analyse), strict=True):
            np.testing.assert_allclose(got, expected, atol=2e-5 * float(jnp.abs(expected).max()))


def test_cost_counts_derivatives_of_convolutions():
    def gradients(x):
        return jax.grad(lambda x: jnp.sum(ops.conv(x, DEPTHWISE[..., :3], groups=3) ** 2))(x)

    # The convolution and the gradient of its input: as many products each.
    assert analysis.cost(gradients, IMAGES).multiply_adds == 2 * IMAGES.size * 9
