"""Residual blocks: basic and bottleneck, activated after the sum or before the branch."""

import functools
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError
from cnnjax.layers.block import Block, ConvBlock
from cnnjax.layers.convolution import naming_layer
from cnnjax.layers.initializers import he_normal
from cnnjax.layers.module import an_array
from cnnjax.layers.normalization import Norm
from cnnjax.layers.squeeze_excite import SqueezeExcite
from cnnjax.layers.stochastic_depth import StochasticDepth

EXPANSION = 4
"""Channels of a bottleneck block's map for each of its features."""


class ResidualBlock(Block):
    """`activation(F(x) + shortcut(x))`, or `x + F(activation(norm(x)))` with `pre_activation`.

    `F` is the convolutions of a subclass with a normalisation and an activation between each two (He et al. 2016,
    section 3.2; 2016b, figure 4e). The fields of all residual blocks:

    - `factor`: the map shrinks by it, in the way `downsample` says, in one convolution of the branch. The shortcut
      takes the pool of that name too, at the phase that the branch chose, so that the two stay aligned (Chaman &
      Dokmanić 2021, section 3.2).
    - `residual`: without it the shortcut is left out, and nothing else.
    - `shortcut`: "A" appends zeros to the channels; "B" is a 1×1 convolution, normalised unless `pre_activation`, where
      the shape changes (He et al. 2016, section 3.3). "B" reads what the branch reads: with `pre_activation`,
      the activated map (2016b, section 4.1).
    - `zero_init_last`: the branch starts as zero (Goyal et al. 2017, section 5.1): the scale of the normalisation that
      ends it, or where there is none, as with `pre_activation`, the kernel of its last convolution.
    - `squeeze_excite`: the branch ends in `SqueezeExcite`.
    - `survival`: the branch is left out with probability 1 − survival while training (`StochasticDepth`).

    Convolutions of 1×1 do not pad. Where others do not either, the shortcut keeps the middle of its map, on which they
    are centred; where they pad more than "same", zeros surround it.

    Raises `InputError`, naming this layer, where the channels would fall under shortcut "A", and as the layers inside.
    """

    features: Positive
    factor: Positive = 1
    kernel_size: Positive = 3
    residual: bool = True
    pre_activation: bool = False
    shortcut: Literal["A", "B"] = "A"
    zero_init_last: bool = False
    squeeze_excite: bool = False
    survival: float | int = 1.0

    def convolutions(self) -> list[tuple[int, int, int, int]]:
        """The features, the kernel size, the factor and the groups of each convolution of the branch."""
        raise NotImplementedError

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> Float[Array, "batch *resolution features"]:
        with naming_layer(self):
            *inner, (features, kernel_size, *_) = self.convolutions()
            self._check(x, features)
        projects = self.shortcut == "B" and (self.factor > 1 or x.shape[-1] != features)
        normalise = functools.partial(Norm, self.norm, dtype=self.dtype)

        y = x
        if self.pre_activation:
            y = an_array("activation", self.activation(normalise(name="norm0")(x, train=train)))
        shortcut = y if projects else x
        for number, (width, size, factor, groups) in enumerate(inner, 1):
            before = y.shape[1:-1]
            block = ConvBlock(width, size, factor, groups=groups, name=f"conv{number}", **self.shared())
            y, phase = block.with_phase(y, train=train)
            if self.residual and factor > 1:
                shortcut = _fitted(shortcut, self._size_at_stride_1(before, size), shortcut.shape[-1])
                shortcut = self.pool(factor, name="shortcut_pool").at_phase(shortcut, phase)

        number, zeros, ones = len(inner) + 1, nn.initializers.zeros, nn.initializers.ones
        ends_in_norm = self.norm != "none" and not self.pre_activation
        kernel_init = zeros if self.zero_init_last and not ends_in_norm else he_normal
        y = self.convolved(y, features, kernel_size, kernel_init=kernel_init, name=f"conv{number}")
        if not self.pre_activation:
            y = normalise(scale_init=zeros if self.zero_init_last else ones, name=f"norm{number}")(y, train=train)
        if self.squeeze_excite:
            y = SqueezeExcite(dtype=self.dtype, name="squeeze_excite")(y)
        if self.residual:
            shortcut = _fitted(shortcut, y.shape[1:-1], shortcut.shape[-1] if projects else features)
            if projects:
                shortcut = self.convolved(shortcut, features, 1, name="projection")
                if not self.pre_activation:
                    shortcut = normalise(name="projection_norm")(shortcut, train=train)
            y = StochasticDepth(self.survival, name="stochastic_depth")(y, train=train) + shortcut.astype(self.dtype)
        return y if self.pre_activation else an_array("activation", self.activation(y))

    def _size_at_stride_1(self, space: tuple[int, ...], kernel_size: int) -> tuple[int, ...]:
        space, orientations = (space, ()) if self.group is None else (space[:2], space[2:])
        ones, window = (1,) * len(space), (kernel_size,) * len(space)
        padding = self.padding_for(kernel_size)
        pairs = ops.resolve_padding(padding, kernel_size=window, input_size=space, stride=ones, dilation=ones).pairs
        sizes = (n + sum(pair) - kernel_size + 1 for n, pair in zip(space, pairs, strict=True))
        return (*sizes, *orientations)

    def _check(self, x: Array, features: int) -> None:
        channels = x.shape[-1]
        if self.group is not None and x.ndim != 5:
            raise InputError(
                f"the map has shape {x.shape} and the block, with group={self.group!r}, needs (batch, height, width, "
                "orientations, channels): images become such maps by a `ConvBlock` of that group"
            )
        if self.residual and self.shortcut == "A" and channels > features:
            raise InputError(
                f"the map has {channels} channels and the block {features}: shortcut 'A' can only append channels; "
                "use shortcut 'B'"
            )
        if self.survival != 1 and not self.residual:
            raise InputError(f"survival={self.survival} would erase images in a block without a shortcut; use 1")


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions, the first of which shrinks the map (He et al. 2016, figure 5, left)."""

    def convolutions(self) -> list[tuple[int, int, int, int]]:
        return [(self.features, self.kernel_size, self.factor, 1), (self.features, self.kernel_size, 1, 1)]


class BottleneckBlock(ResidualBlock):
    """1×1, 3×3 and 1×1 convolutions, the last to 4 · `features` channels (He et al. 2016, figure 5, right).

    The map shrinks in the convolution `stride_at`: "1x1" is the paper's (version 1), "3x3" that of most libraries
    (version 1.5), which reads every position. The first two convolutions have `width` channels, `features` if None, and
    the 3×3 one `groups` (Xie et al. 2017, figure 3c).
    """

    stride_at: Literal["1x1", "3x3"] = "3x3"
    width: Positive | None = None
    groups: Positive = 1

    def convolutions(self) -> list[tuple[int, int, int, int]]:
        first = self.stride_at == "1x1"
        width = self.features if self.width is None else self.width
        return [
            (width, 1, self.factor if first else 1, 1),
            (width, self.kernel_size, 1 if first else self.factor, self.groups),
            (EXPANSION * self.features, 1, 1, 1),
        ]


def _fitted(x: Array, space: tuple[int, ...], channels: int) -> Array:
    """The middle of x, or x in the middle of zeros; zeros appended to the channels."""
    edges = []
    for n, size in zip(x.shape[1:-1], space, strict=True):
        before = -((n - size) // 2)
        edges.append((before, size - n - before, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, channels - x.shape[-1], 0)])
