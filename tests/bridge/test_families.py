"""Networks of each family give PyTorch's logits and activations, on random weights."""

import jax
import numpy as np
import pytest

from cnnjax import models
from tests.repeats import repeated

NEEDED = "networks of PyTorch need torch"
side = pytest.importorskip("tests.bridge.torch_side", reason=NEEDED)
convolutional = pytest.importorskip("tests.bridge.torch_networks", reason=NEEDED)
transformers = pytest.importorskip("tests.bridge.torch_transformers", reason=NEEDED)

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
FAMILIES = {**convolutional.CONVOLUTIONAL, **transformers.TRANSFORMERS}
FIRST = ("ResNet of basic blocks", "VGG", "MobileNetV2", "Inception", "ConvNeXt", "ViT")
"""What each has that those before it have not: residuals, pools, groups, branches, layer normalisation, attention."""


@pytest.mark.parametrize("family", repeated(sorted(FAMILIES, key=lambda name: name not in FIRST), quick=len(FIRST)))
def test_a_network_of_each_family_gives_the_logits_and_activations_of_pytorch(family):
    module, images = side.drawn(FAMILIES[family]), side.pixels(2)
    forward, variables = models.from_torch(module, (32, 32, 3), mean=MEAN, std=STD)
    logits, activations = jax.jit(forward)(variables, images)
    standardised = ((images - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)
    expected, by_path = side.results(module, standardised)
    assert side.difference(logits, expected.numpy()) < 1e-5
    # An identity, as dropout in evaluation mode, is no operation and so no activation.
    assert set(activations) <= set(by_path)
    assert len(activations) > 0.7 * len(by_path)
    apart = {name: side.difference(a, by_path[name]) for name, a in activations.items()}
    assert {name: value for name, value in apart.items() if not value < 1e-5} == {}
