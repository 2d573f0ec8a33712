"""How a network halves its maps: by the convolution's stride, or by a pool after a convolution of stride 1."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.door.limits import Dtype, Positive
from cnnjax.layers.convolution import naming_layer
from cnnjax.layers.module import Module
from cnnjax.layers.polyphase import LearnedPolyphase, Phase, take_phase
from cnnjax.ops import Padding

Downsample = Literal["stride", "max", "average", "blur", "max_blur", "polyphase", "learned_polyphase", "alias_free"]


class Pool(Module):
    """Make a map smaller by `factor` along each axis, one way or another.

    - "stride": every `factor`-th position, the first one first, as a strided convolution takes them.
    - "max", "average": over windows of `window` positions, `factor` if it is None.
    - "blur": a binomial blur of `taps` weights, then every `factor`-th position (Zhang 2019). 3 are (1, 2, 1) / 4.
    - "max_blur": the maximum at every position over windows as above, then "blur".
    - "polyphase": the phase of the largest norm (adaptive polyphase sampling, Chaman & Dokmanić 2021).
    - "learned_polyphase": the phase that a small network scores highest (`LearnedPolyphase`).
    - "alias_free": an ideal low pass, then as many positions as "stride" leaves, in the middle of their windows
      (`ops.alias_free_pool`, Michaeli et al. 2023). Taken round the map, whatever `padding` is.

    `padding` is that of the convolutions around. Blurs and windows wider than their stride follow it; but a blur takes
    "reflect" where it pads with zeros, which would darken the border, as Zhang 2019 does. Windows that do not overlap
    need none. So with "circular", where `factor` divides the map, every pool is equivariant to circular shifts by it,
    and the polyphase pools to all by whole pixels. "alias_free" always is to all, by any part of a pixel.

    Raises `InputError`, naming this layer, as the ops do.
    """

    downsample: Downsample
    factor: Positive = 2
    padding: Padding = "same"
    window: Positive | None = None
    taps: Positive = 3
    dtype: Dtype = jnp.float32

    def __call__(
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> Float[Array, "batch *resolution channels"]:
        """The smaller map. `train` makes the choice of "learned_polyphase" soft, by the random stream "dropout"."""
        return self.with_phase(x, train=train)[0]

    @nn.compact
    def with_phase(
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> tuple[Float[Array, "batch *resolution channels"], Phase | None]:
        """The smaller map, and the phase that was chosen from x, if this is a polyphase pool."""
        with naming_layer(self):
            phase = None
            if self.downsample == "polyphase":
                _, phase = ops.polyphase_pool_with_phase(x, stride=self.factor)
            elif self.downsample == "learned_polyphase":
                choose = LearnedPolyphase(self.factor, dtype=self.dtype, name="phase")
                phase = choose(x, train=train)
            return self.at_phase(x, phase), phase

    def at_phase(
        self, x: Float[Array, "batch *space channels"], phase: Phase | None
    ) -> Float[Array, "batch *resolution channels"]:
        """What `with_phase` did, done to another map: a shortcut follows the phase of its branch."""
        match self.downsample:
            case "stride":
                return x[:, *(slice(None, None, self.factor),) * (x.ndim - 2)]
            case "max":
                return ops.max_pool(x, self._window, stride=self.factor, padding=self._padding)
            case "average":
                return ops.avg_pool(x, self._window, stride=self.factor, padding=self._padding)
            case "blur":
                return ops.blur_pool(x, taps=self.taps, stride=self.factor, padding=self._border)
            case "max_blur":
                return ops.max_blur_pool(x, self._window, taps=self.taps, stride=self.factor, padding=self._border)
            case "polyphase" | "learned_polyphase":
                assert phase is not None
                return take_phase(x, phase, stride=self.factor)
            case "alias_free":
                return ops.alias_free_pool(x, stride=self.factor)

    @property
    def _window(self) -> int:
        return self.window or self.factor

    @property
    def _padding(self) -> Padding:
        return self.padding if self._window > self.factor else "valid"

    @property
    def _border(self) -> Padding:
        return self.padding if self.padding in ("circular", "valid") else "reflect"
