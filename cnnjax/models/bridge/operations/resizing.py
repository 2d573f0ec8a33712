"""Interpolation: each position of the result as a sum of a few positions of the map, along one axis after the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from cnnjax.models.bridge.laid import LAST, Laid, channels_last
from cnnjax.models.bridge.operations.reductions import wide

Taps = tuple[np.ndarray, np.ndarray]
"""Positions `(size, taps)` and their weights."""


def _nearest(n: int, size: int, step: int | float, *, middle: bool = False) -> Taps:
    position = np.floor((np.arange(size) + (0.5 if middle else 0)) * step).astype(int)
    return np.clip(position, 0, n - 1)[:, None], np.ones((size, 1))


def _centres(size: int, step: int | float, aligned: bool) -> np.ndarray:
    i = np.arange(size)
    return i * step if aligned else (i + 0.5) * step - 0.5


def _linear(n: int, size: int, step: int | float, aligned: bool) -> Taps:
    at = np.maximum(_centres(size, step, aligned), 0)
    first = np.minimum(np.floor(at).astype(int), n - 1)
    share = np.clip(at - first, 0, 1)
    return np.stack([first, np.minimum(first + 1, n - 1)], 1), np.stack([1 - share, share], 1)


def _cubic_weights(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * a * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _cubic(n: int, size: int, step: int | float, aligned: bool) -> Taps:
    at = _centres(size, step, aligned)
    first = np.floor(at).astype(int)
    taps = first[:, None] + np.arange(-1, 3)
    return np.clip(taps, 0, n - 1), _cubic_weights(at[:, None] - taps, -0.75)


def _antialiased(weigh: Callable[[np.ndarray], np.ndarray], half: int) -> Callable[..., Taps]:
    """A filter as wide as the step, where that is more than one position, as `antialias=True` asks for."""

    def taps(n: int, size: int, step: int | float, aligned: bool) -> Taps:
        stretch = max(step, 1.0)
        center = step * (np.arange(size) + 0.5)
        first = np.maximum((center - half * stretch + 0.5).astype(int), 0)
        last = np.minimum((center + half * stretch + 0.5).astype(int), n)
        places = first[:, None] + np.arange((last - first).max())
        weights = weigh((places - center[:, None] + 0.5) / stretch) * (places < last[:, None])
        return np.minimum(places, n - 1), weights / weights.sum(1, keepdims=True)

    return taps


_triangle = _antialiased(lambda x: np.maximum(1 - np.abs(x), 0), 1)
_smooth = _antialiased(lambda x: _cubic_weights(x, -0.5), 2)


def _resized(y: Array, axis: int, taps: Taps) -> Array:
    places, weights = taps
    total = None
    for place, weight in zip(places.T, weights.T, strict=True):
        part = jnp.take(y, place, axis)
        if places.shape[1] > 1:
            shape = [1] * y.ndim
            shape[axis] = -1
            part = part * jnp.asarray(weight, y.dtype).reshape(shape)
        total = part if total is None else total + part
    assert total is not None
    return total


def _resize(rank: int, taps: Callable[..., Taps], *, corners: bool) -> Callable[..., Laid]:
    def run(x: Laid, size: Sequence[int] | None, *options: Any) -> Laid:
        aligned, options = (bool(options[0]), options[1:]) if corners else (False, options)
        # Either one list of factors or a number for each axis; no factors are those of the sizes.
        factors = options[0] if options and isinstance(options[0], (list, tuple)) else list(options)
        factors = [*factors, *[None] * (rank - len(factors))]
        y, space = channels_last(wide(x)), x.shape[2:]
        if size is None:
            size = [int(np.floor(n * f)) for n, f in zip(space, factors, strict=True)]
        for axis, (n, wanted, factor) in enumerate(zip(space, size, factors, strict=True), start=1):
            between = (n - 1) / (wanted - 1) if wanted > 1 else 0.0
            step = between if aligned else 1 / factor if factor else n / wanted
            if (n, step) != (wanted, 1.0):
                y = _resized(y, axis, taps(n, wanted, step, aligned) if corners else taps(n, wanted, step))
        return Laid(y, LAST[rank + 2]).to(x.dtype)

    return run


def _middle(n: int, size: int, step: int | float) -> Taps:
    return _nearest(n, size, step, middle=True)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    f"aten.{name}.{overload}": f
    for overload in ("default", "vec")
    for name, f in {
        "upsample_nearest1d": _resize(1, _nearest, corners=False),
        "upsample_nearest2d": _resize(2, _nearest, corners=False),
        "_upsample_nearest_exact1d": _resize(1, _middle, corners=False),
        "_upsample_nearest_exact2d": _resize(2, _middle, corners=False),
        "upsample_linear1d": _resize(1, _linear, corners=True),
        "upsample_bilinear2d": _resize(2, _linear, corners=True),
        "upsample_bicubic2d": _resize(2, _cubic, corners=True),
        "_upsample_bilinear2d_aa": _resize(2, _triangle, corners=True),
        "_upsample_bicubic2d_aa": _resize(2, _smooth, corners=True),
    }.items()
}
