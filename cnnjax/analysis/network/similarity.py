"""How alike two sets of activations are over the same images, whatever the units: centred kernel alignment."""

import math
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cnnjax.analysis.inputs.norms import scale_of, wide
from cnnjax.door import checked
from cnnjax.errors import InputError


@checked()
def cka(x: ArrayLike, y: ArrayLike, *, unbiased: bool = False) -> Float[Array, ""]:
    """Linear centred kernel alignment, in [0, 1]: 1 where y is x turned and scaled, 0 where they share nothing.

    `CKA = ⟨K, L⟩ / (‖K‖ ‖L‖)` with K = X Xᵀ and L = Y Yᵀ over images, each unit less its mean over images; maps count
    with every position as a unit. It does not change under orthogonal maps and isotropic scaling of x or of y, and does
    under other linear maps, for directions weigh with their variance. All images at once: no batches, no approximation.

    With few images it is far above 0 for activations that have nothing in common, the more so the more units they have:
    n images in p dimensions of noise come to about p / (p + n). `unbiased` replaces both the product and the norms by
    estimators without bias, and then differs from 0 by chance, below it too; it takes four images.

    It says little of equivariance: maps that a stride breaks under a shift by one pixel, by more than their own norm,
    were .9998 alike (`python -m experiments.measures`).

    x and y are floats, (images, *unit) and (images, *other). NaN where all images have the same activations.
    Raises InputError for different numbers of images, for fewer than two (unbiased: four), and for NaN or infinity.
    Source: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", eq. 4; unbiased: Song et
    al. 2012, "Feature Selection via Dependence Maximization", eq. 5, as Nguyen et al. 2021 use it.
    """
    return cka_matrix([x], [y], unbiased=unbiased)[0, 0]


@checked()
def cka_matrix(
    first: Iterable[ArrayLike], second: Iterable[ArrayLike] | None = None, *, unbiased: bool = False
) -> Float[Array, "first second"]:
    """`cka` of each of `first` with each of `second`, by default with each other; each kernel is computed once.

    Memory is that of images² numbers for each array: where they come from a generator, no two arrays are there at once.
    Raises InputError as `cka` does, and for no arrays.
    """
    kernels = [list(_kernels(side, unbiased)) for side in (first, second) if side is not None]
    if not all(kernels):
        raise InputError("there are no activations to compare: give one array at least on either side")
    if len(sizes := {kernel.size for side in kernels for kernel in side}) > 1:
        numbers = " and ".join(str(math.isqrt(size)) for size in sorted(sizes))
        raise InputError(f"activations of {numbers} images cannot be compared: give those of the same images")
    widest = jnp.float64 if any(kernel.dtype == jnp.float64 for side in kernels for kernel in side) else jnp.float32
    left, right = (jnp.stack([kernel.astype(widest) for kernel in side]) for side in (kernels[0], kernels[-1]))
    return _products(left, right)


def _kernels(arrays: Iterable[ArrayLike], unbiased: bool) -> Iterator[Array]:
    """The centred kernel of each array, divided by its norm and in one row: the alignment of two is their product."""
    least = 4 if unbiased else 2
    for each in arrays:
        x = jnp.asarray(each)
        if x.ndim == 0 or not jnp.issubdtype(x.dtype, jnp.number) or jnp.iscomplexobj(x):
            raise InputError(f"activations are {x.dtype} of shape {x.shape}: give real numbers, (images, *unit)")
        count = len(x) if x.ndim else 0
        if count < least:
            raise InputError(f"{count} images are too few to compare activations over: give {least} or more")
        x = wide(x)
        if not isinstance(x, Tracer) and not jnp.isfinite(x).all():
            raise InputError("activations contain NaN or infinity: their alignment means nothing; repair the network")
        yield (_unbiased if unbiased else _biased)(x.reshape(len(x), -1))


@jax.jit
def _products(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)


@jax.jit
def _biased(x: Array) -> Array:
    return _normalised(_gram(x))


@jax.jit
def _unbiased(x: Array) -> Array:
    """`⟨K', L'⟩ / (n (n − 3))` with these is Song et al.'s estimator: U-centred, as Székely & Rizzo 2014 call it."""
    n = len(x)
    diagonal = jnp.eye(n, dtype=bool)
    kernel = jnp.where(diagonal, jnp.zeros((), x.dtype), _gram(x))
    rows = kernel.sum(1) / (n - 2)
    centred = kernel - rows[:, None] - rows[None] + kernel.sum() / ((n - 1) * (n - 2))
    return _normalised(jnp.where(diagonal, jnp.zeros((), x.dtype), centred))


def _gram(x: Array) -> Array:
    # Centred for the biased one; for the other it takes away what rounding would be made of.
    x = x / scale_of(x)
    centred = x - x.mean(0, keepdims=True)
    # The alignment does not see the scale, of which the kernel has the fourth power where its norm is taken.
    centred = centred / scale_of(centred)
    return jnp.matmul(centred, centred.T, precision=lax.Precision.HIGHEST)


def _normalised(kernel: Array) -> Array:
    return (kernel / jnp.linalg.norm(kernel)).reshape(-1)
