"""Generators: the derivative, at the identity, of a family of transformations of images and of maps."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.analysis.fields.layout import Layout
from cnnjax.analysis.inputs.norms import wide
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.ops import Fill
from cnnjax.ops.color import LUMA
from cnnjax.program.reach import Number

Geometric = Literal["translation_x", "translation_y", "rotation", "scale", "shear_x", "shear_y"]
Photometric = Literal["brightness", "contrast", "saturation", "hue"]
Slope = Literal["fourier", "linear", "cubic"]

# How fast the picture moves, (down, to the right), at a row and a column from the centre.
_VELOCITIES: Mapping[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "translation_x": lambda row, column: (0, 1),
    "translation_y": lambda row, column: (1, 0),
    "rotation": lambda row, column: (-column, row),
    "scale": lambda row, column: (row, column),
    "shear_x": lambda row, column: (0, row),
    "shear_y": lambda row, column: (column, 0),
}
_OF_SIGNALS = ("translation_x", "scale", "brightness", "contrast")


@dataclasses.dataclass(frozen=True)
class Generator:
    """`G x = d/dt T_t x` at t = 0, for one of these families T_t.

    Geometric ones move the picture with a velocity v in pixels, `G x = −Σ_a v_a ∂_a x`, at (row, column) from the
    centre (n − 1) / 2; a map is moved as the picture below it, about its own centre: units that lie S pixels apart have
    `∂_a = 1 / S_a ∂ / ∂u_a`.

    - "translation_x", "translation_y": to the right, down; t in pixels
    - "rotation": v = (−column, row), counter-clockwise as `ops.rotate`; t in radians
    - "scale": v = (row, column), by the factor exp(t) as `ops.scale`; t in log scale
    - "shear_x", "shear_y": v = (0, row), (column, 0); t is the tangent of the angle

    Photometric ones, which leave every activation as it is:

    - "brightness": G x = 1, x + t
    - "contrast": G x = x − m with m the mean of each image, m + exp(t) (x − m)
    - "saturation": G x = x − y with y the luma of each pixel (ITU-R BT.601), y + exp(t) (x − y)
    - "hue": G x = (1, 1, 1) × x / √3, the rotation of colours about grey, from red towards green; t in radians

    `resampler` says what ∂ is, for a picture is only known at its pixels:

    - "fourier": that of the trigonometric interpolant, `2πi k / n` in the Fourier domain, 0 at the Nyquist frequency of
      an even n; circular, exact for what is band-limited
    - "linear": `x[i + 1] − x[i]`, the slope of linear interpolation on the far side of a pixel, which is what
      differentiating `ops.rotate(order=1)` or a bilinear `grid_sample` gives
    - "cubic": `(x[i + 1] − x[i − 1]) / 2`, the slope of Keys' cubic convolution, as in `ops.rotate(order=3)`, and the
      mean of linear interpolation's on both sides

    At a frequency of ω radians a pixel they pass ω, 2 sin(ω / 2) and sin ω. `fill` is what the last two see outside the
    map, as in `ops.shift`: by default "zero". "fourier" is circular, and None says so.
    """

    name: str
    resampler: Slope | str = "fourier"
    fill: Fill | None = None

    def check(self, images: jax.ShapeDtypeStruct) -> None:
        """Raise InputError where there is no such generator, or none for images of this shape."""
        names = (*get_args(Geometric), *get_args(Photometric))
        check_choice("generator", self.name, names)
        check_choice("resampler", self.resampler, get_args(Slope))
        check_choice("fill", self.fill or "zero", get_args(Fill))
        if self.resampler == "fourier" and self.fill not in (None, "circular"):
            raise InputError(
                f"fill={self.fill!r}: the Fourier derivative is circular; use resampler 'cubic' or 'linear'"
            )
        if len(images.shape) == 3 and self.name not in _OF_SIGNALS:
            raise InputError(
                f"images have shape {images.shape}: {self.name} needs (batch, height, width, channels); "
                f"signals have {', '.join(_OF_SIGNALS)}"
            )
        if self.name in ("saturation", "hue") and images.shape[-1] != 3:
            raise InputError(f"images have {images.shape[-1]} channels: {self.name} needs red, green and blue")

    def of_images(self, x: Float[Array, "batch *space channels"]) -> Float[Array, "batch *space channels"]:
        """G x, in float32 at least."""
        x = wide(x)
        if self.name in _VELOCITIES:
            return self._moved(x, (1,) * (x.ndim - 2))
        match self.name:
            case "brightness":
                return jnp.ones_like(x)
            case "contrast":
                return x - x.mean(range(1, x.ndim), keepdims=True)
            case "saturation":
                return x - (x * jnp.asarray(LUMA, x.dtype).reshape(1, 1, 1, 3)).sum(-1, keepdims=True)
            case _:
                return (jnp.roll(x, 1, -1) - jnp.roll(x, -1, -1)) / jnp.sqrt(jnp.asarray(3, x.dtype))

    def of_activation(self, activation: Float[Array, "..."], layout: Layout) -> Float[Array, "..."]:
        """G of an activation, in float32 at least: of a map, with its own units; 0 where T does nothing."""
        a = wide(activation)
        if self.name not in _VELOCITIES or not layout.axes:
            return jnp.zeros_like(a)
        return jnp.moveaxis(self._moved(layout.spatial(a), layout.stride), range(1, 1 + len(layout.axes)), layout.axes)

    def _moved(self, x: Float[Array, "batch ..."], stride: Sequence[Number]) -> Float[Array, "batch ..."]:
        """−Σ_a v_a / S_a ∂x / ∂u_a, the spatial axes behind the first."""
        rank = len(stride)
        planes = x.reshape(*x.shape[: 1 + rank], -1)
        spacing = [float(s) for s in stride]
        positions = [s * (np.arange(n) - (n - 1) / 2) for s, n in zip(spacing, planes.shape[1:], strict=False)]
        # A signal is a row of pixels.
        row, column = np.meshgrid(*([np.zeros(1)] * (2 - rank)), *positions, indexing="ij", sparse=True)
        velocity = _VELOCITIES[self.name](row, column)[2 - rank :]
        total = jnp.zeros_like(planes)
        for axis, (v, s) in enumerate(zip(velocity, spacing, strict=True), 1):
            if np.any(v):
                along = np.broadcast_to(np.asarray(v) / s, np.broadcast_shapes(row.shape, column.shape))
                factor = jnp.asarray(along.reshape(1, *planes.shape[1:-1], 1), x.dtype)
                total = total - factor * self._slope(planes, axis)
        return total.reshape(x.shape)

    def _slope(self, x: Float[Array, "batch *space channels"], axis: int) -> Float[Array, "batch *space channels"]:
        """∂x / ∂u along an axis."""
        if self.resampler == "fourier":
            return _spectral_slope(x, axis)
        step = np.eye(x.ndim - 2, dtype=np.int32)[axis - 1]
        after = ops.shift(x, -step, fill=self.fill or "zero")
        if self.resampler == "linear":
            return after - x
        return (after - ops.shift(x, step, fill=self.fill or "zero")) / 2


def _spectral_slope(x: Float[Array, "batch *space channels"], axis: int) -> Float[Array, "batch *space channels"]:
    n = x.shape[axis]
    spectrum = jnp.fft.rfft(x, axis=axis)
    frequency = np.fft.rfftfreq(n)
    # The cosine that alternates in sign has its extrema on the pixels.
    factor = 2j * np.pi * np.where(frequency == 0.5, 0, frequency)
    shape = [frequency.size if a == axis else 1 for a in range(x.ndim)]
    return jnp.fft.irfft(spectrum * jnp.asarray(factor.reshape(shape), spectrum.dtype), n, axis)
