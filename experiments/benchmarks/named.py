"""Convolutions that are known to be slow on a CPU, by name, and what is built on convolutions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnnjax import ops

ROUNDS = 8
"""How often a convolution is applied in a loop."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A function of maps, and of a kernel if it has a shape; what the function is in PyTorch, if there is such a thing.

    `peer(f, x, kernel)`, where f is `torch.nn.functional`, takes maps (batch, channels, *space) and a kernel (out, in,
    *window).
    """

    name: str
    what: str
    function: Callable[..., jax.Array]
    maps: tuple[int, ...]
    kernel: tuple[int, ...] | None = None
    peer: Callable[..., Any] | None = None

    def arrays(self) -> list[np.ndarray]:
        """Normal numbers for the maps and the kernel, whose size keeps that of the maps: no loop enlarges rounding."""
        rng = np.random.default_rng(0)
        drawn = [rng.normal(size=self.maps).astype(np.float32)]
        if self.kernel:
            drawn.append(rng.normal(0, np.prod(self.kernel[:-1]) ** -0.5, self.kernel).astype(np.float32))
        return drawn


def _depthwise(batch: int, size: int, channels: int, kernel: int) -> Named:
    return Named(
        "depthwise (jax #23713)",
        f"{channels} channels, {kernel}×{kernel} at {size}²",
        lambda x, w: ops.conv(x, w, groups=channels),
        (batch, size, size, channels),
        (kernel, kernel, 1, channels),
        lambda f, x, w: f.conv2d(x, w, padding=kernel // 2, groups=channels),
    )


def _in_a_loop(x: jax.Array, w: jax.Array) -> jax.Array:
    return lax.scan(lambda x, _: (jnp.tanh(ops.conv(x, w)), None), x, length=ROUNDS)[0]


def _in_a_torch_loop(f: Any, x: Any, w: Any) -> Any:
    for _ in range(ROUNDS):
        x = f.conv2d(x, w, padding=1).tanh()
    return x


def _lifted(x: jax.Array, w: jax.Array) -> jax.Array:
    y = ops.lifting_conv(x, w, group="p4")
    return y.reshape(*y.shape[:3], -1)


def _lifted_by_torch(f: Any, x: Any, w: Any) -> Any:
    rows = w.shape[0]
    every = w.repeat(4, 1, 1, 1)
    for turns in range(1, 4):
        every[turns * rows : (turns + 1) * rows] = w.rot90(turns, (2, 3))
    return f.conv2d(x, every, padding=1)


def _blurred_by_torch(f: Any, x: Any) -> Any:
    channels = x.shape[1]
    taps = x.new_tensor([1.0, 2.0, 1.0]) / 4
    window = (taps[:, None] * taps).expand(channels, 1, 3, 3)
    return f.conv2d(f.pad(x, (1, 1, 1, 1), mode="reflect"), window, stride=2, groups=channels)


NAMED = (
    Named(
        "1-D",
        "64→64, 9 at 1024",
        ops.conv,
        (32, 1024, 64),
        (9, 64, 64),
        lambda f, x, w: f.conv1d(x, w, padding=4),
    ),
    Named(
        "1-D, transposed (jax #23783)",
        "256→128, 16/8 at 512",
        lambda y, w: ops.conv_transpose(y, w, input_size=8 * y.shape[1], stride=8, padding=4),
        (4, 512, 256),
        (16, 128, 256),
        lambda f, y, w: f.conv_transpose1d(y, w, stride=8, padding=4),
    ),
    Named(
        "transposed",
        "128→64, 4×4/2 at 16²",
        lambda y, w: ops.conv_transpose(y, w, input_size=2 * y.shape[1], stride=2, padding=1),
        (32, 16, 16, 128),
        (4, 4, 64, 128),
        lambda f, y, w: f.conv_transpose2d(y, w, stride=2, padding=1),
    ),
    Named(
        "in a loop (jax #12868)",
        f"{ROUNDS} times 16→16, 3×3 at 32²",
        _in_a_loop,
        (16, 32, 32, 16),
        (3, 3, 16, 16),
        _in_a_torch_loop,
    ),
    _depthwise(16, 56, 144, 3),
    _depthwise(32, 28, 240, 5),
    _depthwise(8, 56, 96, 7),
    Named("group p4, from images", "3→4·16, 3×3 at 32²", _lifted, (64, 32, 32, 3), (3, 3, 3, 16), _lifted_by_torch),
    Named(
        "group p4",
        "4·16→4·16, 3×3 at 32²",
        lambda x, w: ops.group_conv(x, w, group="p4"),
        (32, 32, 32, 4, 16),
        (3, 3, 4, 16, 16),
    ),
    Named(
        "group p4m",
        "8·8→8·8, 3×3 at 32²",
        lambda x, w: ops.group_conv(x, w, group="p4m"),
        (32, 32, 32, 8, 8),
        (3, 3, 8, 8, 8),
    ),
    Named("blur pool", "64 channels, 3 taps at 32²", ops.blur_pool, (64, 32, 32, 64), None, _blurred_by_torch),
    Named("polyphase pool", "64 channels at 32²", ops.polyphase_pool, (64, 32, 32, 64)),
)
