"""Sums, means, extremes and norms over axes, and softmax along one."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cnnjax.layers.precision import at_least_float32
from cnnjax.models.bridge.laid import Laid, along, reduce

Dims = Sequence[int] | int | None


def wide(x: Laid) -> Laid:
    """The same in float32, if it is narrower: sums are taken in no less."""
    return x.to(at_least_float32(x.dtype)) if jnp.issubdtype(x.dtype, jnp.floating) else x


def mean(x: Laid, dims: Dims = None, keepdim: bool = False) -> Laid:
    """The mean over some of PyTorch's axes, in float32 at least."""
    return reduce(lambda a, axes, keep: jnp.mean(a, axes, keepdims=keep), wide(x), dims, keepdim)


def _sum(x: Laid, dims: Dims = None, keepdim: bool = False) -> Laid:
    return reduce(lambda a, axes, keep: jnp.sum(a, axes, keepdims=keep), wide(x), dims, keepdim)


def _variance(x: Laid, dims: Dims = None, *, correction: int | float | None = None, keepdim: bool = False) -> Laid:
    correction = 1 if correction is None else correction

    def variance(a: Array, axes: tuple[int, ...], keep: bool) -> Array:
        count = math.prod(a.shape[axis] for axis in axes)
        squares = jnp.square(a - jnp.mean(a, axes, keepdims=True))
        return jnp.sum(squares, axes, keepdims=keep) / max(count - correction, 0)

    return reduce(variance, wide(x), dims, keepdim)


def _deviation(x: Laid, dims: Dims = None, **options: Any) -> Laid:
    square = _variance(x, dims, **options)
    return Laid(jnp.sqrt(square.array), square.axes)


def _variance_and_mean(
    x: Laid, dims: Dims = None, *, correction: int | float | None = None, keepdim: bool = False
) -> Any:
    return _variance(x, dims, correction=correction, keepdim=keepdim).to(x.dtype), mean(x, dims, keepdim).to(x.dtype)


def _extreme(f: Callable[..., Array]) -> Callable[..., Laid]:
    def run(x: Laid, dims: Dims = None, keepdim: bool = False) -> Laid:
        return reduce(lambda a, axes, keep: f(a, axes, keepdims=keep), x, dims, keepdim)

    return run


def _place(f: Callable[..., Array]) -> Callable[..., Laid]:
    def run(x: Laid, dim: int | None = None, keepdim: bool = False) -> Laid:
        if dim is None:
            # Of equal elements the first in PyTorch's order.
            dim, x = 0, Laid(jnp.ravel(jnp.transpose(x.array, x.places)), (0,))
        return reduce(lambda a, axes, keep: f(a, axes[0], keepdims=keep), x, dim, keepdim)

    return run


def _extreme_and_place(extreme: Callable[..., Array], place: Callable[..., Array]) -> Callable[..., Any]:
    def run(x: Laid, dim: int, keepdim: bool = False) -> Any:
        return _extreme(extreme)(x, dim, keepdim), _place(place)(x, dim, keepdim)

    return run


def _norm(x: Laid, p: Any = 2, dims: Dims = None, keepdim: bool = False) -> Laid:
    p = 2 if p is None else p

    def norm(a: Array, axes: tuple[int, ...], keep: bool) -> Array:
        match p:
            case math.inf:
                return jnp.max(jnp.abs(a), axes, keepdims=keep)
            case 2:
                return jnp.sqrt(jnp.sum(jnp.square(a), axes, keepdims=keep))
            case 1:
                return jnp.sum(jnp.abs(a), axes, keepdims=keep)
            case _:
                return jnp.sum(jnp.abs(a) ** p, axes, keepdims=keep) ** (1 / p)

    return reduce(norm, wide(x), dims, keepdim)


def _softmax(x: Laid, dim: int, *_: Any) -> Laid:
    return along(lambda a, axis: jax.nn.softmax(a, axis), wide(x), dim)


def _log_softmax(x: Laid, dim: int, *_: Any) -> Laid:
    return along(lambda a, axis: jax.nn.log_softmax(a, axis), wide(x), dim)


def _cumulative(f: Callable[..., Array]) -> Callable[..., Laid]:
    return lambda x, dim: along(lambda a, axis: f(a, axis), x, dim)


def _glu(x: Laid, dim: int = -1) -> Laid:
    def gated(a: Array, axis: int) -> Array:
        first, second = jnp.split(a, 2, axis)
        return first * jax.nn.sigmoid(second)

    return along(gated, x, dim)


def _truth(f: Callable[..., Array]) -> Callable[..., Laid]:
    return lambda x, dims=None, keepdim=False: reduce(lambda a, axes, keep: f(a, axes, keepdims=keep), x, dims, keepdim)


def _logsumexp(x: Laid, dims: Dims, keepdim: bool = False) -> Laid:
    return reduce(lambda a, axes, keep: jax.nn.logsumexp(a, axes, keepdims=keep), wide(x), dims, keepdim)


def _product(x: Laid, dim: int | None = None, keepdim: bool = False) -> Laid:
    return reduce(lambda a, axes, keep: jnp.prod(a, axes, keepdims=keep), x, dim, keepdim)


ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("aten.sum.default", "aten.sum.dim_IntList"), _sum),
    **dict.fromkeys(("aten.mean.default", "aten.mean.dim"), mean),
    **dict.fromkeys(("aten.prod.default", "aten.prod.dim_int"), _product),
    "aten.cumsum.default": _cumulative(jnp.cumsum),
    "aten.cumprod.default": _cumulative(jnp.cumprod),
}
"""Operations whose operand is first converted to the dtype of the result."""
OTHERS: Mapping[str, Callable[..., Any]] = {
    f"aten.{name}": f
    for name, f in {
        **dict.fromkeys(("amax.default", "max.default"), _extreme(jnp.max)),
        **dict.fromkeys(("amin.default", "min.default"), _extreme(jnp.min)),
        "max.dim": _extreme_and_place(jnp.max, jnp.argmax),
        "min.dim": _extreme_and_place(jnp.min, jnp.argmin),
        "argmax.default": _place(jnp.argmax),
        "argmin.default": _place(jnp.argmin),
        "var.correction": _variance,
        "std.correction": _deviation,
        "var_mean.correction": _variance_and_mean,
        **dict.fromkeys(("linalg_vector_norm.default", "norm.ScalarOpt_dim", "norm.Scalar"), _norm),
        **dict.fromkeys(("softmax.int", "_softmax.default", "_safe_softmax.default"), _softmax),
        **dict.fromkeys(("log_softmax.int", "_log_softmax.default"), _log_softmax),
        "logsumexp.default": _logsumexp,
        "glu.default": _glu,
        **{f"any.{kind}": _truth(jnp.any) for kind in ("default", "dim", "dims")},
        **{f"all.{kind}": _truth(jnp.all) for kind in ("default", "dim", "dims")},
    }.items()
}
