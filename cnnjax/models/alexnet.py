"""AlexNet (Krizhevsky et al. 2012): two towers that see each other in the third layer and in the dense ones."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.door.limits import Dtype, Positive, Widths
from cnnjax.errors import InputError
from cnnjax.layers import Conv, Downsample, Pool, he_normal, standardize
from cnnjax.layers.module import Initializer, Module, an_array, initializer
from cnnjax.layers.precision import at_least_float32
from cnnjax.models.contract import Activations, check_images
from cnnjax.models.flatten import flatten
from cnnjax.ops import Padding

ResponseNorm = Literal["local_response", "none"]

TOWER = (2, 4, 5)
"""The convolutions that read only the maps of their own tower. Their biases start at 1."""
POOLED = (1, 2, 5)
NORMALISED = (1, 2)
gaussian = nn.initializers.normal(0.01)
"""The paper's initialiser of every kernel."""


class AlexNet(Module):
    """Five convolutions, a pool of 3×3 windows at stride 2 after the first, second and fifth, and three dense layers.

    The maps of every convolution are halved into two towers. conv2, conv4 and conv5 read their own tower; conv3 and the
    dense layers read both (figure 2). Every layer but the last is followed by `activation`, conv1 and conv2 then by
    local response normalisation (`ops.local_response_norm`, section 3.3) and only then by the pool.

    - `padding=None` is the paper's: 2 around the image in conv1, which makes 224 pixels 228, of which 55 windows read
      all but the last; "same" in the other convolutions, none in the pools. The maps are then 55, 27, 13 and 6 wide.
      Any other padding is that of every convolution and of the pools.
    - `norm`: response normalisation takes its 5 neighbours within a tower, as on two devices it must. Where a tower
      ends the window is cut, as at the first and the last channel.
    - `dropout` draws from the stream "dropout" and scales the other units up, where the paper scales all down in
      evaluation (section 4.2). Libraries drop what these layers read instead, which differs only in training.
    - `kernel_init`: the kernel of the logits is Gaussian with standard deviation 0.01 all the same, as all are in the
      paper (section 5). Biases start at 1 in conv2, conv4, conv5, fc6 and fc7, elsewhere at 0.
    - `mean` and `std`: by default conv1 sees pixels as the paper's does, from −127.5 to 127.5. The constants of the
      normalisation and of the initialisation are made for that scale.
    - `exchange=False` makes the kernels of dense layers `(positions, 1, channels / towers, units)`.

    Images are `(batch, height, width, channels)` in [0, 1], of any size that leaves a map. fc6 reads that map in the
    order (height, width, channels), so a network with parameters takes images of the size that it was initialised on
    alone; libraries that take others average their maps to 6×6, which leaves those of 224 pixels as they are.

    Activations: `conv1`, `norm1`, `pool1`, `conv2`, `norm2`, `pool2`, `conv3`, `conv4`, `conv5`, `pool5`, `fc6`, `fc7`,
    `logits`, those of convolutions and dense layers after the activation (and dropout). Multiply-adds are in `dtype`,
    parameters in float32.
    Raises `InputError`, naming the layer, for images that leave no map or do not fit the parameters.
    """

    num_classes: Positive
    """Scores, one for each class."""
    widths: Widths = (96, 256, 384, 384, 256)
    """Channels of the five convolutions, of all towers together."""
    kernel_sizes: Widths = (11, 5, 3, 3, 3)
    """Sides of the five convolutions, in pixels."""
    stem_stride: Positive = 4
    """Stride of conv1."""
    dense_widths: Widths = (4096, 4096)
    """Units of fc6 and fc7, of all towers together."""
    towers: Positive = 2
    """Parts that maps and units are divided into; 1 is one network."""
    downsample: Downsample = "max"
    """The kind of the three pools (`layers.Pool`)."""
    taps: Positive = 3
    """Weights along each axis of the binomial filter of "blur" and "max_blur", 2 to 7."""
    padding: Padding | None = None
    """What convolutions and pools see beyond the border; None: as the paper's."""
    norm: ResponseNorm = "local_response"
    """Normalization after conv1 and conv2."""
    activation: Callable[[Array], Any] = nn.relu
    """Nonlinearity."""
    dropout: float | int = 0.5
    """Probability that a unit of fc6 and fc7 is zero in training."""
    kernel_init: Initializer = gaussian
    """What draws every kernel but that of the logits."""
    mean: Sequence[float] = (0.5,)
    """What is subtracted from the pixels: one number for all channels, or one for each."""
    std: Sequence[float] = (1 / 255,)
    """What they are divided by."""
    exchange: bool = True
    """Let towers read each other's maps and units in conv3, fc6 and fc7; without, they meet in the logits only."""
    dtype: Dtype = jnp.float32
    """Of multiply-adds; parameters and logits are float32, or float64 where this is."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        self._check()
        check_images(images)
        here = self.towers_here()
        wide = at_least_float32(self.dtype)
        own = TOWER if self.exchange else (*TOWER, 3)
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        for layer, (width, kernel_size) in enumerate(zip(self.widths, self.kernel_sizes, strict=True), 1):
            name = f"conv{layer}"
            x = Conv(
                width * here // self.towers,
                kernel_size,
                strides=self.stem_stride if layer == 1 else 1,
                padding=self.padding if self.padding is not None else 2 if layer == 1 else "same",
                groups=here if layer in own else 1,
                kernel_init=self.kernel_init,
                bias_init=nn.initializers.ones if layer in TOWER else nn.initializers.zeros,
                dtype=self.dtype,
                name=name,
            )(self.gathered(x, name) if layer == 3 else x)
            x = activations[name] = an_array("activation", self.activation(x))
            if layer in NORMALISED and self.norm == "local_response":
                x = activations[f"norm{layer}"] = _normalised(x, here)
            if layer in POOLED:
                padding = "valid" if self.padding is None else self.padding
                name = f"pool{layer}"
                pool = Pool(self.downsample, 2, padding, window=3, taps=self.taps, dtype=self.dtype, name=name)
                x = activations[name] = pool(x, train=train)
        for layer, width in enumerate(self.dense_widths, 6):
            name = f"fc{layer}"
            x = self._dense(self.gathered(x, name), width * here // self.towers, here, name)
            x = an_array("activation", self.activation(x))
            activations[name] = x = x * self.kept(x.shape[0], width).astype(x.dtype) if train else x
        dense = nn.Dense(
            self.num_classes,
            kernel_init=gaussian,
            dtype=wide,
            param_dtype=wide,
            dot_general=self.dot_general,
            name="logits",
        )
        logits = activations["logits"] = dense(x)
        return logits, activations

    def towers_here(self) -> int:
        """How many towers this module is."""
        return self.towers

    def gathered(self, x: Array, layer: str) -> Array:
        """The maps or units of all towers, which `layer` reads."""
        return x

    def kept(self, batch: int, width: int) -> Array:
        """What units are multiplied with in training: 0 where they are dropped."""
        return nn.Dropout(self.dropout, deterministic=False)(jnp.ones((batch, width)))

    def dot_general(self, *operands: Any, **options: Any) -> Array:
        """The product that makes the logits."""
        return lax.dot_general(*operands, **options)

    def _check(self) -> None:
        for name, count in (("widths", 5), ("kernel_sizes", 5), ("dense_widths", 2)):
            values = tuple(getattr(self, name))
            if len(values) != count:
                raise InputError(f"AlexNet: {name}={values} must be {count} positive integers")
            if name != "kernel_sizes" and any(width % self.towers for width in values):
                raise InputError(f"AlexNet: {name}={values} must be multiples of towers={self.towers}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"AlexNet: dropout={self.dropout} must lie in [0, 1)")

    def _dense(self, x: Array, units: int, towers: int, name: str) -> Array:
        drawn: Any = dict(kernel_init=initializer(self, "kernel_init"), bias_init=nn.initializers.ones)
        options = dict(dtype=self.dtype, name=name, **drawn)
        values = flatten(self, x, layer=name, groups=1 if self.exchange else towers) if x.ndim == 4 else x
        if self.exchange:
            return nn.Dense(units, param_dtype=at_least_float32(self.dtype), **options)(values)
        # A dense layer is a convolution whose window is the whole map; in groups, it reads its own tower's channels.
        maps = values.reshape(len(x), -1, 1, x.shape[-1])
        window = (maps.shape[1], 1)
        return Conv(units, window, padding="valid", groups=towers, **options)(maps)[:, 0, 0]


def _normalised(x: Array, towers: int) -> Array:
    # Towers become positions of their own, so that no window reaches from one into the next.
    height, width, channels = x.shape[1:]
    apart = x.reshape(x.shape[0], height, width * towers, channels // towers)
    return ops.local_response_norm(apart).reshape(x.shape)


# After Krizhevsky 2014, "One weird trick", with the widths that libraries ship.
alexnet_one_tower = functools.partial(AlexNet, widths=(64, 192, 384, 256, 256), towers=1, norm="none")
# With deviations of 0.01 the narrow layers would keep next to nothing of an image.
alexnet_small = functools.partial(
    AlexNet,
    widths=(48, 128, 192, 192, 128),
    kernel_sizes=(5, 5, 3, 3, 3),
    stem_stride=1,
    dense_widths=(512, 512),
    kernel_init=he_normal,
    std=(0.25,),
)
