"""The learning signal against PyTorch's autograd, on a chain of convolutions with a shortcut."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnnjax import ops
from cnnjax.analysis import gradient_flow

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_convolutions_with_a_shortcut(activation):
    random = np.random.default_rng(1)
    images, labels = random.normal(size=(3, 7, 7, 2)), np.array([0, 3, 1])
    shapes = {"stem": (3, 3, 2, 4), "first": (3, 3, 4, 4), "second": (3, 3, 4, 4), "head": (4, 5)}
    weights = {name: random.normal(size=shape) / np.sqrt(np.prod(shape[:-1])) for name, shape in shapes.items()}

    def loss(params, batch):
        x, labels = batch
        act, h = getattr(jax.nn, activation), {}
        h["stem"] = act(ops.conv(x, params["stem"]))
        h["first"] = act(ops.conv(h["stem"], params["first"]))
        h["sum"] = h["stem"] + ops.conv(h["first"], params["second"])
        h["logits"] = h["sum"].mean((1, 2)) @ params["head"]
        return optax.softmax_cross_entropy_with_integer_labels(h["logits"], labels).mean(), h

    with jax.enable_x64(True):
        flow = gradient_flow(loss, jax.tree.map(jnp.asarray, weights), (jnp.asarray(images), jnp.asarray(labels)))

    def leaf(name, array):
        order = (3, 2, 0, 1) if array.ndim == 4 else (1, 0)
        return torch.tensor(array.transpose(order), requires_grad=True)

    theirs, act, h = {name: leaf(name, array) for name, array in weights.items()}, getattr(torch, activation), {}
    convolve = torch.nn.functional.conv2d
    h["stem"] = act(convolve(torch.tensor(images.transpose(0, 3, 1, 2)), theirs["stem"], padding=1))
    h["first"] = act(convolve(h["stem"], theirs["first"], padding=1))
    h["sum"] = h["stem"] + convolve(h["first"], theirs["second"], padding=1)
    h["logits"] = h["sum"].mean((2, 3)) @ theirs["head"].T
    for a in h.values():
        a.retain_grad()
    expected = torch.nn.functional.cross_entropy(h["logits"], torch.tensor(labels))
    expected.backward()

    assert flow.loss == pytest.approx(expected.item(), rel=1e-12)
    assert list(flow.parameters) == list(weights)
    assert list(flow.activations) == list(h)
    for ours, arrays in ((flow.parameters, theirs), (flow.activations, h)):
        for name, array in arrays.items():
            assert ours[name].norm == pytest.approx(array.norm().item(), rel=1e-10)
            assert ours[name].gradient_norm == pytest.approx(array.grad.norm().item(), rel=1e-10)
            assert ours[name].gradient_rms == pytest.approx(array.grad.square().mean().sqrt().item(), rel=1e-10)
