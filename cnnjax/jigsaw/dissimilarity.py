"""How ill two borders fit: the colour jump, Pomeranz et al.'s prediction, Gallagher's Mahalanobis gradient.

Each is a `Dissimilarity`, the same from both pieces' point of view: turn the pair round, and the value stays.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.jigsaw.borders import Dissimilarity, all_pairs
from cnnjax.jigsaw.color import rgb_to_lab

_AXES = ((1, 1, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0))
_DUMMY_STEPS = ((0, 0, 0), *_AXES, *((-r, -g, -b) for r, g, b in _AXES))


@checked()
def color_jump(
    right: Float[Array, "m side 2 channels"], left: Float[Array, "n side 2 channels"]
) -> Float[Array, "m n"]:
    """Σ over rows and channels of (left's outer pixel − right's outer pixel)²."""

    def compare(a: Array, b: Array) -> Array:
        return jnp.sum((b - a[..., None]) ** 2, axis=(0, 1))

    return all_pairs(compare, right[:, :, 1], _last(left[:, :, 1]))


@checked()
def pomeranz(
    right: Float[Array, "m side 2 channels"],
    left: Float[Array, "n side 2 channels"],
    *,
    p: float = 0.3,
    q: float | int = 1 / 16,
) -> Float[Array, "m n"]:
    """(Σ |prediction − pixel|^p)^(q/p): each border is continued linearly and compared with the other's outer pixel.

    (L_p)^q of Pomeranz, Shemesh and Ben-Shahar (2011), "A fully automated greedy square jigsaw puzzle solver",
    equation 2, with their p = 3/10 and q = 1/16; they use it on L*a*b* colours. Raises
    InputError for a p or q that is not above 0.
    """
    if not (0 < p < math.inf and 0 < q < math.inf):
        raise InputError(f"p={p} and q={q} must be finite and above 0")

    def power(x: Array) -> Array:
        return jnp.exp(p * jnp.log(jnp.abs(x)))  # several at once, which `**` is not; 0 stays 0

    def compare(one: tuple[Array, Array], many: tuple[Array, Array]) -> Array:
        (a, beyond_a), (b, beyond_b) = jax.tree.map(lambda x: x[..., None], one), many
        return jnp.sum(power(beyond_a - b) + power(beyond_b - a), axis=(0, 1)) ** (q / p)

    def prepare(border: Array) -> tuple[Array, Array]:
        return border[:, :, 1], 2 * border[:, :, 1] - border[:, :, 0]

    return all_pairs(compare, prepare(right), jax.tree.map(_last, prepare(left)))


class _Steps(NamedTuple):
    """Outer pixels, and what a border says about the steps of colour to expect beyond it."""

    outer: Array
    mean: Array
    whiten: Array
    """A matrix L with L Lᵀ = S⁻¹."""


@checked()
def mahalanobis_gradient(right: Float[Array, "m side 2 3"], left: Float[Array, "n side 2 3"]) -> Float[Array, "m n"]:
    """Σ over rows of (G − μ) S⁻¹ (G − μ)ᵀ, from both sides: is the step between the pieces one that they would take?

    G is the step of colour across the border, μ and S the mean and covariance of the steps from inner to outer pixel
    of a border; seen from the right piece, the steps change sign. MGC of Gallagher (2012), "Jigsaw puzzles with pieces
    of unknown orientation", equations 1 to 5; pixels in [0, 1], with his nine dummy steps (0 and ±1/255 in each
    channel and in all) that keep S invertible.
    """

    def compare(a: _Steps, b: _Steps) -> Array:
        step = b.outer - a.outer[..., None]
        return _unlikely(step, a.mean[:, None], a.whiten[..., None]) + _unlikely(-step, b.mean, b.whiten)

    return all_pairs(compare, _steps(right), jax.tree.map(_last, _steps(left)))


def _steps(border: Float[Array, "n side 2 3"]) -> _Steps:
    border = _at_least_float32(border)  # the dummies' squares would be 0 in halves
    steps = border[:, :, 1] - border[:, :, 0]
    dummies = jnp.asarray(_DUMMY_STEPS, border.dtype) / 255
    observed = jnp.concatenate([steps, jnp.broadcast_to(dummies[None], (len(steps), *dummies.shape))], axis=1)
    centred = observed - observed.mean(axis=1, keepdims=True)
    covariance = jnp.einsum("nrc,nrd->ncd", centred, centred, precision="highest") / (observed.shape[1] - 1)
    # S = C Cᵀ, so S⁻¹ = (C⁻¹)ᵀ C⁻¹.
    identity = jnp.broadcast_to(jnp.eye(3, dtype=border.dtype)[None], covariance.shape)
    whiten = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(covariance), identity, lower=True)
    return _Steps(border[:, :, 1], steps.mean(axis=1), whiten.swapaxes(1, 2))


def _at_least_float32(border: Array) -> Array:
    return border.astype(jnp.float32) if jnp.finfo(border.dtype).bits < 32 else border


def _unlikely(steps: Float[Array, "side 3 n"], mean: Float[Array, "3 #n"], whiten: Float[Array, "3 3 #n"]) -> Array:
    """Σ over rows of |(step − mean) L|²."""
    x = steps - mean[None]
    # Written out: nine multiplications in the loop over pieces, where a batch of 3×3 products would be many calls.
    columns = (sum(x[:, c] * whiten[c, d][None] for c in range(d + 1)) for d in range(3))
    return jnp.sum(sum(jnp.square(column) for column in columns), axis=0)


def _last(x: Array) -> Array:
    """Pieces as the last axis: the loop over them is the one that a processor runs several at once of."""
    return jnp.moveaxis(x, 0, -1)


@checked()
def in_lab(dissimilarity: Dissimilarity) -> Dissimilarity:
    """A dissimilarity of RGB borders that compares them in L*a*b*."""
    return _InLab(dissimilarity)


@dataclasses.dataclass(frozen=True)
class _InLab:
    """Equal where what it wraps is equal, so that programs compiled for it are found again."""

    dissimilarity: Dissimilarity

    def __call__(self, right: Array, left: Array) -> Array:
        return self.dissimilarity(rgb_to_lab(right), rgb_to_lab(left))


@checked()
def gradient_and_prediction(right: Float[Array, "m side 2 3"], left: Float[Array, "n side 2 3"]) -> Float[Array, "m n"]:
    """MGC times the L_0.3 norm of Pomeranz et al.'s prediction error in L*a*b*: `mahalanobis_gradient` · `pomeranz`¹⁶.

    The one knows what steps a border would take, the other is not misled by the few rows where an edge crosses; the
    scale of either cancels in relative costs.
    """
    right, left = _at_least_float32(right), _at_least_float32(left)
    prediction = pomeranz(rgb_to_lab(right), rgb_to_lab(left), q=1)
    return mahalanobis_gradient(right, left) * prediction
