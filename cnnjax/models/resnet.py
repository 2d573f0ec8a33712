"""Residual networks for small images, and their plain twins (He et al. 2016, section 4.2)."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.errors import InputError
from cnnjax.layers import BasicBlock, ConvBlock, Downsample, NormName, standardize
from cnnjax.models.contract import Activations, check_fields, check_images
from cnnjax.ops import Padding


class ResNet(nn.Module):
    """A 3×3 stem, stages of `depth` basic blocks, a global average, a dense layer: 2 · depth · len(widths) + 2 layers.

    Every stage but the first halves the map in its first block. `residual=False` leaves out the shortcuts and nothing
    else: the plain twin. Shortcuts have no parameters (option A).

    Images are `(batch, height, width, channels)` in [0, 1]. Activations: `conv1`, `stage1_block1`, ..., `pool`,
    `logits`. Multiply-adds are in `dtype`, parameters and statistics in float32.
    """

    num_classes: int
    depth: int = 3
    widths: Sequence[int] = (16, 32, 64)
    kernel_size: int = 3
    downsample: Downsample = "stride"
    padding: Padding = "same"
    norm: NormName = "batch"
    activation: Any = nn.relu
    residual: bool = True
    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.25,)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        check_fields(self, positive=("num_classes", "depth", "kernel_size"), widths=self.widths)
        if self.residual and list(self.widths) != sorted(self.widths):
            raise InputError(f"ResNet: widths={tuple(self.widths)} must not fall: a shortcut only appends channels")
        check_images(images)
        fields: dict[str, Any] = dict(
            downsample=self.downsample,
            padding=self.padding,
            norm=self.norm,
            activation=self.activation,
            dtype=self.dtype,
        )
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        x = ConvBlock(self.widths[0], self.kernel_size, name="conv1", **fields)(x, train=train)
        activations["conv1"] = x
        for stage, width in enumerate(self.widths, 1):
            for block in range(1, self.depth + 1):
                name = f"stage{stage}_block{block}"
                x = activations[name] = BasicBlock(
                    width,
                    factor=2 if stage > 1 and block == 1 else 1,
                    residual=self.residual,
                    kernel_size=self.kernel_size,
                    name=name,
                    **fields,
                )(x, train=train)
        x = activations["pool"] = x.astype(jnp.float32).mean((1, 2))
        logits = activations["logits"] = nn.Dense(self.num_classes, name="logits")(x)
        return logits, activations


resnet20 = functools.partial(ResNet, depth=3)
resnet32 = functools.partial(ResNet, depth=5)
resnet44 = functools.partial(ResNet, depth=7)
resnet56 = functools.partial(ResNet, depth=9)
resnet110 = functools.partial(ResNet, depth=18)
plain20 = functools.partial(ResNet, depth=3, residual=False)
plain32 = functools.partial(ResNet, depth=5, residual=False)
plain44 = functools.partial(ResNet, depth=7, residual=False)
plain56 = functools.partial(ResNet, depth=9, residual=False)
