"""Nonlinearities of maps that do not alias: `ops.alias_free` of a function, as networks take an `activation`."""

import math
from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.door import checked

MEAN, CURVATURE = 1 / (8 * math.sqrt(math.pi)), 3 / (8 * math.sqrt(math.pi))
"""Of the square nearest to `x Φ(x)` over normal x: `E[x Φ(x)] − c` and `c = E[x Φ(x) (x² − 1)] / 2`."""


@checked()
def alias_free_relu(x: Float[Array, "batch *space channels"]) -> Float[Array, "batch *space channels"]:
    """`max(x, 0)` of the signal that a map stands for, on a grid twice as fine (`ops.alias_free`).

    x is a map (batch, length, channels), (batch, height, width, channels) or, over a group of orientations,
    (batch, height, width, group, channels); numbers without places, (batch, units), meet the function itself. A
    rectifier's kink makes all frequencies, so that a little is folded back: "gelu" makes less, a square none.
    Raises InputError as `ops.alias_free` does.
    """
    return _of_maps(x, nn.relu, 2)


@checked()
def alias_free_gelu(x: Float[Array, "batch *space channels"]) -> Float[Array, "batch *space channels"]:
    """`x Φ(x)`, Φ approximated by a tanh as in `flax.linen.gelu`, as `alias_free_relu` applies the rectifier."""
    return _of_maps(x, nn.gelu, 2)


@checked()
def alias_free_quadratic(x: Float[Array, "batch *space channels"]) -> Float[Array, "batch *space channels"]:
    """`x / 2 + (1 + 3 x²) / (8 √π)` of the signal that a map stands for: nothing is folded back, but for rounding.

    Of all squares the nearest to `x Φ(x)` over standard normal x, which a normalization before it makes: without one,
    what is large grows with every layer. The finer grid, 3/2 as fine, is the smallest that holds a product exactly.
    Shapes and errors are those of `alias_free_relu`. Source: Michaeli et al. 2023, section 3, which learn the
    coefficients of each channel.
    """
    return _of_maps(x, _quadratic, 1.5)


ALIAS_FREE = (alias_free_relu, alias_free_gelu, alias_free_quadratic)


def _quadratic(x: Array) -> Array:
    return x / 2 + (MEAN + CURVATURE * x**2)


def _of_maps(x: Array, function: Callable[[Array], Array], factor: int | float) -> Array:
    if x.ndim == 2:
        return function(x)
    maps = x.reshape(*x.shape[:3], -1) if x.ndim == 5 else x
    return ops.alias_free(maps, function, factor=factor).reshape(x.shape)
