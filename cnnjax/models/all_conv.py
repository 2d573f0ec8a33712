"""All-convolutional networks (Springenberg et al. 2015, "Striving for Simplicity", table 1 and 2)."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.layers import Conv, ConvBlock, Downsample, NormName, naming_layer, standardize
from cnnjax.models.contract import Activations, check_fields, check_images
from cnnjax.ops import Padding


class AllConv(nn.Module):
    """Stages of `depth` convolutions, the last of which halves the map; then a convolutional head, averaged over space.

    With `downsample="stride"` that last convolution has stride 2; with `"max"` or `"average"` it has stride 1 and a
    2×2 pool follows. `depth=3` and stride gives the paper's All-CNN, `depth=3` and max its ConvPool-CNN, `depth=2`
    and stride its Strided-CNN, `depth=2` and max its base model (with 2×2 windows where the paper pools over 3×3).

    Images are `(batch, height, width, channels)` in [0, 1], of any size that the stages do not shrink to nothing.
    Activations: `stage1_conv1`, ..., `head_conv1`, `head_conv2`, `class_maps`, `logits`. Multiply-adds are in `dtype`,
    parameters and statistics in float32.
    """

    num_classes: int
    widths: Sequence[int] = (96, 192)
    depth: int = 3
    head_width: int = 192
    kernel_size: int = 3
    downsample: Downsample = "stride"
    padding: Padding = "same"
    norm: NormName = "batch"
    activation: Any = nn.relu
    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.25,)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        check_fields(self, positive=("num_classes", "depth", "head_width", "kernel_size"), widths=self.widths)
        check_images(images)
        block = functools.partial(
            ConvBlock, padding=self.padding, norm=self.norm, activation=self.activation, dtype=self.dtype
        )
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        for stage, width in enumerate(self.widths, 1):
            for layer in range(1, self.depth + 1):
                name = f"stage{stage}_conv{layer}"
                factor = 2 if layer == self.depth else 1
                conv = block(width, self.kernel_size, factor=factor, downsample=self.downsample, name=name)
                x = activations[name] = conv(x, train=train)
        for layer, kernel_size in enumerate((self.kernel_size, 1), 1):
            name = f"head_conv{layer}"
            x = activations[name] = block(self.head_width, kernel_size, name=name)(x, train=train)
        maps = Conv(self.num_classes, 1, dtype=self.dtype, name="class_maps")(x)
        activations["class_maps"] = maps
        with naming_layer("class_maps"):
            check_images(maps)
        logits = activations["logits"] = maps.astype(jnp.float32).mean((1, 2))
        return logits, activations


all_conv = AllConv
all_cnn_c = functools.partial(AllConv, widths=(96, 192), depth=3, head_width=192)
