"""Functions of images whose equivariance mathematics knows."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

from cnnjax import ops
from cnnjax.analysis import Generator
from experiments.measures import filters
from experiments.measures.families import Family

Truth = Literal["exact", "no", "mixes", "nearly"]
"""exact: f(T x) = T f(x), of band-limited images where T resamples. mixes: equal after a linear map of the channels.
nearly: but for aliasing of rectifiers, whose kinks no sampled map holds; counted as neither."""

EVERY: tuple[Family, ...] = ("shift", "half pixel", "rotation", "quarter turn", "scale", "reflection")


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of images (batch, side, side, 1) to maps of that size, and what is true of it."""

    about: str
    make: Callable[[np.random.Generator, int], Any]
    """Its parameters, from a generator of numbers and the side of the canvas."""
    apply: Callable[[Any, Array], Array]
    truth: Mapping[Family, Truth]
    ignores: bool = False
    """Whether it ignores the image: exact, and of no use."""

    def bound(self, seed: int, side: int) -> Partial:
        """The function of images; random weights follow from the seed."""
        return Partial(self.apply, self.make(np.random.default_rng(seed), side))


def _truth(exact: str = "", mixes: str = "", nearly: str = "") -> dict[Family, Truth]:
    """By initials: s shift, h half pixel, r rotation, q quarter turn, z zoom (scale), m mirror image."""
    found: dict[Family, Truth] = {}
    for initial, family in zip("shrqzm", EVERY, strict=True):
        found[family] = (
            "exact" if initial in exact else "mixes" if initial in mixes else "nearly" if initial in nearly else "no"
        )
    return found


def _none(rng: np.random.Generator, side: int) -> tuple[()]:
    return ()


def _kernel(kernel: np.ndarray) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, side: jnp.asarray(kernel, jnp.float32)


def _filtered(kernel: Array, x: Array) -> Array:
    return ops.conv(x, kernel, padding="circular")


def _weights(rng: np.random.Generator, *shape: int) -> Array:
    """Gaussian, of a deviation that keeps the size of rectified maps (He et al. 2015)."""
    return jnp.asarray(rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1])), jnp.float32)


def _two_layers(rng: np.random.Generator, side: int) -> dict[str, Array]:
    biases = {name: jnp.asarray(0.2 * rng.normal(size=4), jnp.float32) for name in ("a", "b")}
    return {"first": _weights(rng, 5, 5, 1, 4), "second": _weights(rng, 5, 5, 4, 4), **biases}


def _network(padding: Any, layers: Mapping[str, Array], x: Array) -> Array:
    y = jax.nn.relu(ops.conv(x, layers["first"], padding=padding) + layers["a"][None, None, None])
    return jax.nn.relu(ops.conv(y, layers["second"], padding=padding) + layers["b"][None, None, None])


def _mirrored(layers: Mapping[str, Array], x: Array) -> Array:
    return _network("circular", layers, x) + _network("circular", layers, x[:, :, ::-1])[:, :, ::-1]


def _polyphase(layers: Mapping[str, Array], x: Array) -> Array:
    y = jax.nn.relu(ops.conv(x, layers["first"], padding="circular") + layers["a"][None, None, None])
    y, phase = ops.polyphase_pool_with_phase(y)
    y = ops.conv(y, layers["second"], padding="circular")
    return ops.polyphase_unpool(y, phase, stride=2, input_size=x.shape[1:3])


def _strided(layers: Mapping[str, Array], x: Array) -> Array:
    y = jax.nn.relu(ops.conv(x, layers["first"], padding="circular") + layers["a"][None, None, None])
    y = ops.conv(y[:, ::2, ::2], layers["second"], padding="circular")
    return ops.polyphase_unpool(y, jnp.zeros(len(x), jnp.int32), stride=2, input_size=x.shape[1:3])


def _of_group(group: str, rng: np.random.Generator, side: int) -> dict[str, Array]:
    order = {"p4": 4, "p4m": 8}[group]
    return {"first": _weights(rng, 5, 5, 1, 4), "second": _weights(rng, 5, 5, order, 4, 4)}


