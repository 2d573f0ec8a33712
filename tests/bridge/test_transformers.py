"""Networks of the library `transformers`, by their configurations, small and with random weights."""

import jax
import numpy as np
import pytest

from cnnjax import models
from tests.repeats import repeated

torch = pytest.importorskip("torch", reason="networks of PyTorch need torch")
hub = pytest.importorskip("transformers", reason="these networks are those of transformers")
side = pytest.importorskip("tests.bridge.torch_side", reason="networks of PyTorch need torch")

ENCODER = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=32)
STAGES = dict(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 2], num_labels=5)
CONFIGURATIONS = {
    "ResNet": STAGES,
    "ViT": dict(ENCODER, patch_size=8),
    "RegNet": dict(STAGES, groups_width=2),
    "MobileNetV2": dict(depth_multiplier=0.25, min_depth=2, image_size=32, num_labels=5),
    "ConvNextV2": dict(hidden_sizes=[4, 8], depths=[1, 1], num_stages=2, num_labels=5),
    "EfficientNet": dict(width_coefficient=0.2, depth_coefficient=0.2, image_size=32, hidden_dim=256, num_labels=5),
    "Dinov2": dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8),
    "Swin": dict(image_size=32, patch_size=2, embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=4),
    "Beit": dict(ENCODER, patch_size=8, use_relative_position_bias=True),
}


@pytest.mark.parametrize("family", repeated(CONFIGURATIONS, quick=2))
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_network_of_transformers_gives_its_logits_and_activations(family):
    configuration = getattr(hub, f"{family}Config")(**CONFIGURATIONS[family])
    make = getattr(hub, f"{family}ForImageClassification")
    module, images = side.drawn(lambda: make(configuration)), side.pixels(2)
    forward, variables = models.from_torch(module, (32, 32, 3))
    logits, activations = jax.jit(forward)(variables, images)
    expected, by_path = side.results(module, images)
    assert side.difference(logits, expected.logits.numpy()) < 1e-5
    assert side.difference(forward(variables, images[:1])[0], expected.logits.numpy()[:1]) < 1e-5
    both = activations.keys() & by_path.keys()
    assert len(both) > 0.6 * len(by_path)
    assert max(side.difference(activations[name], by_path[name]) for name in both if np.ndim(by_path[name])) < 1e-5
