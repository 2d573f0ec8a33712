"""LeNet-5 (LeCun et al. 1998, section II.B)."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door.limits import Dtype, Positive, Widths
from cnnjax.errors import InputError
from cnnjax.layers import Conv, Downsample, Pool, lecun_normal, standardize
from cnnjax.layers.module import Module, an_array
from cnnjax.layers.precision import at_least_float32
from cnnjax.models.contract import Activations, check_images
from cnnjax.models.flatten import flatten
from cnnjax.ops import Padding

CANVAS = 32
"""Side of the paper's input, in which a digit of 20 pixels has a border."""


class LeNet5(Module):
    """Two convolutions of 5×5 with a pool of 2×2 after each, then dense layers of 120 and 84 units and of class scores.

    At 28 and at 32 pixels the maps are the paper's: c1 28×28×6, s2 14×14×6, c3 10×10×16, s4 5×5×16. `padding=None`
    gives smaller images a border of zeros (after standardisation) up to the paper's 32×32 in c1, and c3 none; any
    other padding is that of both convolutions. c5 reads the whole map, so a network with parameters takes only images
    of the size that it was initialised on.

    What is not the paper's: a pool has no weight, bias or squashing of its own; c3 reads all maps of s2, not the
    choice of table I; the class scores are linear, not distances to a stylised bitmap. `activation` takes the paper's
    1.7159 tanh(2a / 3) as a function; tanh is what its descendants use.

    Images are `(batch, height, width, channels)` in [0, 1]. Activations, by the paper's names: `c1`, `s2`, `c3`, `s4`,
    `c5`, `f6`, `logits`. Multiply-adds are in `dtype`, parameters in float32.
    Raises `InputError`, naming the layer, for images that leave no map or do not fit the parameters.
    """

    num_classes: Positive
    """Scores, one for each class."""
    widths: Widths = (6, 16)
    """Channels of the two convolutions."""
    dense_widths: Widths = (120, 84)
    """Units of the two dense layers."""
    kernel_size: Positive = 5
    """Side of the convolutions, in pixels."""
    downsample: Downsample = "average"
    """The kind of the two pools (`layers.Pool`)."""
    taps: Positive = 3
    """Weights along each axis of the binomial filter of "blur" and "max_blur", 2 to 7."""
    padding: Padding | None = None
    """What convolutions see beyond the border; None: as the paper's."""
    activation: Callable[[Array], Any] = nn.tanh
    """Nonlinearity."""
    mean: Sequence[float] = (0.5,)
    """What is subtracted from the pixels: one number for all channels, or one for each."""
    std: Sequence[float] = (0.25,)
    """What they are divided by."""
    dtype: Dtype = jnp.float32
    """Of multiply-adds; parameters and logits are float32, or float64 where this is."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        if (len(self.widths), len(self.dense_widths)) != (2, 2):
            raise InputError(f"LeNet5: widths={self.widths} and dense_widths={self.dense_widths} must be two and two")
        check_images(images)
        wide = at_least_float32(self.dtype)
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        for number, width in zip((1, 3), self.widths, strict=True):
            conv, pool = f"c{number}", f"s{number + 1}"
            x = Conv(
                width,
                self.kernel_size,
                padding=self._padding(number, images),
                kernel_init=lecun_normal,
                dtype=self.dtype,
                name=conv,
            )(x)
            x = activations[conv] = an_array("activation", self.activation(x))
            padding = "valid" if self.padding is None else self.padding
            shrink = Pool(self.downsample, 2, padding, taps=self.taps, dtype=self.dtype, name=pool)
            x = activations[pool] = shrink(x, train=train)
        x = flatten(self, x, layer="c5")
        for name, width in zip(("c5", "f6"), self.dense_widths, strict=True):
            x = nn.Dense(width, kernel_init=lecun_normal, dtype=self.dtype, param_dtype=wide, name=name)(x)
            x = activations[name] = an_array("activation", self.activation(x))
        dense = nn.Dense(self.num_classes, kernel_init=lecun_normal, dtype=wide, param_dtype=wide, name="logits")
        logits = activations["logits"] = dense(x)
        return logits, activations

    def _padding(self, layer: int, images: Array) -> Padding:
        if self.padding is not None:
            return self.padding
        if layer > 1:
            return "valid"
        missing = [max(CANVAS - n, 0) for n in images.shape[1:3]]
        return [(n // 2, n - n // 2) for n in missing]