def _group_network(group: str, layers: Mapping[str, Array], x: Array) -> Array:
    y = jax.nn.relu(ops.lifting_conv(x, layers["first"], group=group, padding="circular"))
    y = jax.nn.relu(ops.group_conv(y, layers["second"], group=group, padding="circular"))
    return ops.group_pool(y)


def _dense_weights(rng: np.random.Generator, side: int) -> tuple[Array, Array]:
    return _weights(rng, side**2, 64), _weights(rng, 64, side**2)


def _dense(layers: tuple[Array, Array], x: Array) -> Array:
    return (jax.nn.relu(x.reshape(len(x), -1) @ layers[0]) @ layers[1]).reshape(x.shape)


def _squared(_: Any, x: Array) -> Array:
    return jnp.square(x)


def _slope_energy(kernels: Array, x: Array) -> Array:
    return jnp.square(_filtered(kernels, x)).sum(-1, keepdims=True)


def _radial_slope(_: Any, x: Array) -> Array:
    return -Generator("scale").of_images(x)


def _vignette(_: Any, x: Array) -> Array:
    place = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2
    weights = np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * 5.0**2))
    return x * jnp.asarray(weights[None, :, :, None], x.dtype)


def _averaged(_: Any, x: Array) -> Array:
    return jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)


def _constant(_: Any, x: Array) -> Array:
    return jnp.zeros_like(x) + 0.5


def _filter(about: str, kernel: np.ndarray, **truth: str) -> Function:
    return Function(about, _kernel(kernel), _filtered, _truth(**truth))


_LINEAR = "sh"  # a circular convolution commutes with every circular shift, also between pixels
_ROUND = "shrqm"

FUNCTIONS: dict[str, Function] = {
    "low pass": _filter("Gaussian", filters.low_pass(), exact=_ROUND),
    "band pass": _filter("a ring in the Fourier domain", filters.band_pass(), exact=_ROUND),
    "high pass": _filter("the image less its low pass", filters.high_pass(), exact=_ROUND),
    "slope energy": Function("(∂x)² + (∂y)², smoothed", _kernel(filters.slopes()), _slope_energy, _truth(_ROUND)),
    "square": Function("of every pixel", _none, _squared, _truth("shrqzm")),
    "radial slope": Function("r ∂r about the middle", _none, _radial_slope, _truth("rqzm")),
    "vignette": Function("darker away from the middle", _none, _vignette, _truth("rqm")),
    "average": Function("the mean of the image everywhere", _none, _averaged, _truth(_ROUND)),
    "slopes": _filter("∂x and ∂y as two channels", filters.slopes(), exact=_LINEAR, mixes="rqm"),
    "directed low pass": _filter("three times as long as wide", filters.directed_low_pass(), exact=_LINEAR + "m"),
    "directed band pass": _filter("Gabor, at 30°", filters.directed_band_pass(), exact=_LINEAR),
    "directed high pass": _filter("∂² along 30°", filters.directed_high_pass(), exact=_LINEAR),
    "p4 network": Function(
        "two layers, the maximum over turns",
        functools.partial(_of_group, "p4"),
        functools.partial(_group_network, "p4"),
        _truth("sq", nearly="h"),
    ),
    "p4m network": Function(
        "and over mirror images",
        functools.partial(_of_group, "p4m"),
        functools.partial(_group_network, "p4m"),
        _truth("sqm", nearly="h"),
    ),
    "mirror network": Function(
        "a network and its mirror image, added", _two_layers, _mirrored, _truth("sm", nearly="h")
    ),
    "polyphase network": Function("adaptive polyphase stride, undone behind", _two_layers, _polyphase, _truth("s")),
    "strided network": Function("the same with a fixed stride", _two_layers, _strided, _truth()),
    "network": Function(
        "two layers, circular", _two_layers, functools.partial(_network, "circular"), _truth("s", nearly="h")
    ),
    "padded network": Function(
        "the same with zeros around", _two_layers, functools.partial(_network, "same"), _truth()
    ),
    "dense network": Function("no shared weights", _dense_weights, _dense, _truth()),
    "constant": Function("one number", _none, _constant, _truth("shrqzm"), ignores=True),
}
"""All networks are untrained."""
