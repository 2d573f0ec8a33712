"""The networks whose training steps are measured, and on what images."""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnjax import layers, models


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and a batch of images of `side` × `side` × `channels`."""

    network: Callable[[], nn.Module]
    batch: int
    side: int
    channels: int = 3

    def __str__(self) -> str:
        return f"batch {self.batch} at {self.side}²"


class Separable(nn.Module):
    """Depthwise separable convolutions on small images (Howard et al. 2017, table 1, without its first two strides).

    A stem, then blocks of a depthwise 3×3 and a 1×1 convolution, each normalised and rectified; the mean and a dense
    layer. `blocks` are the features and the stride of each.
    """

    num_classes: int = 10
    stem: int = 32
    blocks: Sequence[tuple[int, int]] = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = layers.standardize(images, (0.5,), (0.25,))
        x = layers.ConvBlock(self.stem, name="conv1")(x, train=train)
        for number, (features, stride) in enumerate(self.blocks, 1):
            channels = x.shape[-1]
            x = layers.ConvBlock(channels, factor=stride, groups=channels, name=f"depthwise{number}")(x, train=train)
            x = layers.ConvBlock(features, 1, name=f"pointwise{number}")(x, train=train)
        logits = nn.Dense(self.num_classes, name="logits")(jnp.mean(x, (1, 2)))
        return logits, {"logits": logits}


CASES = {
    "ResNet-20": Case(lambda: models.resnet20(num_classes=10), batch=128, side=32),
    "ResNet-18": Case(
        lambda: models.ResNet(num_classes=10, widths=(64, 128, 256, 512), depth=2, shortcut="B"), batch=64, side=32
    ),
    "max pooling": Case(
        lambda: models.AllConv(num_classes=10, widths=(32, 64), depth=2, head_width=64, downsample="max"),
        batch=128,
        side=32,
    ),
    "LeNet": Case(lambda: models.LeNet5(num_classes=10), batch=128, side=28, channels=1),
    "depthwise": Case(Separable, batch=64, side=32),
    # Dropout, which draws random numbers, would make the losses of two programs differ.
    "AlexNet": Case(lambda: models.alexnet_one_tower(num_classes=1000, dropout=0.0), batch=16, side=224),
    "ResNet-50": Case(lambda: models.resnet50(num_classes=1000), batch=16, side=224),
}
