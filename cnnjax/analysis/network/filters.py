"""What first-layer filters look for: colour, orientation, and how strongly."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.analysis.inputs.norms import norm, scale_of, wide, wide_dtype
from cnnjax.door import checked
from cnnjax.errors import InputError

SIDE = 64
"""Points of the spectrum along each axis, at least."""


@checked()
def filter_chroma(kernel: Float[Array, "height width 3 features"]) -> Float[Array, " features"]:
    """The share of each filter's energy that a grey image cannot excite: 0 for a grey filter, 1 for one of pure colour.

    `1 − ‖w·(1, 1, 1)/√3‖² / ‖w‖²`, with w·(1, 1, 1)/√3 the projection of the three weights at each position onto grey.
    A filter of independent weights has 2/3 on average. One that is all zeros has NaN.

    kernel is (height, width, 3, features), its inputs red, green and blue. Raises InputError for another number of
    inputs. Measures a claim of Krizhevsky et al. 2012, section 6.1, that is made there by eye.
    """
    _check(kernel)
    if kernel.shape[2] != 3:
        raise InputError(
            f"kernel of shape {kernel.shape}: chroma needs 3 input channels, red, green and blue, as axis 2"
        )
    # The grey part is three times the mean's square; what is left is the spread about the mean, which cannot be < 0.
    kernel = _scaled(kernel)
    colour = jnp.square(kernel - kernel.mean(2, keepdims=True)).sum((0, 1, 2))
    return colour / jnp.square(kernel).sum((0, 1, 2))


@checked()
def filter_orientation(
    kernel: Float[Array, "height width channels features"],
) -> tuple[Float[Array, " features"], Float[Array, " features"]]:
    """The angle of the stripes that each filter answers best, and how much it prefers them to others.

    With P(u) = Σ_c |ŵ_c(u)|², the energy of the filter's answer to a grating of u cycles per pixel in the direction
    θ(u), the resultant over all gratings that pixels can hold, 0 < |u| ≤ 1/2, is `R = Σ P e^{2iθ} / Σ P`.
    Angle, in degrees in [0, 180): of the stripes, counter-clockwise from horizontal; they are at right angles to
    the direction arg(R)/2. Selectivity, |R| in [0, 1]: 0 where no direction is preferred, 1 for a grating alone; it is
    1 − circular variance (Ringach et al. 2002, eq. 1) of the energy.

    kernel is (height, width, channels, features). The angle of a filter without preference means nothing; where all
    weights are 0 both are NaN. Raises InputError for a kernel of another rank or without extent.
    """
    _check(kernel)
    if max(kernel.shape[:2]) == 1:
        raise InputError(f"kernel of shape {kernel.shape}: a filter of one pixel has no orientation")
    side = max(SIDE, 4 * max(kernel.shape[:2]))
    power = jnp.square(jnp.abs(jnp.fft.fft2(_scaled(kernel), (side, side), axes=(0, 1)))).sum(2)
    down, right = jnp.meshgrid(*[jnp.fft.fftfreq(side).astype(power.dtype)] * 2, indexing="ij")
    # Directions in the plane as it is seen: rows go down.
    length = jnp.hypot(down, right)
    heard = (length > 0) & (length <= 0.5)
    power = jnp.where(heard[..., None], power, jnp.zeros_like(power))
    double = 2 * jnp.arctan2(-down, right)[..., None]
    cosine, sine = ((power * wave).sum((0, 1)) for wave in (jnp.cos(double), jnp.sin(double)))
    total = power.sum((0, 1))
    angle = jnp.rad2deg(jnp.arctan2(sine, cosine)) / 2 + 90
    # Rounding may give 180 for an angle a little below 0.
    angle = jnp.where(total > 0, angle % 180 % 180, jnp.full_like(angle, jnp.nan))
    return angle, jnp.hypot(cosine, sine) / total


@checked()
def filter_rms(kernel: Float[Array, "*window channels features"]) -> Float[Array, " features"]:
    """The root mean square of each filter's weights: `√(Σ w² / n)` over its n weights.

    Zeiler & Fergus 2014, section 3, scale filters down to 0.1 where it is larger, so that no few dominate the first
    layer. kernel is (*window, channels, features).
    """
    size = jnp.asarray(kernel[..., 0].size, wide_dtype(kernel.dtype))
    return norm(kernel, tuple(range(kernel.ndim - 1))) / jnp.sqrt(size)


def _scaled(kernel: Array) -> Array:
    """Each filter over its largest weight, in float32 at least: measures of form do not see the scale."""
    kernel = wide(kernel)
    return kernel / scale_of(kernel, (0, 1, 2))


def _check(kernel: Array) -> None:
    if kernel.ndim != 4 or 0 in kernel.shape:
        raise InputError(
            f"kernel of shape {kernel.shape}: expected (height, width, channels, features), none of them 0"
        )
