"""Attributions by gradients: saliency, SmoothGrad, integrated gradients."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.analysis.attribution.unit_scores import Attribution, UnitScores
from cnnjax.analysis.inputs.images import Images, ValueRange
from cnnjax.analysis.inputs.norms import wide
from cnnjax.analysis.inputs.units import Unit
from cnnjax.door import checked
from cnnjax.errors import InputError


@checked()
def saliency(
    f: Callable[[Array], Any],
    images: Images,
    layer: str | None = None,
    unit: Unit | Literal["all"] | None = None,
    *,
    rule: Rule = "gradient",
    value_range: ValueRange = (0, 1),
    batch_size: int = 32,
) -> Attribution:
    """The gradient of one unit's value with respect to the pixels of each image: `∂s(x) / ∂x`, signed.

    With another `rule` at the rectifiers (`with_relu_rule`) it is the deconvnet's or guided backpropagation's picture,
    of a signal of 1 at the unit. The usual saliency map, without channels, is `strength(result.maps)`.

    `f`, `images`, `layer`, `unit` and errors are those of `UnitScores`: by default each image's most probable class.
    With `unit="all"` there is a map for each channel, of maps at its first maximum: (batch, channels, *space,
    channels), of which `batch_size` are made at a time.
    Source: Simonyan, Vedaldi & Zisserman 2014, section 3.
    """
    scores = UnitScores(f, images, layer, unit, value_range=value_range, rule=rule, batch_size=batch_size)
    values, maps = scores.gradient(scores.images)
    return scores.attribution(maps, values)


@checked()
def smooth_grad(
    f: Callable[[Array], Any],
    images: Images,
    layer: str | None = None,
    unit: Unit | Literal["all"] | None = None,
    *,
    key: PRNGKeyArray,
    noise: float | int = 0.15,
    samples: int = 50,
    value_range: ValueRange = (0, 1),
    batch_size: int = 32,
) -> Attribution:
    """The gradient averaged over noisy copies of each image: `mean over n of ∂s/∂x at x + σ ε_n`, ε standard normal.

    σ is `noise` times the spread, largest less smallest pixel, of each image (the paper's 10 to 20 %). The unit is the
    one that the image itself has. Copies may lie outside the value range. Sample n depends only on `key` and n.

    Raises InputError as `saliency` does, and unless noise >= 0 and samples >= 1.
    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 2.
    """
    if not (noise >= 0 and np.isfinite(noise)) or samples < 1:
        raise InputError(f"noise={noise} must be finite and not negative, samples={samples} positive")
    scores = UnitScores(f, images, layer, unit, value_range=value_range, batch_size=batch_size)
    x = scores.images
    inside = tuple(range(1, x.ndim))
    pixels = wide(x)
    sigma = noise * jnp.ptp(pixels, axis=inside, keepdims=True)
    total: Any = 0
    for n in range(samples):
        drawn = jax.random.normal(jax.random.fold_in(key, n), x.shape, pixels.dtype)
        total = total + scores.gradient((pixels + sigma * drawn).astype(x.dtype))[1].astype(pixels.dtype)
    return scores.attribution(total / samples)


@checked()
def integrated_gradients(
    f: Callable[[Array], Any],
    images: Images,
    layer: str | None = None,
    unit: Unit | Literal["all"] | None = None,
    *,
    baseline: ArrayLike = 0.0,
    steps: int = 50,
    value_range: ValueRange = (0, 1),
    batch_size: int = 32,
) -> Attribution:
    """The gradient along the straight line from a baseline b to each image, times the way.

    `(x − b) ∫ ∂s/∂x (b + t (x − b)) dt`, pixel by pixel, t from 0 to 1, by Gauss-Legendre quadrature with `steps`
    points. By completeness a map adds up to `s(x) − s(b)`, up to the error of the quadrature: what is missing tells
    whether the steps suffice. `baseline` is a number, or an array that can be broadcast to the images.

    Raises InputError as `saliency` does, for a baseline that does not fit or is not finite, and unless steps >= 1.
    Source: Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks", section 3.
    """
    if steps < 1:
        raise InputError(f"steps={steps} must be positive")
    scores = UnitScores(f, images, layer, unit, value_range=value_range, batch_size=batch_size)
    x = scores.images
    pixels = wide(x)
    start = np.asarray(baseline, pixels.dtype)
    fits = start.ndim <= x.ndim and all(n in (1, m) for n, m in zip(start.shape[::-1], x.shape[::-1], strict=False))
    if not fits or not np.isfinite(start).all():
        raise InputError(f"baseline of shape {start.shape}: give finite numbers that can be broadcast to {x.shape}")
    way = pixels - jnp.broadcast_to(start, x.shape)
    total: Any = 0
    for node, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        # Nodes lie in [−1, 1], and their weights add up to 2.
        point = (pixels - float((1 - node) / 2) * way).astype(x.dtype)
        total = total + scores.gradient(point)[1].astype(pixels.dtype) * pixels.dtype.type(weight / 2)
    # All units of an image have its way.
    return scores.attribution(total * np.expand_dims(way, tuple(range(1, 1 + total.ndim - way.ndim))))


@checked()
def strength(maps: Float[Array | np.ndarray, "batch *space channels"]) -> Float[np.ndarray, " batch *space"]:
    """How strongly each pixel counts: the largest absolute value over its channels.

    Source: Simonyan, Vedaldi & Zisserman 2014, section 3.1.
    """
    return np.abs(np.asarray(maps)).max(-1)
