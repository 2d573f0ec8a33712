"""Layers and blocks against PyTorch's functions, composed here as the papers draw them, with copied weights."""

import functools

import jax
import numpy as np
import pytest

from cnnjax import layers, ops

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
F = torch.nn.functional


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_torch(x):
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def set_up(layer, *arguments, **keywords):
    """Variables of the shapes that the layer asks for, none of them at its initial value."""
    shapes = jax.eval_shape(functools.partial(layer.init, **keywords), jax.random.key(0), *arguments)
    leaves, tree = jax.tree.flatten(shapes)
    values = [np.abs(draw(leaf.shape, seed)) * np.float32(0.3) + np.float32(0.1) for seed, leaf in enumerate(leaves)]
    signs = [
        np.sign(draw(leaf.shape, -seed - 1 + len(leaves))) if leaf.ndim > 1 else np.float32(1)
        for seed, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, [value * sign for value, sign in zip(values, signs, strict=True)])


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "extra", "groups"),
    # PyTorch's output is s (n − 1) + k − 2p + extra; ours is s n.
    [(3, 2, 1, 1, 1), (2, 2, 0, 0, 1), (4, 2, 1, 0, 2), (5, 3, 1, 0, 1)],
)
@pytest.mark.parametrize("rank", [1, 2])
def test_conv_transpose(rank, kernel_size, stride, padding, extra, groups):
    x = draw((2, *(5, 4)[:rank], 4))
    layer = layers.ConvTranspose(6, kernel_size, strides=stride, padding=padding, groups=groups)
    variables = set_up(layer, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    theirs = F.conv_transpose1d if rank == 1 else F.conv_transpose2d
    # (*window, out / groups, in) here, (in, out / groups, *window) there.
    weight = torch.from_numpy(np.moveaxis(np.asarray(kernel), (-1, -2), (0, 1)).copy())
    y = theirs(to_torch(x), weight, torch.from_numpy(np.array(bias)), stride, padding, extra, groups)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), from_torch(y), atol=1e-5)


def test_batch_norm_in_training_and_evaluation():
    x = draw((4, 5, 6, 3)) * 3 + 1
    layer = layers.Norm("batch")
    variables = set_up(layer, x, train=False)
    params, stats = variables["params"]["batch"], variables["batch_stats"]["batch"]
    theirs = torch.nn.BatchNorm2d(3, momentum=0.1, eps=1e-5)
    pairs = {
        "weight": params["scale"],
        "bias": params["bias"],
        "running_mean": stats["mean"],
        "running_var": stats["var"],
    }
    theirs.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in pairs.items()}, strict=False)

    @jax.jit
    def both(variables, x):
        training = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        return layer.apply(variables, x, train=False), training

    y, (y_training, updated) = both(variables, x)
    np.testing.assert_allclose(y, from_torch(theirs.eval()(to_torch(x))), atol=1e-4)
    np.testing.assert_allclose(y_training, from_torch(theirs.train()(to_torch(x))), atol=1e-4)
    mean, var = (updated["batch_stats"]["batch"][name] for name in ("mean", "var"))
    np.testing.assert_allclose(mean, theirs.running_mean.numpy(), atol=1e-5)
    # PyTorch's running variance divides by n − 1, ours by n.
    n = 4 * 5 * 6
    new = (theirs.running_var.numpy() - 0.9 * np.asarray(stats["var"])) * (n - 1) / n
    np.testing.assert_allclose(var, 0.9 * np.asarray(stats["var"]) + new, rtol=1e-4)


