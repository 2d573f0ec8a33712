"""Goodfellow's invariance score: whether the transforms of what makes a unit fire make it fire, too."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.invariance.orbit_activations import Leaves, OrbitActivations
from cnnjax.analysis.transforms.orbits import Orbit
from cnnjax.door import checked
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class GoodfellowInvariance:
    """How the units of one activation fire. A unit with activation h fires where `sign · h > threshold`."""

    sign: Int[np.ndarray, "*unit"]
    """1 or −1, whichever gives the higher score: low values may be what stands for a unit's feature."""
    threshold: Float[np.ndarray, "*unit"]
    """In units of `sign · h`; −∞ for a unit that cannot but fire always."""
    global_rate: Float[np.ndarray, "*unit"]
    """G: the share of images that make the unit fire."""
    local_rate: Float[np.ndarray, "*unit"]
    """L: the share of transforms under which the unit fires still, averaged over the images that make it fire."""

    @property
    def score(self) -> Float[np.ndarray, "*unit"]:
        """`S = L / G`: 1 / G for a unit that is invariant; 1 where firing says nothing of the transformed image."""
        return self.local_rate / self.global_rate

    def network_score(self, top: float | int = 0.2) -> float:
        """The mean score of the proportion `top` of units with the highest: others may serve other invariances.

        Raises InputError unless 0 < top <= 1.
        """
        if not 0 < top <= 1:
            raise InputError(f"top={top} must be a proportion above 0, at most 1")
        ranked = np.sort(self.score, axis=None)[::-1]
        return float(ranked[: _at_least(top, ranked.size)].mean(dtype=np.float64))


@checked("orbit")
def goodfellow_invariance(f: Callable[[Array], Any], images: Images, orbit: Orbit, *, firing_rate: float = 0.01) -> Any:
    """The `GoodfellowInvariance` of every array that `f` returns, as a tree like `f`'s result.

    With `fires_i(x) = [s_i h_i(x) > t_i]` for a unit i, an element of an activation after its batch axis:
    `G(i) = mean_x fires_i(x)`, `L(i) = mean over {z: fires_i(z)} of mean_t fires_i(T_t z)`, `S(i) = L(i) / G(i)`.
    The threshold is the greatest for which G is not below `firing_rate`; it lies in the middle between the least value
    that fires and the greatest that does not. Of n images at least one makes each unit fire, so that G is 1 / n or
    more: 0.01 takes a hundred images. Where values are equal, as a rectifier's zeros are, G can be as high as 1.

    `f` takes float images (batch, height, width, channels) and returns arrays with the batch as their first axis. The
    transforms are those of `orbit`, without the identity, under which what fires does fire. Memory is that of the
    activations of `2 · firing_rate · n` images and of a few batches.

    Raises InputError unless 0 < firing_rate < 1; for fewer than two images, those that are no float images or not
    finite, and for activations without a batch axis or not finite.
    Source: Goodfellow, Le, Saxe, Lee & Ng 2009, "Measuring Invariances in Deep Networks", "Invariance measure".
    """
    if not 0 < firing_rate < 1:
        raise InputError(f"firing_rate={firing_rate} must be a share above 0 and below 1")
    activations = OrbitActivations(f, images, orbit, at_least=2)
    n, units = len(activations.images), activations.units
    top = [_Top.of_none(_at_least(firing_rate, n), unit) for unit in units]
    for batch, counted in activations.batches():
        top = _with_values(top, activations(batch, orbit.identity), counted)
    thresholds = [_threshold(greatest) for greatest in top]
    globally, locally = ([jnp.zeros((2, *unit.shape), jnp.float32) for unit in units] for _ in range(2))
    for batch, counted in activations.batches():
        firing = _fires(activations(batch, orbit.identity), thresholds, counted)
        globally = _with_counts(globally, firing, firing)
        for parameter in orbit.parameters:
            still = _fires(activations(batch, parameter), thresholds, counted)
            locally = _with_counts(locally, firing, still)
    results = []
    for threshold, fired, still in zip(thresholds, globally, locally, strict=True):
        g, t = np.asarray(fired, np.float64) / n, np.asarray(threshold)
        local = np.asarray(still, np.float64) / (np.asarray(fired) * len(orbit.parameters))
        best = (local / g).argmax(0)[None]
        chosen = [np.take_along_axis(a, best, 0)[0] for a in (t, g, local)]
        results.append(GoodfellowInvariance(1 - 2 * best[0], *chosen))
    return activations.tree(results)


def _at_least(share: float | int, n: int) -> int:
    """The least count that is this share of n; what is above an integer by a rounding error is that integer."""
    return max(1, math.ceil(share * n - 1e-9))


class _Top(NamedTuple):
    """The greatest values so far, for both signs, and the greatest below them all."""

    values: Float[Array, " 2 count *unit"]
    below: Float[Array, " 2 *unit"]

    @staticmethod
    def of_none(count: int, unit: jax.ShapeDtypeStruct) -> "_Top":
        least = jnp.array(-jnp.inf, unit.dtype)
        return _Top(jnp.broadcast_to(least, (2, count, *unit.shape)), jnp.broadcast_to(least, (2, *unit.shape)))


@jax.jit
def _with_values(top: list[_Top], leaves: Leaves, counted: Bool[Array, " batch"]) -> list[_Top]:
    def updated(so_far: _Top, leaf: Array) -> _Top:
        least = jnp.array(-jnp.inf, leaf.dtype)
        real = counted.reshape(-1, *(1,) * (leaf.ndim - 1))
        new = jnp.stack([jnp.where(real, sign * leaf, least) for sign in (1, -1)])
        seen = jnp.sort(jnp.concatenate([so_far.below[:, None], so_far.values, new], 1), 1)
        values = seen[:, -so_far.values.shape[1] :]
        return _Top(values, jnp.where(seen < values[:, :1], seen, least).max(1))

    return [updated(*pair) for pair in zip(top, leaves, strict=True)]


@jax.jit
def _threshold(top: _Top) -> Float[Array, " 2 *unit"]:
    least = top.values[:, 0]
    middle = 0.5 * least + 0.5 * top.below
    # Between neighbouring numbers there is none; the lower one keeps the higher firing.
    return jnp.where(middle < least, middle, top.below)


@jax.jit
def _fires(
    leaves: Leaves, thresholds: list[Float[Array, "2 ..."]], counted: Bool[Array, " batch"]
) -> list[Bool[Array, "2 batch ..."]]:
    def fires(leaf: Array, threshold: Array) -> Array:
        real = counted.reshape(-1, *(1,) * (leaf.ndim - 1))
        return jnp.stack([real & (sign * leaf > t[None]) for sign, t in zip((1, -1), threshold, strict=True)])

    return [fires(*pair) for pair in zip(leaves, thresholds, strict=True)]


@jax.jit
def _with_counts(
    counts: list[Float[Array, "2 ..."]],
    firing: list[Bool[Array, "2 batch ..."]],
    still: list[Bool[Array, "2 batch ..."]],
) -> list[Float[Array, "2 ..."]]:
    triples = zip(counts, firing, still, strict=True)
    return [count + (a & b).sum(1).astype(count.dtype) for count, a, b in triples]
