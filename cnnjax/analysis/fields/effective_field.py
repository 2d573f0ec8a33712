"""Effective receptive fields: how much each pixel weighs in one unit, on average over images (Luo et al. 2016)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cnnjax.analysis.inputs.batches import image_batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.inputs.units import find_unit
from cnnjax.door import checked
from cnnjax.errors import InputError

Kind = Literal["absolute", "signed", "squared"]


@dataclasses.dataclass(frozen=True)
class GaussianFit:
    """`height · exp(−½ Σ_a ((p_a − center_a) / sigma_a)²)`, fitted to a map by least squares."""

    height: float
    center: tuple[float, ...]
    sigma: tuple[float, ...]
    r_squared: float
    """The share of the map's variance that the fit explains: 1 for a Gaussian."""


@dataclasses.dataclass(frozen=True, eq=False)
class EffectiveField:
    """How much each pixel weighs in one unit; lengths are in pixels, positions those of pixel centres."""

    map: Float[np.ndarray, "*space"]
    """The weights; their absolute values add up to 1. Negative ones occur only with kind "signed"."""
    unit: tuple[int, ...]
    """The unit's index in the activation, after its batch axis."""

    @functools.cached_property
    def mass(self) -> Float[np.ndarray, "*space"]:
        """The absolute weights, which moments and radii are taken of."""
        return np.abs(self.map)

    @functools.cached_property
    def center(self) -> tuple[float, ...]:
        """The mean position along each axis, measured: the middle unit of an even map is not centred on the image."""
        return tuple(float((self.mass * p).sum()) for p in self._positions())

    @functools.cached_property
    def covariance(self) -> Float[np.ndarray, "axes axes"]:
        """The second central moments."""
        offsets = [p - c for p, c in zip(self._positions(), self.center, strict=True)]
        return np.array([[float((self.mass * a * b).sum()) for b in offsets] for a in offsets])

    @property
    def sigma(self) -> tuple[float, ...]:
        """The standard deviation along each axis; 4 of them over the size of the receptive field is the usual share."""
        return tuple(float(s) for s in np.sqrt(np.diag(self.covariance)))

    def radius(self, mass: float | int = 0.95) -> float:
        """The radius of the smallest disc about the centre that holds this share of the mass.

        It is not the size that Luo et al. 2016 report, which is a count: the root of the number of pixels that weigh
        more than 1 − 95.45 % of what the centre does. For a Gaussian of standard deviation σ that is a side of 4.4 σ;
        the disc that holds 95 % of it has a radius of 2.4 σ.

        Raises InputError unless 0 < mass <= 1.
        """
        if not 0 < mass <= 1:
            raise InputError(f"mass={mass} must be a share above 0, at most 1")
        squares = ((p - c) ** 2 for p, c in zip(self._positions(), self.center, strict=True))
        distance = np.sqrt(sum(squares)).ravel()
        order = np.argsort(distance)
        held = np.cumsum(self.mass.ravel()[order])
        # All of the mass is what adds up to 1 but for rounding.
        return float(distance[order][np.searchsorted(held, mass - 1e-9)])

    def gaussian(self) -> GaussianFit:
        """The Gaussian closest to the mass in the least-squares sense.

        Raises InputError where the map has too few pixels to fit one.
        """
        from scipy.optimize import curve_fit

        rank = self.map.ndim
        if np.count_nonzero(self.mass) <= 2 * rank + 1:
            raise InputError(f"the field has {np.count_nonzero(self.mass)} pixels: too few to fit a Gaussian to")
        positions = np.stack([p.ravel() for p in self._positions()])

        def model(p: np.ndarray, height: float, *rest: float) -> np.ndarray:
            middle, width = np.array(rest[:rank])[:, None], np.array(rest[rank:])[:, None]
            return height * np.exp(-0.5 * (((p - middle) / width) ** 2).sum(0))

        values, start = self.mass.ravel(), (self.mass.max(), *self.center, *np.maximum(self.sigma, 0.5))
        fitted, _ = curve_fit(model, positions, values, p0=start)
        rest = ((values - model(positions, *fitted)) ** 2).sum() / ((values - values.mean()) ** 2).sum()
        numbers = [float(v) for v in fitted[1:]]
        sigma = tuple(abs(s) for s in numbers[rank:])
        return GaussianFit(float(fitted[0]), tuple(numbers[:rank]), sigma, float(1 - rest))

    def _positions(self) -> list[Float[np.ndarray, "*space"]]:
        return [np.asarray(p, np.float64) for p in np.indices(self.map.shape)]


@checked()
def effective_receptive_field(
    f: Callable[[jax.Array], Any],
    images: Images,
    layer: str | None = None,
    unit: int | Sequence[int] | None = None,
    *,
    kind: Kind = "absolute",
) -> EffectiveField:
    """How much each pixel weighs in one unit, on average over images and channels of the input.

    With `g[b, p, c] = ∂(Σ_o y[b, unit, o]) / ∂x[b, p, c]`, o over what `unit` leaves of the activation, its channels,
    the map is the mean over b and c of |g| ("absolute"), of g ("signed", where images may cancel) or of g²
    ("squared"), over the sum of its absolute values. Nothing is clipped, and no logarithm taken.

    A stack of n layers with k × k kernels of equal weights has the variance n (k² − 1) / 12 along each axis: the field
    grows as √n, its receptive field as n.

    `layer` and `unit` are as for `influence`. Raises InputError as that does, for an unknown kind, and where the
    derivative is 0 everywhere or not finite. Source: Luo, Li, Urtasun & Zemel 2016, "Understanding the Effective
    Receptive Field in Deep Convolutional Neural Networks".
    """
    position, index = find_unit(f, images, layer, unit)
    (weights,) = mean_weights(f, images, ((position, index),), kind)
    total = np.abs(weights).sum()
    if not np.isfinite(total):
        raise InputError("the unit's derivative is not finite for these images")
    if total == 0:
        raise InputError(f"unit {index} has derivative 0 at every pixel of these images: it is dead or reads none")
    return EffectiveField(weights / total, index)


def mean_weights(
    f: Callable[[Array], Any], images: Images, units: tuple[tuple[int, tuple[int, ...]], ...], kind: Kind
) -> Iterator[Float[np.ndarray, "*space"]]:
    """What each pixel weighs in each unit, the position of its activation and its index in it, before it is normalised.

    All units share one program, which is run once for each of them; the images go through it in batches.
    """
    gradient = compiled(_gradient, f, static=("units",))
    power = {"absolute": np.abs, "signed": np.asarray, "squared": np.square}[kind]
    pixels = np.asarray(images)
    for number in range(len(units)):
        chosen = np.arange(len(units)) == number
        total = np.zeros(pixels.shape[1:-1])
        for batch, new in image_batches(pixels):
            g = np.asarray(gradient(batch, chosen, units=units), np.float64)[: len(new)]
            total += power(g).mean(-1).sum(0)
        yield total / len(pixels)


def _gradient(
    f: Callable[[Array], Any],
    images: Float[Array, "batch *space channels"],
    chosen: Bool[Array, " units"],
    units: tuple[tuple[int, tuple[int, ...]], ...],
) -> Float[Array, "batch *space channels"]:
    """The derivative of the sum of what its index leaves of the chosen unit's activation, over all images."""

    def responses(x: Array) -> list[Array]:
        leaves = jax.tree.leaves(f(x))
        return [leaves[position][:, *index] for position, index in units]

    values, pull = jax.vjp(responses, images)
    ones = [jnp.where(one, jnp.ones_like(v), jnp.zeros_like(v)) for one, v in zip(chosen, values, strict=True)]
    return pull(ones)[0]
