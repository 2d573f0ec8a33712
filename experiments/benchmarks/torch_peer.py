"""The same computations in PyTorch, maps in its fast memory format (channels_last)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cnnjax.errors import InputError
from experiments.benchmarks.shapes import ConvShape

try:
    import torch
except ImportError as error:
    raise InputError("the peer is PyTorch, which is missing: pip install torch==2.13.0") from error

from torch import nn
from torch.nn import functional


def tensor(maps: np.ndarray) -> "torch.Tensor":
    """Maps (batch, height, width, channels) as PyTorch's (batch, channels, height, width), without moving a number."""
    return torch.from_numpy(np.ascontiguousarray(maps)).permute(0, 3, 1, 2)


def convolution_passes(
    shape: ConvShape, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """The forward pass and both gradients of a convolution, by name, each giving a NumPy array in our layout."""
    x_, cotangent_ = tensor(x), tensor(cotangent)
    kernel_ = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).contiguous(memory_format=torch.channels_last)
    window: dict[str, Any] = dict(stride=shape.stride, padding=shape.padding, groups=shape.groups)

    def forward() -> np.ndarray:
        return functional.conv2d(x_, kernel_, **window).numpy().transpose(0, 2, 3, 1)

    def gradients(mask: list[bool]) -> Any:
        pair = lambda n: [n, n]  # noqa: E731
        return torch.ops.aten.convolution_backward(
            cotangent_, x_, kernel_, None, pair(shape.stride), pair(shape.padding), pair(1), False, pair(0),
            shape.groups, mask,
        )  # fmt: skip

    return {
        "forward": forward,
        "input gradient": lambda: gradients([True, False, False])[0].numpy().transpose(0, 2, 3, 1),
        "weight gradient": lambda: gradients([False, True, False])[1].numpy().transpose(2, 3, 1, 0),
    }


def max_pool_gradient(x: np.ndarray, window: int, stride: int, padding: int) -> Callable[[], Any]:
    """Value and gradient of the sum of squares of max-pooled maps."""
    x_ = tensor(x).requires_grad_()

    def gradient() -> np.ndarray:
        x_.grad = None
        functional.max_pool2d(x_, window, stride, padding).square().sum().backward()
        grad = x_.grad
        if grad is None:
            raise RuntimeError("PyTorch gave no gradient")
        return grad.numpy().transpose(0, 2, 3, 1)

    return gradient


class Block(nn.Module):
    """Basic residual block with the parameter-free shortcut "A"."""

    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(features)
        self.stride, self.added = stride, features - channels

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        """Map and shortcut added, then rectified."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return functional.relu(y + shortcut)


class ResNet20(nn.Module):
    """ResNet-20 for 32×32 images (He et al. 2016, section 4.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.head = nn.Linear(64, 10)

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        """Logits of a batch of images."""
        return self.head(self.blocks(functional.relu(self.norm(self.conv(x)))).mean((2, 3)))


def resnet20_step(images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """One training step by SGD with momentum on this batch; gives the loss."""
    network = ResNet20().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    x, y = tensor(images), torch.from_numpy(labels)

    def step() -> float:
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
