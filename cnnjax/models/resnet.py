"""Residual networks and their plain twins (He et al. 2016; version 2: He et al. 2016b)."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Array

from cnnjax.errors import InputError
from cnnjax.layers import BasicBlock, BottleneckBlock, Norm
from cnnjax.layers.block import ConvBlock
from cnnjax.models.contract import Activations, check_choice
from cnnjax.models.conv_net import ConvNet, Stem


class ResNet(ConvNet, kw_only=True):
    """A stem, stages of `depth` residual blocks, the head. Every stage but the first halves the map in its first block.

    - `block`: "basic", of two convolutions, or "bottleneck", of three, with 4 times the stage's width at its end.
    - `residual`: without it the shortcuts are left out and nothing else: the plain twin.
    - `shortcut`: where shapes change, "A" appends zeros and has no parameters, "B" is a 1×1 convolution.
    - `stride_at`: where bottleneck blocks shrink the map: in the "1x1" convolution of version 1, or the "3x3" one of
      version 1.5.
    - `pre_activation`: version 2. Normalisation and activation come before the convolutions, nothing comes after the
      sum. The stem is then linear, as the first block begins with them, and the last block is followed by them: `norm`.
    - `zero_init_last`, `squeeze_excite`: of every block, as in `layers.BasicBlock`.
    - `survival`: that of the last block's branch while training; it falls linearly with depth, to
      `1 − (l / L) (1 − survival)` in block l of L (Huang et al. 2016, equation 4).

    `resnet18` and those like it are for images of 224 pixels, with stem "7x7" and shortcut "B"; `resnet50` and deeper
    are version 1.5 and have as many parameters as torchvision's. `resnet20` and those like it are for 32 pixels.

    The second moment of the maps at the start, over the channels of a stage in version 2: each block doubles it without
    normalisation; with it, in training, each adds 1, the variance of a branch whose last input is normalised. Plain
    networks keep it at that of their first map, and so does `zero_init_last`.

    Fields, images and errors are those of `ConvNet`. Activations: `conv1` (`pool1`), `stage1_block1`, ..., (`norm`),
    `pool`, `logits`.
    """

    widths: Sequence[int] = (16, 32, 64)
    depth: int | Sequence[int] = 3
    stem: Stem = "3x3"
    block: Literal["basic", "bottleneck"] = "basic"
    residual: bool = True
    shortcut: Literal["A", "B"] = "A"
    stride_at: Literal["1x1", "3x3"] = "3x3"
    pre_activation: bool = False
    zero_init_last: bool = False
    squeeze_excite: bool = False
    survival: float | int = 1.0

    def body(self, x: Array, *, train: bool) -> Activations:
        activations: Activations = {}
        stages = self.stages()
        total = sum(depth for _, depth, _ in stages)
        for stage, (width, depth, factor) in enumerate(stages, 1):
            for number in range(1, depth + 1):
                name = f"stage{stage}_block{number}"
                survival = 1 - (len(activations) + 1) / total * (1 - self.survival)
                block = self.residual_block(width, factor=factor if number == 1 else 1, survival=survival, name=name)
                x = activations[name] = self.run(block, x, train=train)
        if self.pre_activation:
            x = Norm(self.norm, dtype=self.dtype, name="norm")(x, train=train)
            activations["norm"] = self.activation(x)
        return activations

    def residual_block(self, width: int, **fields: Any) -> BasicBlock | BottleneckBlock:
        """A block of the kind, with the fields of this network."""
        names = ("kernel_size", "residual", "pre_activation", "shortcut", "zero_init_last", "squeeze_excite")
        fields |= {**self.shared(), **{name: getattr(self, name) for name in names}}
        if self.block == "basic":
            return BasicBlock(self.features(width), **fields)
        return BottleneckBlock(self.features(width), stride_at=self.stride_at, **fields)

    def conv_block(self, width: int, kernel_size: int, **fields: Any) -> ConvBlock:
        if self.pre_activation:
            fields |= dict(norm="none", activation=_linear, use_bias=self.norm == "none")
        return super().conv_block(width, kernel_size, **fields)

    def default_factors(self) -> Sequence[int]:
        return (1,) + (2,) * (len(self.widths) - 1)

    def check(self) -> None:
        super().check()
        check_choice(self, "block", Literal["basic", "bottleneck"])
        if self.residual and self.shortcut == "A" and list(self.widths) != sorted(self.widths):
            raise InputError(
                f"ResNet: widths={tuple(self.widths)} must not fall: a shortcut only appends channels; use shortcut='B'"
            )
        if self.group is not None and self.stem == "none":
            raise InputError(
                f"ResNet: group={self.group!r} needs a stem, whose convolution makes the image a map over the group"
            )


def _linear(x: Array) -> Array:
    return x


group_resnet = functools.partial(ResNet, group="p4", downsample="max")

resnet = ResNet
resnet20 = functools.partial(ResNet, depth=3)
resnet32 = functools.partial(ResNet, depth=5)
resnet44 = functools.partial(ResNet, depth=7)
resnet56 = functools.partial(ResNet, depth=9)
resnet110 = functools.partial(ResNet, depth=18)
plain20 = functools.partial(resnet20, residual=False)
plain32 = functools.partial(resnet32, residual=False)
plain44 = functools.partial(resnet44, residual=False)
plain56 = functools.partial(resnet56, residual=False)

_imagenet = functools.partial(ResNet, widths=(64, 128, 256, 512), stem="7x7", shortcut="B")
resnet18 = functools.partial(_imagenet, depth=(2, 2, 2, 2))
resnet34 = functools.partial(_imagenet, depth=(3, 4, 6, 3))
resnet50 = functools.partial(_imagenet, depth=(3, 4, 6, 3), block="bottleneck")
resnet101 = functools.partial(_imagenet, depth=(3, 4, 23, 3), block="bottleneck")
resnet152 = functools.partial(_imagenet, depth=(3, 8, 36, 3), block="bottleneck")
plain18 = functools.partial(resnet18, residual=False)
plain34 = functools.partial(resnet34, residual=False)
