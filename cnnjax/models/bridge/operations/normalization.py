"""Normalisation by running statistics, and by those of each image; in float32 at least."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from cnnjax.errors import InputError
from cnnjax.models.bridge.laid import Laid, elementwise, view
from cnnjax.models.bridge.operations.layers import by_channel
from cnnjax.models.bridge.operations.reductions import mean, wide

Number = int | float


def _batch_norm(x: Laid, weight: Laid | None, bias: Laid | None, mean_: Laid, variance: Laid, eps: Number) -> Laid:
    inverse = Laid(lax.rsqrt(variance.array + eps), variance.axes)
    scale = inverse if weight is None else elementwise(jnp.multiply, inverse, weight.to(inverse.dtype))
    y = wide(x)
    centred = elementwise(jnp.subtract, y, by_channel(mean_.to(y.dtype), x.ndim))
    y = elementwise(jnp.multiply, centred, by_channel(scale.to(y.dtype), x.ndim))
    return _scaled(y, None, None if bias is None else by_channel(bias, x.ndim), x.dtype)


def _normalised(x: Laid, dims: Sequence[int], eps: Number) -> Laid:
    """Mean 0 and variance 1 over some of PyTorch's axes."""
    centred = elementwise(jnp.subtract, x, mean(x, dims, keepdim=True))
    variance = mean(elementwise(jnp.square, centred), dims, keepdim=True)
    return elementwise(jnp.multiply, centred, elementwise(lambda v: lax.rsqrt(v + eps), variance))


def _scaled(y: Laid, weight: Laid | None, bias: Laid | None, dtype: Any) -> Laid:
    y = y if weight is None else elementwise(jnp.multiply, y, weight.to(y.dtype))
    y = y if bias is None else elementwise(jnp.add, y, bias.to(y.dtype))
    return y.to(dtype)


def _layer_norm(
    x: Laid, shape: Sequence[int], weight: Laid | None = None, bias: Laid | None = None, eps: Number = 1e-5, *_: Any
) -> Laid:
    return _scaled(_normalised(wide(x), range(-len(shape), 0), eps), weight, bias, x.dtype)


def _rms_norm(x: Laid, shape: Sequence[int], weight: Laid | None = None, eps: Number | None = None) -> Laid:
    y, dims = wide(x), range(-len(shape), 0)
    eps = float(jnp.finfo(x.dtype).eps) if eps is None else eps
    square = mean(elementwise(jnp.square, y), dims, keepdim=True)
    return _scaled(elementwise(lambda a, s: a * lax.rsqrt(s + eps), y, square), weight, None, x.dtype)


def _group_norm(
    x: Laid, groups: int, weight: Laid | None = None, bias: Laid | None = None, eps: Number = 1e-5, *_: Any
) -> Laid:
    batch, channels, *space = x.shape
    grouped = view(wide(x), [batch, groups, channels // groups, *space])
    y = view(_normalised(grouped, range(2, grouped.ndim), eps), x.shape)
    weight, bias = (None if p is None else by_channel(p, x.ndim) for p in (weight, bias))
    return _scaled(y, weight, bias, x.dtype)


def _native_group_norm(
    x: Laid, weight: Laid | None, bias: Laid | None, _: int, __: int, ___: int, groups: int, eps: Number
) -> Any:
    return _group_norm(x, groups, weight, bias, eps), None, None


def _instance_norm(
    x: Laid,
    weight: Laid | None,
    bias: Laid | None,
    mean_: Laid | None,
    variance: Laid | None,
    use_input: bool,
    _: Number,
    eps: Number,
    *__: Any,
) -> Laid:
    if not use_input and mean_ is not None and variance is not None:
        return _batch_norm(x, weight, bias, mean_, variance, eps)
    y = _normalised(wide(x), range(2, x.ndim), eps)
    weight, bias = (None if p is None else by_channel(p, x.ndim) for p in (weight, bias))
    return _scaled(y, weight, bias, x.dtype)


def _native(x: Laid, weight: Any, bias: Any, mean_: Laid, variance: Laid, momentum: Number, eps: Number) -> Any:
    return _batch_norm(x, weight, bias, mean_, variance, eps), None, None


def _of_the_batch(*_: Any) -> Any:
    raise InputError("it takes the statistics of the batch")


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    f"aten.{name}": f
    for name, f in {
        # Whether it is in training has been looked at when the graph was read.
        "batch_norm.default": lambda x, w, b, mean, var, training, _, eps, *__: _batch_norm(x, w, b, mean, var, eps),
        **dict.fromkeys(
            ("_native_batch_norm_legit_no_training.default", "_batch_norm_no_update.default"),
            _native,
        ),
        # Known, so that PyTorch does not take them apart, and refused when the graph is read.
        **{
            f"_native_batch_norm_legit{kind}": _of_the_batch
            for kind in (".default", ".no_stats", "_functional.default")
        },
        "layer_norm.default": _layer_norm,
        "native_layer_norm.default": lambda *args: (_layer_norm(*args), None, None),
        "rms_norm.default": _rms_norm,
        "group_norm.default": _group_norm,
        "native_group_norm.default": _native_group_norm,
        "instance_norm.default": _instance_norm,
    }.items()
}
