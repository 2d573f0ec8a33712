"""Lie derivatives of networks of PyTorch against finite differences of shifts, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from cnnjax import models, ops
from cnnjax.analysis import lie_derivative, token_maps

side = pytest.importorskip("tests.bridge.torch_side", reason="networks of PyTorch need torch")
networks = pytest.importorskip("tests.bridge.torch_networks", reason="networks of PyTorch need torch")
transformers = pytest.importorskip("tests.bridge.torch_transformers", reason="networks of PyTorch need torch")

FAMILIES = {
    "ResNet": (lambda: networks.ResNet(networks.BasicBlock), {"maxpool": 4, "layer2": 8}),
    "VGG": (lambda: networks.VGG(norm=False), {"features.0": 1, "features.7": 4}),
    "MobileNetV2": (networks.mobilenet_v2, {"0": 2, "1": 2, "2": 4}),
    "ConvNeXt": (networks.convnext, {"0": 4, "1": 4, "3": 8}),
    "Inception": (networks.Inception, {"stem": 4, "seven": 4, "pool": 4}),
    "ViT": (transformers.ViT, {"patch": 8, "blocks.0": 8, "blocks.1": 8}),
    "Swin": (transformers.Swin, {"patch": 4, "blocks.1": 4, "blocks.2": 8}),
}
"""How far apart the units of some maps lie, in pixels."""


@pytest.mark.parametrize("family", ["ResNet", *(pytest.param(n, marks=pytest.mark.slow) for n in list(FAMILIES)[1:])])
def test_lie_derivatives_are_the_limit_of_shifts(family):
    make, strides = FAMILIES[family]
    with jax.enable_x64(True):
        forward, variables = models.from_torch(side.drawn(make).double(), (32, 32, 3))
        network = token_maps(Partial(forward, variables))

        def f(x):
            logits, activations = network(x)
            return {**{name: activations[name] for name in strides}, "logits": logits}

        @jax.jit
        def conjugated(x, t):
            """T₋ₜ f(Tₜ x), T moving images and maps by the Fourier phase along their rows."""

            def moved(a, distance):
                return ops.fourier_shift(a, jnp.stack([jnp.zeros(()), distance]))

            found = f(moved(x, t))
            return {
                **{name: moved(found[name], -t / stride) for name, stride in strides.items()},
                "logits": found["logits"],
            }

        images, t = jnp.asarray(side.pixels(1), jnp.float64), 1e-5
        after, before, now = (conjugated(images, s) for s in (t, -t, 0.0))
        for name, found in lie_derivative(f, images, "translation_x").items():
            expected = (after[name] - before[name]) / (2 * t)
            assert np.abs(expected).max() > 1e-3 * np.abs(now[name]).max()
            np.testing.assert_allclose(found, expected, atol=1e-6 * float(np.abs(expected).max()))
