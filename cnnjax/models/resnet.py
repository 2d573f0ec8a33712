"""Residual networks and their plain twins (He et al. 2016; version 2: He et al. 2016b), grouped, wide, anti-aliased."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Array

from cnnjax.door.limits import Positive, Widths
from cnnjax.errors import InputError
from cnnjax.layers import BasicBlock, BottleneckBlock, Norm
from cnnjax.layers.block import ConvBlock
from cnnjax.layers.module import an_array
from cnnjax.models.contract import Activations
from cnnjax.models.conv_net import ConvNet, Stem


class ResNet(ConvNet, kw_only=True):
    """A stem, stages of `depth` residual blocks, the head. Every stage but the first halves the map in its first block.

    With `pre_activation` nothing comes after the sum; the stem is then linear, as the first block begins with
    normalisation and activation, and the last block is followed by them: `norm`. The first two convolutions of a
    bottleneck have groups · width_per_group / 64 times the stage's width, the second in `groups` (Xie et al. 2017).
    Survival falls linearly with depth, to `1 − (l / L) (1 − survival)` in block l of L (Huang et al. 2016, equation 4).

    `resnet18` and those like it are for images of 224 pixels, with stem "7x7" and shortcut "B"; `resnet50` and deeper
    are version 1.5 and have as many parameters as torchvision's. `resnet20` and those like it are for 32 pixels.
    `resnext50_32x4d` is grouped (Xie et al. 2017), `wide_resnet50_2` has twice the channels within its blocks
    (Zagoruyko & Komodakis 2016); `resnet50_lpf4` and those like it are Zhang's (2019), which blur by 4 taps.

    The second moment of the maps at the start, over the channels of a stage in version 2: each block doubles it without
    normalisation; with it, in training, each adds 1, the variance of a branch whose last input is normalised. Plain
    networks keep it at that of their first map, and so does `zero_init_last`.

    Fields, images and errors are those of `ConvNet`. Activations: `conv1` (`pool1`), `stage1_block1`, ..., (`norm`),
    `pool`, `logits`.
    """

    widths: Widths = (16, 32, 64)
    depth: Positive | Widths = 3
    stem: Stem = "3x3"
    block: Literal["basic", "bottleneck"] = "basic"
    """Blocks of two convolutions, or of three with 4 times the stage's width at their end."""
    groups: Positive = 1
    """Groups of channels in the second convolution of a bottleneck."""
    width_per_group: Positive = 64
    """Channels of each of these groups in a stage of width 64."""
    residual: bool = True
    """With shortcuts; without them, and nothing else, it is the plain twin."""
    shortcut: Literal["A", "B"] = "A"
    """Where shapes change, shortcuts append zeros (A) or are 1×1 convolutions (B)."""
    stride_at: Literal["1x1", "3x3"] = "3x3"
    """Where bottlenecks shrink the map: in the 1×1 convolution of version 1, or the 3×3 one of version 1.5."""
    pre_activation: bool = False
    """Normalization and activation come before the convolutions (version 2)."""
    zero_init_last: bool = False
    """Each block starts as its shortcut, as in `layers.BasicBlock`."""
    squeeze_excite: bool = False
    """Each branch weighs its channels by their means, as in `layers.BasicBlock`."""
    survival: float | int = 1.0
    """Probability that the last block's branch is kept in training; 1 keeps all."""

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
            activations["norm"] = an_array("activation", self.activation(x))
        return activations

    def residual_block(self, width: int, **fields: Any) -> BasicBlock | BottleneckBlock:
        """A block of the kind, with the fields of this network."""
        names = ("kernel_size", "residual", "pre_activation", "shortcut", "zero_init_last", "squeeze_excite")
        fields |= {**self.shared(), **{name: getattr(self, name) for name in names}}
        if self.block == "basic":
            return BasicBlock(self.features(width), **fields)
        fields |= dict(stride_at=self.stride_at, width=self.features(self.inner_width(width)), groups=self.groups)
        return BottleneckBlock(self.features(width), **fields)

    def inner_width(self, width: int) -> int:
        """The channels within a bottleneck block of a stage of `width`."""
        return width * self.width_per_group // 64 * self.groups

    def conv_block(self, width: int, kernel_size: int, **fields: Any) -> ConvBlock:
        if self.pre_activation:
            fields |= dict(norm="none", activation=_linear, use_bias=self.norm == "none")
        return super().conv_block(width, kernel_size, **fields)

    def default_factors(self) -> Sequence[int]:
        return (1,) + (2,) * (len(self.widths) - 1)

    def check(self) -> None:
        super().check()
        shape = f"groups={self.groups}, width_per_group={self.width_per_group}"
        if self.block == "basic" and (self.groups, self.width_per_group) != (1, 64):
            raise InputError(f"ResNet: {shape} are of bottleneck blocks: use block='bottleneck', or leave them out")
        if self.inner_width(min(self.widths)) < 1:
            raise InputError(
                f"ResNet: {shape} leave the stage of width {min(self.widths)} no channel: give at least "
                f"width_per_group={-(-64 // min(self.widths))}"
            )
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
resnext50_32x4d = functools.partial(resnet50, groups=32, width_per_group=4)
resnext101_32x8d = functools.partial(resnet101, groups=32, width_per_group=8)
resnext101_64x4d = functools.partial(resnet101, groups=64, width_per_group=4)
wide_resnet50_2 = functools.partial(resnet50, width_per_group=128)
wide_resnet101_2 = functools.partial(resnet101, width_per_group=128)
plain18 = functools.partial(resnet18, residual=False)
plain34 = functools.partial(resnet34, residual=False)

# Zhang 2019: every stride but the first follows a blur, in blocks after the activation.
_anti_aliased: dict[str, Any] = dict(stem="7x7_strided", downsample="blur", taps=4)
resnet18_lpf4 = functools.partial(resnet18, **_anti_aliased)
resnet34_lpf4 = functools.partial(resnet34, **_anti_aliased)
resnet50_lpf4 = functools.partial(resnet50, **_anti_aliased)
resnet101_lpf4 = functools.partial(resnet101, **_anti_aliased)
