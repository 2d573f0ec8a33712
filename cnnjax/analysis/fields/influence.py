"""Influence: the pixels that one unit's derivatives reach, whatever the layers between allow for."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact, PRNGKeyArray

from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.inputs.units import find_unit, unit_response
from cnnjax.door import checked
from cnnjax.errors import InputError


@checked()
def influence(
    f: Callable[[jax.Array], Any],
    images: Images,
    layer: str | None = None,
    unit: int | Sequence[int] | None = None,
    *,
    probes: int = 8,
    key: PRNGKeyArray | None = None,
) -> Bool[np.ndarray, "*space"]:
    """Where in the image the derivative of one unit is not zero, for any image, channel or probe.

    `m[p] = any_{probes, b, c} ∂(Σ_o w_o y[b, unit, o]) / ∂x[b, p, c] ≠ 0`, with weights w drawn anew for each probe, so
    that channels do not cancel. A probe is a batch of the shape of `images`: first these, then `probes` batches of
    normal noise with their mean and standard deviation, drawn from `key` (by default that of seed 0).

    The result lies within the `support` of `receptive_field`, and is smaller where a path is dead, a weight is 0 or
    effects cancel. It is found by sampling: of a maximum, each probe sees one winner, so take many probes then.

    `layer` is a key of what `f` returns, or a path as "1/conv1"; None where that is one array. `unit` is a tuple, its
    index after the batch axis, `(row, column, channel)`, or `(row, column)` for all channels there; or an int, the
    channel, at the middle of the map. None is the middle, the lower index of two, with all channels.

    Raises InputError for images that are none or not finite, `probes` below 0, an unknown layer or unit.
    """
    if probes < 0:
        raise InputError(f"probes={probes} must not be negative")
    position, index = find_unit(f, images, layer, unit)
    images = jnp.asarray(images)
    weighted = jax.eval_shape(functools.partial(unit_response, f, position=position, index=index), images)
    reached = compiled(_reached, f, static=("position", "index"))
    # Drawn by NumPy, so that there is one program to compile, without a random generator in it.
    random = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0) if key is None else key)))
    pixels = np.asarray(images, np.float64)
    mean, deviation = pixels.mean(), pixels.std() or 1.0
    found = np.zeros(images.shape[1:-1], bool)
    for probe in range(1 + probes):
        drawn = mean + deviation * random.normal(size=images.shape) if probe else pixels
        weights = random.normal(size=weighted.shape)
        if jnp.issubdtype(weighted.dtype, jnp.complexfloating):
            weights = weights + 1j * random.normal(size=weighted.shape)
        batch, weights = jnp.asarray(drawn, images.dtype), weights.astype(weighted.dtype)
        found |= np.asarray(reached(batch, weights, position=position, index=index))
    return found


def _reached(
    f: Callable[[Array], Any],
    images: Float[Array, "batch *space channels"],
    weights: Inexact[Array, "..."],
    position: int,
    index: tuple[int, ...],
) -> Bool[Array, "*space"]:
    (gradient,) = jax.vjp(lambda x: unit_response(f, x, position, index), images)[1](weights)
    return (gradient != 0).any((0, -1))
