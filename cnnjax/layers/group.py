"""Group convolution as layers: maps have an axis for the orientations of a pattern. `Norm` takes them as they are."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.errors import InputError
from cnnjax.layers.convolution import KernelLayer
from cnnjax.layers.downsampling import Pool
from cnnjax.layers.polyphase import Phase


class GroupKernelLayer(KernelLayer):
    """The fields that convolutions over a group share."""

    group: str = "p4"
    exact: bool = True

    def options(self) -> dict[str, Any]:
        """What the ops of `ops.group_convolution` take beside arrays."""
        return dict(
            group=self.group, stride=self.strides, padding=self.padding, dilation=self.dilation, exact=self.exact
        )


class LiftingConv(GroupKernelLayer):
    """From an image to a map over positions and orientations (`ops.lifting_conv`), plus a bias that they share.

    x is (batch, height, width, channels), the kernel (height, width, in, features), the result
    (batch, height, width, |group|, features). Raises `InputError`, naming this layer, as the op does: with `exact` also
    where stride and padding would keep the layer from commuting with quarter turns.
    """

    def kernel_shape(self, x: Array) -> tuple[int, ...]:
        return (*self.window(2), x.shape[-1], self.features)

    def operation(self, x: Array, kernel: Array) -> Array:
        return ops.lifting_conv(x, kernel, **self.options())


class GroupConv(GroupKernelLayer):
    """From one map over positions and orientations to another (`ops.group_conv`), plus a bias that they share.

    x is (batch, height, width, |group|, channels), the kernel (height, width, |group|, in, features): the fan-in counts
    the group axis. Raises `InputError`, naming this layer, as the op does.
    """

    def kernel_shape(self, x: Array) -> tuple[int, ...]:
        return (*self.window(2), *x.shape[-2:], self.features)

    def operation(self, x: Array, kernel: Array) -> Array:
        return ops.group_conv(x, kernel, **self.options())


class GroupMapPool(Pool):
    """`Pool` for maps over positions and orientations: all orientations at the same positions, and at one phase.

    x is (batch, height, width, |group|, channels). With `exact`, raises `InputError`, naming this layer, where the
    windows do not lie on the map as those of a turned map would, which is the rule of `ops.lifting_conv`; and for
    "learned_polyphase", whose choice follows from the image as it stands.
    """

    exact: bool = True

    def with_phase(
        self, x: Float[Array, "batch height width group channels"], *, train: bool
    ) -> tuple[Float[Array, "batch out_h out_w group channels"], Phase | None]:
        y, phase = super().with_phase(x.reshape(*x.shape[:3], math.prod(x.shape[3:])), train=train)
        return y.reshape(*y.shape[:3], *x.shape[3:]), phase

    def at_phase(
        self, x: Float[Array, "batch height width *channels"], phase: Phase | None
    ) -> Float[Array, "batch out_h out_w *channels"]:
        if self.exact:
            self._check(x.shape[1:3])
        y = super().at_phase(x.reshape(*x.shape[:3], math.prod(x.shape[3:])), phase)
        return y.reshape(*y.shape[:3], *x.shape[3:])

    def _check(self, space: tuple[int, ...]) -> None:
        match self.downsample:
            case "learned_polyphase":
                raise InputError(
                    "downsample='learned_polyphase' does not commute with quarter turns: use 'polyphase', or accept "
                    "it with exact=False"
                )
            case "stride":
                windows = [(1, self.factor, "valid")]
            case "max" | "average":
                windows = [(self._window, self.factor, self._padding)]
            case "blur":
                windows = [(self.taps, self.factor, self._border)]
            case "max_blur":
                windows = [(self._window, 1, self._border), (self.taps, self.factor, self._border)]
            case "alias_free":  # whose points turn with the map, of any size
                return
            case "polyphase":
                windows = [(self.factor, self.factor, "valid")]
        for window, stride, padding in windows:
            slide = functools.partial(ops.lifting_conv, stride=stride, padding=padding)
            x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, *space, 1), (window, window, 1, 1)))
            space = jax.eval_shape(slide, x, kernel).shape[1:3]
