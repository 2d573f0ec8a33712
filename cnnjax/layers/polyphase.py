"""Polyphase sampling that learns which phase of a map to keep."""

from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from cnnjax import ops
from cnnjax.door import checked
from cnnjax.door.limits import Dtype, Positive
from cnnjax.layers.convolution import Conv
from cnnjax.layers.initializers import lecun_normal
from cnnjax.layers.module import Module
from cnnjax.layers.precision import at_least_float32

Phase: TypeAlias = Int[Array, " batch"] | Float[Array, "batch phases"]
"""Which phase to keep, for each image: its number, or (while training) a weight for every phase."""


@checked()
def take_phase(
    x: Float[Array, "batch *space channels"], phase: Phase, *, stride: int
) -> Float[Array, "batch *resolution channels"]:
    """The phase of that number, or the weighted sum of all phases, `y = Σ_k w_k x_k`."""
    if jnp.issubdtype(phase.dtype, jnp.integer):
        return ops.select_phase(x, phase, stride=stride)
    components = ops.polyphase_components(x, stride=stride)
    weights = phase.astype(x.dtype).reshape(phase.shape + (1,) * (components.ndim - 2))
    return (weights * components).sum(1)


class LearnedPolyphase(Module):
    """Choose, for each image, the phase `x_k[i] = x[s i + k]` that a small network scores highest.

    `score_k = vᵀ mean_i relu(w ⋆ x_k)[i]`, one 3×3 circular convolution w and one vector v for all phases, so that a
    circular shift of x permutes the scores. Returns `argmax_k score_k`, of equals the first in row-major order: ties
    have no equivariant answer. In training, returns the weights `softmax((score + g) / temperature)` with Gumbel noise
    g, which needs the random stream "dropout".

    `take_phase` applies the choice, to x or to another map of its size. Raises `InputError` as `ops.polyphase_pool`
    does. Source: Rojas-Gomez et al. 2022, section 4 ("Learnable Polyphase Sampling"). There a second circular
    convolution precedes the mean; as the mean of such a convolution is a linear map of the mean, v is as general.
    """

    stride: Positive = 2
    temperature: float | int = 1.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *space channels"], *, train: bool) -> Phase:
        phases = ops.polyphase_components(x, stride=self.stride)
        batch, count, *space, channels = phases.shape
        maps = phases.reshape(batch * count, *space, channels)
        maps = nn.relu(Conv(channels, 3, padding="circular", dtype=self.dtype, name="conv")(maps))
        wide = at_least_float32(self.dtype)
        means = maps.astype(wide).mean(range(1, maps.ndim - 1))
        # A bias would add the same to every phase.
        score = nn.Dense(1, use_bias=False, kernel_init=lecun_normal, dtype=wide, param_dtype=wide, name="score")(means)
        score = score.reshape(batch, count)
        if not train:
            return lax.argmax(score, 1, jnp.int32)
        noise = jax.random.gumbel(self.make_rng("dropout"), score.shape, score.dtype)
        return jax.nn.softmax((score + noise) / self.temperature)