def test_squeeze_excite():
    x = draw((3, 4, 5, 32))
    layer = layers.SqueezeExcite()
    variables = set_up(layer, x)
    squeeze, excite = variables["params"]["squeeze"], variables["params"]["excite"]
    assert squeeze["kernel"].shape == (32, 2)
    x_torch = to_torch(x)
    s = x_torch
    for part, after in ((squeeze, torch.relu), (excite, torch.sigmoid)):
        weight, bias = (torch.from_numpy(np.array(part[name]).T.copy()) for name in ("kernel", "bias"))
        s = after(F.linear(s.mean((2, 3)) if s.ndim == 4 else s, weight, bias))
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), from_torch(x_torch * s[:, :, None, None]), atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_norm(size):
    x = draw((2, 3, 4, 7)) * 4
    # PyTorch's alpha multiplies the mean over the window, ours the sum.
    theirs = F.local_response_norm(to_torch(x), size, alpha=0.1 * size, beta=0.75, k=2.0)
    ours = jax.jit(lambda x: ops.local_response_norm(x, size=size, alpha=0.1, beta=0.75, k=2.0))(x)
    np.testing.assert_allclose(ours, from_torch(theirs), atol=1e-5)


class TorchBlock:
    """A residual block as the papers draw it, reading the variables of ours by name."""

    def __init__(self, variables):
        self.params, self.stats = variables["params"], variables["batch_stats"]

    def conv(self, x, *path, stride=1):
        kernel = self.params
        for name in path:
            kernel = kernel[name]
        weight = torch.from_numpy(np.moveaxis(np.asarray(kernel["kernel"]), (-1, -2), (0, 1)).copy())
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, x, *path):
        params, stats = self.params, self.stats
        for name in (*path, "batch"):
            params, stats = params[name], stats[name]
        values = [torch.from_numpy(np.array(v)) for v in (stats["mean"], stats["var"], params["scale"], params["bias"])]
        return F.batch_norm(x, *values, eps=1e-5)

    def block(self, x, strides, *, pre, projects):
        """`strides` of all convolutions; the last one is named apart from those with a block of their own."""
        start = torch.relu(self.norm(x, "norm0")) if pre else x
        y = start
        for number, stride in enumerate(strides[:-1], 1):
            y = self.conv(y, f"conv{number}", "conv", stride=stride)
            y = torch.relu(self.norm(y, f"conv{number}", "norm"))
        y = self.conv(y, f"conv{len(strides)}")
        y = y if pre else self.norm(y, f"norm{len(strides)}")
        stride = max(strides)
        if projects:
            shortcut = self.conv(start if pre else x, "projection", stride=stride)
            shortcut = shortcut if pre else self.norm(shortcut, "projection_norm")
        else:
            shortcut = x[:, :, ::stride, ::stride]
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return y + shortcut if pre else torch.relu(y + shortcut)


EARLY = functools.partial(layers.BottleneckBlock, stride_at="1x1")


@pytest.mark.parametrize(
    ("make", "features", "factor", "strides", "shortcut", "pre"),
    [
        (layers.BasicBlock, 6, 2, (2, 1), "A", True),
        (layers.BasicBlock, 6, 2, (2, 1), "B", False),
        (layers.BasicBlock, 6, 2, (2, 1), "B", True),
        (layers.BasicBlock, 4, 1, (1, 1), "A", False),
        (layers.BasicBlock, 4, 1, (1, 1), "B", True),
        (layers.BottleneckBlock, 3, 2, (1, 2, 1), "A", False),
        (layers.BottleneckBlock, 3, 2, (1, 2, 1), "B", True),
        (EARLY, 3, 2, (2, 1, 1), "A", True),
        (EARLY, 3, 2, (2, 1, 1), "B", False),
    ],
)
def test_residual_blocks(make, features, factor, strides, shortcut, pre):
    block = make(features, factor=factor, shortcut=shortcut, pre_activation=pre)
    x = draw((2, 7, 6, 4))
    variables = set_up(block, x, train=False)
    projects = shortcut == "B" and factor == 2
    assert ("projection" in variables["params"]) == projects
    theirs = TorchBlock(variables).block(to_torch(x), strides, pre=pre, projects=projects)
    ours = jax.jit(lambda variables, x: block.apply(variables, x, train=False))(variables, x)
    np.testing.assert_allclose(ours, from_torch(theirs), atol=1e-4, rtol=1e-5)
