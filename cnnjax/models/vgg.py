"""VGG (Simonyan & Zisserman 2015, table 1): stages of 3×3 convolutions, each ended by a pool, and dense layers."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array

from cnnjax.door.limits import Positive, Widths
from cnnjax.errors import InputError
from cnnjax.layers import Downsample, NormName, he_normal
from cnnjax.layers.module import an_array
from cnnjax.layers.precision import at_least_float32
from cnnjax.models.contract import Activations
from cnnjax.models.conv_net import ConvNet
from cnnjax.models.flatten import flatten
from cnnjax.models.head import Head, class_scores


class VGG(ConvNet, kw_only=True):
    """Stages of `depth` convolutions, the last of which shrinks the map as `downsample` says; dense layers; the head.

    With `norm="batch"` they are what libraries call `vgg16_bn`; convolutions have a bias all the same, as theirs do.
    Heads other than "dense" read the map itself, without fc6 and fc7. Dropout draws from the stream "dropout".

    Kernels start with the deviation √(2 / fan in), not with the paper's 0.01, at which deep ones do not train (He et
    al. 2015, section 2.2); those of the scores as in every network here.

    With the dense head, a network with parameters takes only images of the size that it was initialised on; libraries
    that take others average their maps to 7×7, which leaves those of 224 pixels as they are.

    Fields, images and errors are those of `ConvNet`. Activations: `stage1_conv1`, ..., `fc6`, `fc7`, `logits`; that of
    a stage's last convolution is what comes of its pool.
    """

    widths: Widths = (64, 128, 256, 512, 512)
    depth: Positive | Widths = (2, 2, 3, 3, 3)
    downsample: Downsample = "max"
    norm: NormName = "none"
    head: Head = "dense"
    dense_widths: Widths = (4096, 4096)
    """Units of fc6 and fc7, between the last map and the scores of the dense head."""
    dropout: float | int = 0.5
    """Probability that a unit of fc6 and fc7 is zero in training."""

    def body(self, x: Array, *, train: bool) -> Activations:
        activations: Activations = {}
        for stage, (width, depth, factor) in enumerate(self.stages(), 1):
            for layer in range(1, depth + 1):
                name = f"stage{stage}_conv{layer}"
                factor_here = factor if layer == depth else 1
                block = self.conv_block(width, self.kernel_size, factor=factor_here, use_bias=True, name=name)
                x = activations[name] = self.run(block, x, train=train)
        return activations

    def scores(self, x: Array, *, train: bool) -> Activations:
        if self.head != "dense":
            return super().scores(x, train=train)
        activations: Activations = {}
        x = flatten(self, x, layer="fc6")
        options: Any = dict(kernel_init=he_normal, dtype=self.dtype, param_dtype=at_least_float32(self.dtype))
        for layer, width in enumerate(self.dense_widths, 6):
            x = an_array("activation", self.activation(nn.Dense(width, name=f"fc{layer}", **options)(x)))
            x = activations[f"fc{layer}"] = nn.Dropout(self.dropout, deterministic=not train)(x)
        return activations | class_scores(self, x, head="dense", num_classes=self.num_classes, dtype=self.dtype)

    def default_factors(self) -> Sequence[int]:
        return (2,) * len(self.widths)

    def check(self) -> None:
        super().check()
        widths = tuple(self.dense_widths)
        if len(widths) != 2:
            raise InputError(f"VGG: dense_widths={widths} must be two positive integers")
        if not 0 <= self.dropout < 1:
            raise InputError(f"VGG: dropout={self.dropout} must lie in [0, 1)")


vgg11 = functools.partial(VGG, depth=(1, 1, 2, 2, 2))
vgg13 = functools.partial(VGG, depth=(2, 2, 2, 2, 2))
vgg16 = functools.partial(VGG, depth=(2, 2, 3, 3, 3))
vgg19 = functools.partial(VGG, depth=(2, 2, 4, 4, 4))
vgg11_bn = functools.partial(vgg11, norm="batch")
vgg13_bn = functools.partial(vgg13, norm="batch")
vgg16_bn = functools.partial(vgg16, norm="batch")
vgg19_bn = functools.partial(vgg19, norm="batch")
