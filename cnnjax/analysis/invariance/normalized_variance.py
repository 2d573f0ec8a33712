"""Normalised variance: how much a unit moves under transforms, against how much it moves between images."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.inputs.moments import Moments
from cnnjax.analysis.inputs.norms import scale_of
from cnnjax.analysis.invariance.orbit_activations import Leaves, OrbitActivations
from cnnjax.analysis.transforms.orbits import Orbit
from cnnjax.door import checked


@dataclasses.dataclass(frozen=True, eq=False)
class NormalizedVariance:
    """How much the units of one activation vary, in units of the activation, by unit."""

    under_transforms: Float[np.ndarray, "*unit"]
    """`mean_x std_t a(T x)`: of one image under all transforms."""
    between_images: Float[np.ndarray, "*unit"]
    """`mean_t std_x a(T x)`: of all images under one transform."""

    @functools.cached_property
    def ratio(self) -> Float[np.ndarray, "*unit"]:
        """The normalised variance of each unit: 0 for one that is invariant, about 1 for one to which another transform
        is as good as another image. NaN for a unit that never varies, infinite for one that all images leave alone.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.under_transforms / self.between_images

    @property
    def mean(self) -> float:
        """The mean ratio over the units that vary between images; NaN if there are none."""
        return float(_mean(self.ratio.reshape(-1, 1))[0])

    @property
    def by_channel(self) -> Float[np.ndarray, " channels"]:
        """The same for the units of each channel, the last axis of the activation."""
        return _mean(self.ratio.reshape(-1, self.ratio.shape[-1] if self.ratio.ndim else 1))


def _mean(ratio: np.ndarray) -> np.ndarray:
    varies = np.isfinite(ratio)
    count = varies.sum(0)
    return np.where(count > 0, np.where(varies, ratio, 0).sum(0, dtype=np.float64) / np.maximum(count, 1), np.nan)


@checked("orbit")
def normalized_variance(f: Callable[[Array], Any], images: Images, orbit: Orbit) -> Any:
    """The `NormalizedVariance` of every array that `f` returns, as a tree like `f`'s result.

    For a unit a, an element of an activation after its batch axis, images x and transforms t, the identity among them:
    `mean_x std_t a(T_t x) / mean_t std_x a(T_t x)`, standard deviations being those of the unbiased variance. In spite
    of the name no variances are divided: the source's published code takes deviations, too, and a ratio of variances is
    about the square of this. That code can average or add up a map over space before it measures; here each position is
    a unit, whose ratios `by_channel` averages. For the other, have f return means over space.

    `f` takes float images (batch, height, width, channels) and returns arrays with the batch as their first axis; the
    transforms are those of `orbit`. Memory is that of the activations of `2 · transforms` images and of one batch,
    however many images there are.

    Raises InputError for fewer than two images, those that are no float images or not finite, and for activations
    without a batch axis or not finite.
    Source: Quiroga, Torrents-Barrena, Lanzarini & Puig 2023, "Invariance Measures for Neural Networks".
    """
    activations = OrbitActivations(f, images, orbit, at_least=2)
    members = [orbit.identity, *orbit.parameters]
    between = [[Moments.of_none(unit.shape, unit.dtype) for unit in activations.units] for _ in members]
    total = [jnp.zeros(unit.shape, unit.dtype) for unit in activations.units]
    scales: list[Array] = []
    for batch, counted in activations.batches():
        under = [Moments.of_none((activations.batch, *unit.shape), unit.dtype) for unit in activations.units]
        for t, parameter in enumerate(members):
            leaves = activations(batch, parameter)
            # Squares are taken at the scale of the first activations, so that they neither vanish nor overflow.
            scales = scales or [scale_of(leaf).reshape(()) for leaf in leaves]
            under, between[t] = _with(leaves, scales, counted, under, between[t])
        total = _with_deviations(total, under, counted)
    transformed = [scale * leaf / len(activations.images) for scale, leaf in zip(scales, total, strict=True)]
    imaged = [
        scale * sum(moments.deviation for moments in of) / len(members)
        for scale, of in zip(scales, zip(*between, strict=True), strict=True)
    ]
    results = [NormalizedVariance(np.asarray(t), np.asarray(i)) for t, i in zip(transformed, imaged, strict=True)]
    return activations.tree(results)


@jax.jit
def _with(
    leaves: Leaves,
    scales: list[Float[Array, ""]],
    counted: Bool[Array, " batch"],
    under: list[Moments],
    between: list[Moments],
) -> tuple[list[Moments], list[Moments]]:
    one = jnp.ones(1, bool)
    leaves = [leaf / scale for leaf, scale in zip(leaves, scales, strict=True)]
    return (
        [moments.with_batch(leaf[None], one) for moments, leaf in zip(under, leaves, strict=True)],
        [moments.with_batch(leaf, counted) for moments, leaf in zip(between, leaves, strict=True)],
    )


@jax.jit
def _with_deviations(total: list[Array], under: list[Moments], counted: Bool[Array, " batch"]) -> list[Array]:
    def masked(a: Array) -> Array:
        return jnp.where(counted.reshape(-1, *(1,) * (a.ndim - 1)), a, jnp.zeros_like(a))

    return [leaf + masked(moments.deviation).sum(0) for leaf, moments in zip(total, under, strict=True)]
