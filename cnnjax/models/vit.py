"""Vision transformers (Dosovitskiy et al. 2021) for small images: the reference without a convolution's locality."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax.door.limits import Dtype, Positive
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.layers import Conv, StochasticDepth, lecun_normal, standardize
from cnnjax.layers.activations import ALIAS_FREE
from cnnjax.layers.module import Module, an_array
from cnnjax.layers.precision import at_least_float32, normalisation
from cnnjax.models.blocks import run_block
from cnnjax.models.contract import Activations, check_images

narrow = nn.initializers.truncated_normal(0.02)
EPSILON = 1e-6


def exact_gelu(x: Array) -> Array:
    """`x Φ(x)`, where Flax's default approximates Φ by a tanh."""
    return nn.gelu(x, approximate=False)


class EncoderBlock(Module):
    """`y = x + attention(norm(x))`, then `y + mlp(norm(y))` (Dosovitskiy et al. 2021, equations 2 and 3).

    Attention has `heads` heads, the MLP one hidden layer of `mlp_ratio` times the width of x. Dropout follows every
    dense layer but those of queries, keys and values (appendix B.1). Either branch is left out with probability
    1 − survival while training (`StochasticDepth`). Sums, softmax and normalisation are float32 at least.
    """

    heads: Positive
    mlp_ratio: Positive = 4
    dropout: float | int = 0.0
    survival: float | int = 1.0
    activation: Callable[[Array], Any] = exact_gelu
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch tokens width"], *, train: bool) -> Float[Array, "batch tokens width"]:
        wide, width = at_least_float32(self.dtype), x.shape[-1]
        fields: dict[str, Any] = dict(dtype=self.dtype, param_dtype=wide, kernel_init=narrow)

        def dropped(y: Array) -> Array:
            return nn.Dropout(self.dropout, deterministic=not train)(y)

        def kept(y: Array) -> Array:
            return StochasticDepth(self.survival)(dropped(y), train=train)

        attend = nn.MultiHeadDotProductAttention(self.heads, attention_fn=attention, name="attention", **fields)
        x = x + kept(attend(normalised(x, self.dtype, name="norm1")))
        y = nn.Dense(self.mlp_ratio * width, name="mlp1", **fields)(normalised(x, self.dtype, name="norm2"))
        return x + kept(nn.Dense(width, name="mlp2", **fields)(dropped(an_array("activation", self.activation(y)))))


