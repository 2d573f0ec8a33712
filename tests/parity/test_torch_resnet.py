"""Residual networks against PyTorch modules put together here, with copied weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import models

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
nn = torch.nn

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
WIDTHS = (4, 6)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


def conv(inputs, outputs, k, stride=1):
    return nn.Conv2d(inputs, outputs, k, stride, (k - 1) // 2, bias=False)


class BatchNorm(nn.BatchNorm2d):
    """Momentum 0.1 here is 0.9 there. The running variance here is of n − 1, there of n values."""

    def forward(self, x):
        self.before, self.n = self.running_var.clone(), x.numel() // x.shape[1]
        return super().forward(x)

    def variance(self):
        if not self.training:
            return self.running_var
        return 0.9 * self.before + (self.running_var - 0.9 * self.before) * (self.n - 1) / self.n


class Zeros(nn.Module):
    """He et al. 2016, option A: every second position, zeros for the new channels."""

    def __init__(self, channels, stride):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


class Block(nn.Module):
    """Sizes, strides and channels of the convolutions in `layers`; the sum rectified, or version 2."""

    def __init__(self, inputs, layers, shortcut, version_2):
        super().__init__()
        outputs, stride = layers[-1][0], max(stride for _, _, stride in layers)
        read = [inputs, *[width for width, _, _ in layers[:-1]]]
        self.convs = nn.ModuleList(conv(i, width, k, s) for i, (width, k, s) in zip(read, layers, strict=True))
        normed = read if version_2 else [width for width, _, _ in layers]
        self.norms = nn.ModuleList(map(BatchNorm, normed))
        self.projects = shortcut == "B" and (stride > 1 or inputs != outputs)
        self.shortcut = Zeros(outputs, stride)
        if self.projects:
            projection = conv(inputs, outputs, 1, stride)
            self.shortcut = projection if version_2 else nn.Sequential(projection, BatchNorm(outputs))
        self.version_2 = version_2

    def forward(self, x):
        if self.version_2:
            y = start = torch.relu(self.norms[0](x))
            for k, layer in enumerate(self.convs):
                y = layer(y if k == 0 else torch.relu(self.norms[k](y)))
            return y + self.shortcut(start if self.projects else x)
        y = x
        for k, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(layer(y if k == 0 else torch.relu(y)))
        return torch.relu(y + self.shortcut(x))


class TorchResNet(nn.Module):
    def __init__(self, *, depth, bottleneck, stride_at, version_2, shortcut, large_stem):
        super().__init__()
        self.depth = depth
        stem = conv(3, WIDTHS[0], 7, 2) if large_stem else conv(3, WIDTHS[0], 3)
        after = [] if version_2 else [BatchNorm(WIDTHS[0]), nn.ReLU()]
        pool = [nn.MaxPool2d(3, 2, 1)] if large_stem else []
        self.stem = nn.Sequential(stem, *after, *pool)
        blocks, inputs = [], WIDTHS[0]
        for stage, (width, count) in enumerate(zip(WIDTHS, depth, strict=True)):
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
                layers = [(width, 3, stride), (width, 3, 1)]
                if bottleneck:
                    layers = [(width, 1, first), (width, 3, second), (4 * width, 1, 1)]
                blocks.append(Block(inputs, layers, shortcut, version_2))
                inputs = layers[-1][0]
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Sequential(BatchNorm(inputs), nn.ReLU()) if version_2 else nn.Identity()
        self.head = nn.Linear(inputs, 5)

    def forward(self, x):
        x = self.stem((x - torch.tensor(MEAN).reshape(-1, 1, 1)) / torch.tensor(STD).reshape(-1, 1, 1))
        maps = [x := block(x) for block in self.blocks]
        return self.head(self.last(x).mean((2, 3))), maps


def to_ours(network, values):
    """Our variables: `values` gives an array for each of PyTorch's parameters, statistics or gradients."""
    params, stats = {}, {}

    def put(tree, path, value):
        *parents, name = path
        for parent in parents:
            tree = tree.setdefault(parent, {})
        tree[name] = value

    def put_conv(layer, *path):
        put(params, (*path, "kernel"), np.transpose(values(layer.weight), (2, 3, 1, 0)))

    def put_norm(layer, *path):
        for name, tensor in (("scale", layer.weight), ("bias", layer.bias)):
            put(params, (*path, "batch", name), values(tensor))
        for name, tensor in (("mean", layer.running_mean), ("var", layer.variance())):
            put(stats, (*path, "batch", name), tensor.numpy().copy())

    stem, *rest = network.stem
    version_2 = isinstance(network.last, nn.Sequential)
    put_conv(stem, "conv1", "conv")
    if not version_2:
        put_norm(rest[0], "conv1", "norm")
    names = [f"stage{s}_block{b}" for s, count in enumerate(network.depth, 1) for b in range(1, count + 1)]
    for name, block in zip(names, network.blocks, strict=True):
        last = len(block.convs)
        for k, layer in enumerate(block.convs, 1):
            put_conv(layer, name, f"conv{k}", *(["conv"] if k < last else []))
        for k, layer in enumerate(block.norms, 0 if version_2 else 1):
            own = "norm0" if k == 0 else f"norm{last}"
            put_norm(layer, name, *([f"conv{k}", "norm"] if 0 < k < last else [own]))
        if block.projects:
            projection, *norm = [block.shortcut] if version_2 else block.shortcut
            put_conv(projection, name, "projection")
            if norm:
                put_norm(norm[0], name, "projection_norm")
    if version_2:
        put_norm(network.last[0], "norm")
    put(params, ("logits", "kernel"), values(network.head.weight).T)
    put(params, ("logits", "bias"), values(network.head.bias))
    return jax.tree.map(jnp.asarray, {"params": params, "batch_stats": stats})


