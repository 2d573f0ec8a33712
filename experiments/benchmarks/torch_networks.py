"""The networks of `networks` in PyTorch: modules with the names of ours, maps in its fast memory format."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import torch
from jaxtyping import PyTree
from torch import Tensor, nn

from experiments.benchmarks.networks import Separable


class Pixels(nn.Module):
    """Standardised pixels, as in every model."""

    def __init__(self, mean: float = 0.5, std: float = 0.25):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        """(images − mean) / std."""
        return (images - self.mean) / self.std


def conv(channels: int, features: int, size: int, stride: int = 1, groups: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size of the map at stride 1."""
    return nn.Conv2d(channels, features, size, stride, (size - 1) // 2, groups=groups, bias=bias)


def block(channels: int, features: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation, rectifier."""
    convolution = conv(channels, features, size, stride, groups)
    return named(conv=convolution, norm=nn.BatchNorm2d(features), relu=nn.ReLU(inplace=True))


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers one after the other, by their names."""
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


class Flat(nn.Module):
    """Maps as vectors in the order (height, width, channels), which is how they lie."""

    def forward(self, maps: Tensor) -> Tensor:
        """A vector for each map."""
        return maps.permute(0, 2, 3, 1).flatten(1)


class Mean(nn.Module):
    """The mean of every channel."""

    def forward(self, maps: Tensor) -> Tensor:
        """A vector for each map."""
        return maps.mean((2, 3))


class Residual(nn.Module):
    """A residual block of convolutions of (features, size, stride); its shortcut "A" or "B" (He et al. 2016)."""

    def __init__(self, channels: int, convolutions: list[tuple[int, int, int]], shortcut: str):
        super().__init__()
        *inner, (features, size, _) = convolutions
        self.stride, self.added = max(stride for *_, stride in convolutions), features - channels
        self.branch, before = [], channels
        for number, (width, window, stride) in enumerate(inner, 1):
            self.branch.append(f"conv{number}")
            self.add_module(self.branch[-1], block(before, width, window, stride))
            before = width
        last = len(convolutions)
        self.branch += [f"conv{last}", f"norm{last}"]
        self.add_module(self.branch[-2], conv(before, features, size))
        self.add_module(self.branch[-1], nn.BatchNorm2d(features))
        self.projects = shortcut == "B" and (self.stride > 1 or self.added > 0)
        if self.projects:
            self.projection = conv(channels, features, 1, self.stride)
            self.projection_norm = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        """Branch and shortcut added, then rectified."""
        y = x
        for name in self.branch:
            y = self.get_submodule(name)(y)
        if self.projects:
            x = self.projection_norm(self.projection(x))
        elif self.added:
            x = x[:, :, :: self.stride, :: self.stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, self.added))
        return torch.relu(y + x)


def _resnet(
    widths: Iterable[int], depths: Iterable[int], shortcut: str, *, bottleneck: bool, large: bool, classes: int
) -> nn.Sequential:
    first, *_ = widths = list(widths)
    layers: dict[str, nn.Module] = {"pixels": Pixels(), "conv1": block(3, first, *((7, 2) if large else (3, 1)))}
    if large:
        layers["pool1"] = nn.MaxPool2d(3, 2, 1)
    channels = first
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        for number in range(1, depth + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            convolutions = [(width, 3, stride), (width, 3, 1)]
            if bottleneck:
                convolutions = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
            layers[f"stage{stage}_block{number}"] = Residual(channels, convolutions, shortcut)
            channels = convolutions[-1][0]
    return named(**layers, mean=Mean(), logits=nn.Linear(channels, classes))


def _max_pooling() -> nn.Sequential:
    return named(
        pixels=Pixels(),
        stage1_conv1=block(3, 32),
        stage1_conv2=block(32, 32),
        pool1=nn.MaxPool2d(2),
        stage2_conv1=block(32, 64),
        stage2_conv2=block(64, 64),
        pool2=nn.MaxPool2d(2),
        head_conv1=block(64, 64),
        head_conv2=block(64, 64, 1),
        class_maps=conv(64, 10, 1, bias=True),
        mean=Mean(),
    )


def _lenet() -> nn.Sequential:
    return named(
        pixels=Pixels(),
        c1=conv(1, 6, 5, bias=True),
        tanh1=nn.Tanh(),
        s2=nn.AvgPool2d(2),
        c3=nn.Conv2d(6, 16, 5),
        tanh2=nn.Tanh(),
        s4=nn.AvgPool2d(2),
        flat=Flat(),
        c5=nn.Linear(400, 120),
        tanh3=nn.Tanh(),
        f6=nn.Linear(120, 84),
        tanh4=nn.Tanh(),
        logits=nn.Linear(84, 10),
    )


def _separable() -> nn.Sequential:
    layers, channels = {"pixels": Pixels(), "conv1": block(3, Separable.stem)}, Separable.stem
    for number, (features, stride) in enumerate(Separable.blocks, 1):
        layers[f"depthwise{number}"] = block(channels, channels, 3, stride, channels)
        layers[f"pointwise{number}"] = block(channels, features, 1)
        channels = features
    return named(**layers, mean=Mean(), logits=nn.Linear(channels, 10))


def _alexnet() -> nn.Sequential:
    relu, pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)
    return named(
        pixels=Pixels(0.5, 1 / 255),
        conv1=nn.Conv2d(3, 64, 11, 4, 2),
        relu1=relu,
        pool1=pool,
        conv2=conv(64, 192, 5, bias=True),
        relu2=relu,
        pool2=pool,
        conv3=conv(192, 384, 3, bias=True),
        relu3=relu,
        conv4=conv(384, 256, 3, bias=True),
        relu4=relu,
        conv5=conv(256, 256, 3, bias=True),
        relu5=relu,
        pool5=pool,
        flat=Flat(),
        fc6=nn.Linear(9216, 4096),
        relu6=relu,
        fc7=nn.Linear(4096, 4096),
        relu7=relu,
        logits=nn.Linear(4096, 1000),
    )


PEERS: dict[str, Callable[[], nn.Sequential]] = {
    "ResNet-20": lambda: _resnet((16, 32, 64), (3, 3, 3), "A", bottleneck=False, large=False, classes=10),
    "ResNet-18": lambda: _resnet((64, 128, 256, 512), (2,) * 4, "B", bottleneck=False, large=False, classes=10),
    "max pooling": _max_pooling,
    "LeNet": _lenet,
    "depthwise": _separable,
    "AlexNet": _alexnet,
    "ResNet-50": lambda: _resnet((64, 128, 256, 512), (3, 4, 6, 3), "B", bottleneck=True, large=True, classes=1000),
}


def peer(name: str, params: PyTree) -> nn.Module:
    """The network with these parameters of ours."""
    network = PEERS[name]().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for path, value in jax.tree.leaves_with_path(params):
            *layer, kind = (key.key for key in path)
            there = ".".join([part for part in layer if part != "batch"] + ["bias" if kind == "bias" else "weight"])
            array = np.asarray(value)
            array = np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array
            parameters.pop(there).copy_(torch.from_numpy(array.copy()))
    if parameters:
        raise ValueError(f"{name} has no {', '.join(parameters)}")
    return network


def why_not_compiled() -> str | None:
    """Why `torch.compile` makes no program on this machine; None where it does."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception as error:  # whatever it is: a missing compiler has a class of its own in every version
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return None


def compiled(network: nn.Module) -> Any:
    """A copy of the network with `torch.compile`."""
    return torch.compile(copy.deepcopy(network))


def forward_pass(network: Any, images: np.ndarray) -> Callable[[], np.ndarray]:
    """The logits of images (batch, height, width, channels) in [0, 1], evaluated."""
    network.eval()
    x = torch.from_numpy(images).permute(0, 3, 1, 2)

    def forward() -> np.ndarray:
        with torch.no_grad():
            return network(x).numpy()

    return forward


def training_step(
    network: Any, images: np.ndarray, labels: np.ndarray, *, learning_rate: float, weight_decay: float
) -> Callable[[], float]:
    """A step by SGD with Nesterov's momentum, where only kernels decay, on a batch of bytes; gives the loss before."""
    network.train()
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": weight_decay}, {"params": others}],
        lr=learning_rate,
        momentum=0.9,
        nesterov=True,
    )
    pixels, order, y = torch.from_numpy(images), torch.arange(len(images)), torch.from_numpy(labels)

    def step() -> float:
        x = pixels[order].permute(0, 3, 1, 2).float() / 255
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y[order])
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