class ViT(Module):
    """An image as square patches, an encoder of `depth` blocks over them, class scores read from a class token.

    A patch of `patch_size` pixels becomes a token of `width` numbers by one linear map; each place in the image, and
    the class token, has a learned position added. The class token, which sees every patch and is none, is what the
    scores are read from (section 3.1; a mean over the patches would do as well, appendix D.3). With `patch_size=16`,
    224 pixels and 1000 classes `vit_tiny` is DeiT-Ti (Touvron et al. 2021, table 1), weight for weight.

    Dropout is that of the blocks, and of the tokens once they have positions. Survival falls linearly with depth, to
    `1 − (l / depth) (1 − survival)` in block l (Huang et al. 2016, equation 4). Both draw from the random stream
    "dropout", only in training.

    Weights start as truncated normal numbers of standard deviation 0.02 (Touvron et al. 2021, section 6), those of the
    patches as √(1 / fan in).

    Images are `(batch, height, width, channels)` in [0, 1], in multiples of `patch_size`. There is a position for every
    patch, so a network with parameters takes only images of the size that it was initialised on.
    Activations: `patches`, a map (batch, rows, columns, width) with its positions; `block1`, ..., each (batch,
    1 + patches, width) with the class token first; `pool`, that token normalised; `logits`. Multiply-adds are in
    `dtype`, parameters in float32, or float64 where `dtype` is.
    Raises `InputError` for fields out of range and for images of a size that does not fit.
    """

    num_classes: Positive
    """Scores, one for each class."""
    width: Positive = 192
    """Numbers of a token."""
    depth: Positive = 12
    """Blocks."""
    heads: Positive = 3
    """Heads of attention, which share the width."""
    patch_size: Positive = 4
    """Side of the square patches that become tokens, in pixels."""
    mlp_ratio: Positive = 4
    """Hidden units of a block's MLP, in widths of a token."""
    dropout: float | int = 0.0
    """Probability that a number is zero in training."""
    survival: float | int = 1.0
    """Probability that a branch of the last block is kept in training; 1 keeps all."""
    activation: Callable[[Array], Any] = exact_gelu
    """Nonlinearity of the MLPs."""
    mean: Sequence[float] = (0.5,)
    """What is subtracted from the pixels: one number for all channels, or one for each."""
    std: Sequence[float] = (0.25,)
    """What they are divided by."""
    remat: bool = False
    """Keep only what lies between blocks for the backward pass and compute the rest again: less memory."""
    dtype: Dtype = jnp.float32
    """Of multiply-adds; parameters and logits are float32, or float64 where this is."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        check_images(images)
        self._check(*images.shape[1:3])
        wide = at_least_float32(self.dtype)
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        x = Conv(
            self.width,
            self.patch_size,
            strides=self.patch_size,
            padding="valid",
            kernel_init=lecun_normal,
            dtype=self.dtype,
            name="patches",
        )(x)
        positions = self.param("positions", narrow, x.shape[1:], wide)
        x = x + positions[None].astype(self.dtype)
        x = activations["patches"] = nn.Dropout(self.dropout, deterministic=not train)(x)
        token, position = (self.param(name, narrow, (self.width,), wide) for name in ("token", "token_position"))
        token = jnp.broadcast_to((token + position).astype(self.dtype), (x.shape[0], 1, self.width))
        token = nn.Dropout(self.dropout, deterministic=not train)(token)
        x = jnp.concatenate([token, x.reshape(x.shape[0], x.shape[1] * x.shape[2], self.width)], axis=1)
        for layer in range(1, self.depth + 1):
            name = f"block{layer}"
            survival = 1 - layer / self.depth * (1 - self.survival)
            block = EncoderBlock(
                self.heads, self.mlp_ratio, self.dropout, survival, self.activation, self.dtype, name=name
            )
            x = activations[name] = run_block(block, x, train=train, remat=self.remat)
        x = activations["pool"] = normalised(x[:, 0], wide, name="norm")
        head = nn.Dense(self.num_classes, kernel_init=narrow, dtype=wide, param_dtype=wide, name="logits")
        logits = activations["logits"] = head(x)
        return logits, activations

    def _check(self, height: int, width: int) -> None:
        if self.width % self.heads:
            raise InputError(f"ViT: width={self.width} must be a multiple of heads={self.heads}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"ViT: dropout={self.dropout} must lie in [0, 1)")
        if self.activation in ALIAS_FREE:
            raise InputError(
                f"ViT: activation={shown(self.activation)} resamples maps, and the tokens are none: use one that "
                "acts on each number by itself, such as flax.linen.gelu"
            )
        size = self.patch_size
        if height % size or width % size:
            raise InputError(
                f"ViT: images of {height}×{width} pixels cannot be cut into patches of patch_size={size}: both sides "
                "must be multiples of it"
            )
        if self.has_variable("params", "positions"):
            rows, columns = np.shape(self.get_variable("params", "positions"))[:2]
            if (height, width) != (rows * size, columns * size):
                raise InputError(
                    f"ViT: it was initialised on images of {rows * size}×{columns * size} pixels and has no positions "
                    f"for {height}×{width}: give images of that size"
                )


def attention(
    query: Float[Array, "batch tokens heads features"],
    key: Float[Array, "batch tokens heads features"],
    value: Float[Array, "batch tokens heads features"],
) -> Float[Array, "batch tokens heads features"]:
    """`softmax(query · keyᵀ / √features) · value` for each head, the softmax in float32 at least."""
    wide = at_least_float32(query.dtype)
    scores = jnp.einsum("bqhf,bkhf->bhqk", query, key, preferred_element_type=wide) / math.sqrt(query.shape[-1])
    return jnp.einsum("bhqk,bkhf->bqhf", nn.softmax(scores).astype(value.dtype), value)


def normalised(x: Float[Array, "*batch width"], dtype: Any, *, name: str) -> Float[Array, "*batch width"]:
    """Layer normalisation over the last axis, in float32 at least, as `dtype`."""
    norm = nn.LayerNorm(EPSILON, name=name, **normalisation(dtype))
    return norm(x.astype(at_least_float32(dtype))).astype(dtype)


vit_tiny = functools.partial(ViT, width=192, depth=12, heads=3)
