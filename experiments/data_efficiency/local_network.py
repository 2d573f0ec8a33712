"""A convolutional network without its sharing of weights: what locality alone is worth."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door.limits import Positive, Widths
from cnnjax.layers import Norm, standardize
from cnnjax.layers.module import Module
from cnnjax.models.contract import Activations, check_images

unshared_he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal", batch_axis=(0, 1))


class LocalNetwork(Module):
    """`AllConv` of one convolution a stage, but that every place of a map has weights of its own (LeCun 1989).

    Stages of 3×3 windows with a stride of 2 and zeros beyond the border, batch normalisation, rectifiers; one more of
    stride 1 and one of 1×1; class maps and their means. Normalisation, like biases of the class maps, is by channel. A
    network whose places agree in their weights is that convolutional network.

    Weights and activations as `cnnjax.models`. Images are `(batch, height, width, channels)` in [0, 1].
    """

    num_classes: Positive
    widths: Widths = (16, 32)
    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.25,)

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        check_images(images)
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        stages = [(f"stage{stage}_conv1", width, 3, 2) for stage, width in enumerate(self.widths, 1)]
        head = [("head_conv1", self.widths[-1], 3, 1), ("head_conv2", self.widths[-1], 1, 1)]
        for name, width, side, stride in (*stages, *head):
            x = self.local(width, side, stride, name=name)(x)
            x = Norm("batch", name=f"{name}_norm")(x, train=train)
            x = activations[name] = nn.relu(x)
        maps = self.local(self.num_classes, 1, 1, name="class_maps")(x)
        bias = self.param("class_bias", nn.initializers.zeros, (self.num_classes,))
        maps = activations["class_maps"] = maps + bias.reshape(1, 1, 1, -1)
        logits = activations["logits"] = maps.mean((1, 2))
        return logits, activations

    @staticmethod
    def local(features: int, side: int, stride: int, *, name: str) -> nn.ConvLocal:
        """A layer that reads `side`×`side` windows, with weights for each of its places."""
        border = ((side - 1) // 2, side // 2)
        return nn.ConvLocal(
            features,
            (side, side),
            strides=stride,
            padding=(border, border),
            use_bias=False,
            kernel_init=unshared_he_normal,
            param_dtype=jnp.float32,
            name=name,
        )
