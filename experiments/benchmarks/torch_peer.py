"""The same computations in PyTorch, maps in its fast memory format (channels_last)."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnnjax.errors import InputError
from experiments.benchmarks.named import Named
from experiments.benchmarks.shapes import ConvShape

try:
    import torch
except ImportError as error:
    raise InputError("the peer is PyTorch, which is missing: pip install torch==2.13.0") from error

from torch.nn import functional


def use_threads(threads: int) -> int:
    """Let PyTorch use so many threads, 0 one for each core that this process may use; returns how many."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    return torch.get_num_threads()


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


def named_passes(named: Named, arrays: Sequence[np.ndarray]) -> dict[str, Callable[[], Any]]:
    """The forward pass and the gradients of half the sum of squares, giving NumPy arrays in our layout."""
    assert named.peer is not None
    function = functools.partial(named.peer, functional)
    x, *kernel = arrays
    maps = torch.from_numpy(x).movedim(-1, 1).requires_grad_()
    kernels = [torch.from_numpy(np.moveaxis(k, (-1, -2), (0, 1)).copy()).requires_grad_() for k in kernel]

    def forward() -> np.ndarray:
        with torch.no_grad():
            return function(maps, *kernels).movedim(1, -1).numpy()

    def gradients() -> list[np.ndarray]:
        loss = function(maps, *kernels).square().sum() / 2
        first, *rest = torch.autograd.grad(loss, [maps, *kernels])
        return [first.movedim(1, -1).numpy(), *(gradient.movedim((0, 1), (-1, -2)).numpy() for gradient in rest)]

    return {"forward": forward, "forward + gradients": gradients}
