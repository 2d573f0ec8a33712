"""The block that convolutional networks are made of: convolution, normalisation, activation, pool."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door.limits import Dtype, Positive
from cnnjax.errors import InputError
from cnnjax.layers.convolution import Conv
from cnnjax.layers.downsampling import Downsample, Pool
from cnnjax.layers.group import GroupConv, GroupMapPool, LiftingConv
from cnnjax.layers.initializers import he_normal
from cnnjax.layers.module import Module, an_array
from cnnjax.layers.normalization import Norm, NormName
from cnnjax.layers.polyphase import Phase
from cnnjax.ops import Padding


class Block(Module, kw_only=True):
    """The fields that all blocks of a network share, and the layers that follow from them.

    With a `group` ("p4", "p4m"), convolutions are those of `layers.LiftingConv` and `layers.GroupConv`: maps have an
    axis for the orientations, and turn with the image. `exact` raises where sizes keep them from it.
    """

    downsample: Downsample = "stride"
    """How maps shrink: by the stride of a convolution, or by a pool after one of stride 1 (`layers.Pool`)."""
    taps: Positive = 3
    """Weights along each axis of the binomial filter of "blur" and "max_blur", 2 to 7."""
    padding: Padding = "same"
    """What convolutions see beyond the border."""
    norm: NormName = "batch"
    """Normalization after each convolution."""
    activation: Callable[[Array], Any] = nn.relu
    """Nonlinearity."""
    group: str | None = None
    """Group convolutions, which turn (p4m: and mirror) with the image."""
    exact: bool = True
    """With a group: refuse sizes at which maps would not turn exactly."""
    dtype: Dtype = jnp.float32
    """Of multiply-adds; parameters, statistics and logits are float32, or float64 where this is."""

    def shared(self) -> dict[str, Any]:
        """These fields, for a block inside this one."""
        names = ("downsample", "taps", "padding", "norm", "activation", "group", "exact", "dtype")
        return {name: getattr(self, name) for name in names}

    def convolved(
        self,
        x: Float[Array, "batch *space channels"],
        features: int,
        kernel_size: int | Sequence[int],
        *,
        name: str,
        strides: int = 1,
        groups: int = 1,
        kernel_init: Callable = he_normal,
        use_bias: bool | None = None,
    ) -> Float[Array, "batch *resolution features"]:
        """X through a convolution of that name. A bias where nothing normalises, unless `use_bias` says otherwise.

        Raises `InputError` for `groups` of channels beside a group of orientations.
        """
        fields: dict[str, Any] = dict(
            strides=strides,
            padding=self.padding_for(kernel_size),
            use_bias=self.norm == "none" if use_bias is None else use_bias,
            kernel_init=kernel_init,
            dtype=self.dtype,
            name=name,
        )
        if self.group is None:
            return Conv(features, kernel_size, groups=groups, **fields)(x)
        if groups != 1:
            raise InputError(f"groups={groups} of channels have no meaning for maps over group={self.group!r}: use 1")
        layer = LiftingConv if x.ndim == 4 else GroupConv
        return layer(features, kernel_size, group=self.group, exact=self.exact, **fields)(x)

    def pool(
        self,
        factor: int,
        *,
        name: str,
        window: int | None = None,
        downsample: Downsample | None = None,
        padding: Padding | None = None,
    ) -> Pool:
        """A pool of that name, for maps over the group where there is one; None is what this block's field says."""
        fields: dict[str, Any] = dict(
            downsample=downsample or self.downsample,
            factor=factor,
            padding=self.padding if padding is None else padding,
            window=window,
            taps=self.taps,
            dtype=self.dtype,
            name=name,
        )
        return Pool(**fields) if self.group is None else GroupMapPool(exact=self.exact, **fields)

    def padding_for(self, kernel_size: int | Sequence[int]) -> Padding:
        """`padding`, but none for a 1×1 convolution: an int or pairs are meant for wider ones."""
        return "valid" if kernel_size == 1 else self.padding


class ConvBlock(Block):
    """Convolution, normalisation, activation, then the pool if that is how this block downsamples by `factor`.

    The order is that of pooling after the rectifier: replacing `"max"` by `"stride"` is the step from a pooled
    network to an all-convolutional one (Springenberg et al. 2015, section 2), replacing it by `"blur"` or `"max_blur"`
    the step to an anti-aliased one (Zhang 2019, section 3.2). `window` is that of the pool, `factor` if it is None;
    `use_bias=None` gives the convolution a bias where nothing normalises; it is grouped in `groups`.
    """

    features: Positive
    kernel_size: int | Sequence[int] = 3
    factor: Positive = 1
    window: Positive | None = None
    groups: Positive = 1
    use_bias: bool | None = None

    def __call__(
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> Float[Array, "batch *resolution features"]:
        """The block's map. `train` uses the batch's own statistics, and "learned_polyphase" random weights."""
        return self.with_phase(x, train=train)[0]

    @nn.compact
    def with_phase(
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> tuple[Float[Array, "batch *resolution features"], Phase | None]:
        """The block's map, and the phase that its pool chose, if it is a polyphase pool."""
        strided = self.downsample == "stride"
        x = self.convolved(
            x,
            self.features,
            self.kernel_size,
            strides=self.factor if strided else 1,
            groups=self.groups,
            use_bias=self.use_bias,
            name="conv",
        )
        x = Norm(self.norm, dtype=self.dtype, name="norm")(x, train=train)
        x = an_array("activation", self.activation(x))
        if strided or self.factor == 1:
            return x, None
        return self.pool(self.factor, window=self.window, name="pool").with_phase(x, train=train)