CASES = {
    "basic, small images": dict(bottleneck=False, shortcut="A", large_stem=False),
    "basic": dict(bottleneck=False, shortcut="B", large_stem=True),
    "basic, version 2": dict(bottleneck=False, version_2=True, shortcut="A", large_stem=False),
    "bottleneck, version 1": dict(bottleneck=True, stride_at="1x1", shortcut="B", large_stem=True),
    "bottleneck, version 1.5": dict(depth=(1, 2), bottleneck=True, shortcut="B", large_stem=True),
    "bottleneck, version 2": dict(depth=(1, 2), bottleneck=True, version_2=True, shortcut="B", large_stem=True),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_gradients_and_statistics_are_those_of_pytorch(case):
    fields = {"depth": (1, 1), "stride_at": "3x3", "version_2": False, **CASES[case]}
    torch.manual_seed(0)
    theirs = TorchResNet(**fields)
    for name, tensor in theirs.state_dict().items():
        if tensor.ndim == 1 and "head" not in name:
            tensor.copy_(torch.rand(len(tensor)) + 0.5)
    ours = models.ResNet(
        num_classes=5,
        widths=WIDTHS,
        depth=fields["depth"],
        block="bottleneck" if fields["bottleneck"] else "basic",
        stride_at=fields["stride_at"],
        pre_activation=fields["version_2"],
        shortcut=fields["shortcut"],
        stem="7x7" if fields["large_stem"] else "3x3",
        mean=MEAN,
        std=STD,
    )
    # Odd and even maps, and a size along each axis.
    images = np.random.default_rng(0).random((4, 38, 27, 3) if fields["large_stem"] else (4, 10, 7, 3), np.float32)
    variables = to_ours(theirs.eval(), lambda tensor: tensor.detach().numpy().copy())
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    expected, maps = theirs(x)
    logits, activations = jax.jit(ours.apply)(variables, jnp.asarray(images))
    close(logits, expected.detach().numpy())
    for name, value in zip([n for n in activations if "block" in n], maps, strict=True):
        close(activations[name], value.detach().numpy().transpose(0, 2, 3, 1), err_msg=name)

    labels = np.array([0, 3, 1, 4])
    expected = theirs.train()(x)[0]
    loss = nn.functional.cross_entropy(expected, torch.from_numpy(labels))
    loss.backward()

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
        (logits, _), updated = ours.apply(
            {**variables, "params": params}, jnp.asarray(images), train=True, mutable=["batch_stats"]
        )
        return -jax.nn.log_softmax(logits)[jnp.arange(4), labels].mean(), (logits, updated)

    found, (logits, updated) = gradient(variables["params"])
    close(logits, expected.detach().numpy())
    after = to_ours(theirs, lambda tensor: tensor.grad.numpy())
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(found))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4 * largest), found, after["params"])

    jax.tree.map(close, updated["batch_stats"], after["batch_stats"])


def close(found, expected, err_msg=""):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=err_msg)
