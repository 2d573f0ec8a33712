"""Tokens of PyTorch's transformers as maps, against reshaping what PyTorch returns."""

import math

import jax
import numpy as np
import pytest

from cnnjax import analysis, models

torch = pytest.importorskip("torch", reason="networks of PyTorch need torch")
side = pytest.importorskip("tests.bridge.torch_side", reason="networks of PyTorch need torch")
transformers = pytest.importorskip("tests.bridge.torch_transformers", reason="networks of PyTorch need torch")


class Listed(transformers.SwinBlock):
    """A block that takes tokens in a list, (batch, tokens, channels), as the first Swin does."""

    def forward(self, x):
        return super().forward(x.view(x.shape[0], self.side, self.side, -1)).flatten(1, 2)


class ListedMerge(transformers.Merge):
    def forward(self, x):
        side = int(x.shape[1] ** 0.5)
        return super().forward(x.view(x.shape[0], side, side, -1)).flatten(1, 2)


class ListedSwin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = torch.nn.Conv2d(3, 4, 2, 2)
        self.blocks = torch.nn.Sequential(Listed(4, 16, 0), Listed(4, 16, 2), ListedMerge(4), Listed(8, 8, 2))
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


def reshaped(tokens, side):
    """What lies behind the class token, if there is one, row by row."""
    return tokens[:, tokens.shape[1] - side * side :].reshape(len(tokens), side, side, -1)


@pytest.mark.parametrize(
    ("make", "sides"),
    [
        (transformers.ViT, {"blocks.0": 4, "blocks.1.mlp": 4, "norm": 4}),
        pytest.param(
            ListedSwin, {"blocks.0": 16, "blocks.1.mlp": 16, "blocks.2": 8, "blocks.3": 8}, marks=pytest.mark.slow
        ),
    ],
)
def test_tokens_of_pytorch_become_maps(make, sides):
    module, images = side.drawn(make), side.pixels(2)
    forward, variables = models.from_torch(module, (32, 32, 3))
    seen = analysis.token_maps(jax.tree_util.Partial(forward, variables))
    logits, activations = jax.jit(seen)(images)
    expected, by_path = side.results(module, images)
    assert side.difference(logits, expected.numpy()) < 1e-5
    for name, size in sides.items():
        np.testing.assert_allclose(activations[name], reshaped(by_path[name], size), atol=1e-5)
    # Windows are no maps.
    assert {a.ndim for name, a in activations.items() if "attn" in name} <= {3, 4}
    assert all(a.shape[1:3] != (4, 4) for name, a in activations.items() if make is ListedSwin and "attn" in name)


SWIN = dict(patch_size=2, embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=4)
ENCODER = dict(patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
CONFIGURATIONS = {"ViT": ENCODER, "Dinov2WithRegisters": dict(ENCODER, num_register_tokens=3), "Swin": SWIN}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("family", CONFIGURATIONS)
def test_tokens_of_transformers_become_maps(family):
    hub = pytest.importorskip("transformers", reason="these networks are those of transformers")
    configuration = getattr(hub, f"{family}Config")(image_size=32, **CONFIGURATIONS[family])
    module = side.drawn(lambda: getattr(hub, f"{family}ForImageClassification")(configuration))
    images = side.pixels(2)
    forward, variables = models.from_torch(module, (32, 32, 3))
    activations = jax.jit(analysis.token_maps(jax.tree_util.Partial(forward, variables)))(images)[1]
    by_path = side.results(module, images)[1]
    tokens = {name for name in activations.keys() & by_path.keys() if by_path[name].ndim == 3}
    maps = {name: activations[name] for name in tokens if activations[name].ndim == 4}
    # The last ones of all are maps, in PyTorch's order.
    assert [name for name in by_path if "layernorm" in name or "norm2" in name][-1] in maps
    for name, a in maps.items():
        # 16, 17, 20, 64 and 256 tokens.
        np.testing.assert_allclose(a, reshaped(by_path[name], math.isqrt(by_path[name].shape[1])), atol=1e-4)
