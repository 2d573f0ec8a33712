"""Arithmetic, activation functions and comparisons: operations on each element."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from cnnjax.models.bridge.laid import Laid, elementwise

Number = int | float


def _add(x: Any, y: Any, *, alpha: Any = 1) -> Array:
    return jnp.add(x, y if alpha == 1 else alpha * y)


def _subtract(x: Any, y: Any, *, alpha: Any = 1) -> Array:
    return jnp.subtract(x, y if alpha == 1 else alpha * y)


def _divide(x: Any, y: Any, *, rounding_mode: str | None = None) -> Array:
    match rounding_mode:
        case None:
            return jnp.true_divide(x, y)
        case "floor":
            return jnp.floor_divide(x, y)
        case _:
            return jnp.trunc(jnp.true_divide(x, y))


def _clamp(x: Array, min: Any = None, max: Any = None) -> Array:
    if min is None:
        return jnp.minimum(x, max)
    if max is None:
        return jnp.maximum(x, min)
    return jnp.minimum(jnp.maximum(x, min), max)


def _hardtanh(x: Array, low: Number = -1, high: Number = 1) -> Array:
    # By the names that readers of programs know activations by.
    if (low, high) == (0, 6):
        return jax.nn.relu6(x)
    return jax.nn.hard_tanh(x) if (low, high) == (-1, 1) else _clamp(x, low, high)


def _elu(x: Array, alpha: Number = 1, scale: Number = 1, input_scale: Number = 1) -> Array:
    y = jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x * input_scale)))
    return scale * y


def _threshold(x: Array, threshold: Number, value: Number) -> Array:
    return jnp.where(x > threshold, x, jnp.full_like(x, value))


def _softshrink(x: Array, lambd: Number = 0.5) -> Array:
    return jnp.where(x > lambd, x - lambd, jnp.where(x < -lambd, x + lambd, jnp.zeros_like(x)))


def _hardshrink(x: Array, lambd: Number = 0.5) -> Array:
    return jnp.where(jnp.abs(x) > lambd, x, jnp.zeros_like(x))


def _rrelu(x: Array, lower: Number = 1 / 8, upper: Number = 1 / 3, *_: Any) -> Array:
    return jax.nn.leaky_relu(x, (lower + upper) / 2)


_ARITHMETIC: Mapping[str, Callable[..., Array]] = {
    # Of two arrays, or of an array and a number.
    **dict.fromkeys(("add.Tensor", "add.Scalar"), _add),
    **dict.fromkeys(("sub.Tensor", "sub.Scalar"), _subtract),
    **dict.fromkeys(("rsub.Tensor", "rsub.Scalar"), lambda x, y, alpha=1: _subtract(y, x, alpha=alpha)),
    **dict.fromkeys(("mul.Tensor", "mul.Scalar"), jnp.multiply),
    **dict.fromkeys(("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode"), _divide),
    "floor_divide.default": jnp.floor_divide,
    **dict.fromkeys(("remainder.Tensor", "remainder.Scalar"), jnp.remainder),
    **dict.fromkeys(("fmod.Tensor", "fmod.Scalar"), jnp.fmod),
    **dict.fromkeys(("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar"), jnp.power),
    "atan2.default": jnp.arctan2,
    **dict.fromkeys(("maximum.default", "max.other", "fmax.default"), jnp.maximum),
    **dict.fromkeys(("minimum.default", "min.other", "fmin.default"), jnp.minimum),
    **dict.fromkeys(("clamp.default", "clamp.Tensor"), _clamp),
    **dict.fromkeys(("clamp_min.default", "clamp_min.Tensor"), lambda x, low: jnp.maximum(x, low)),
    **dict.fromkeys(("clamp_max.default", "clamp_max.Tensor"), lambda x, high: jnp.minimum(x, high)),
    "lerp.Scalar": lambda x, y, weight: x + weight * (y - x),
    "addcmul.default": lambda x, y, z, value=1: x + value * (y * z),
    "addcdiv.default": lambda x, y, z, value=1: x + value * (y / z),
    **dict.fromkeys(("bitwise_and.Tensor", "bitwise_and.Scalar", "__and__.Tensor"), jnp.bitwise_and),
    **dict.fromkeys(("bitwise_or.Tensor", "bitwise_or.Scalar", "__or__.Tensor"), jnp.bitwise_or),
    **dict.fromkeys(("bitwise_xor.Tensor", "bitwise_xor.Scalar"), jnp.bitwise_xor),
    "bitwise_not.default": jnp.bitwise_not,
    # Of one array.
    **{
        f"{name}.default": getattr(jnp, name)
        for name in (
            *("abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "exp", "exp2", "expm1", "floor", "log", "log10"),
            *("log1p", "log2", "reciprocal", "round", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc"),
        )
    },
    "neg.default": jnp.negative,
    "rsqrt.default": lax.rsqrt,
    "erf.default": jax.scipy.special.erf,
    "nan_to_num.default": lambda x, nan=0.0, posinf=None, neginf=None: jnp.nan_to_num(
        x, nan=nan or 0.0, posinf=posinf, neginf=neginf
    ),
    # Activation functions.
    "relu.default": jax.nn.relu,
    "relu6.default": jax.nn.relu6,
    "hardtanh.default": _hardtanh,
    "hardswish.default": jax.nn.hard_swish,
    "hardsigmoid.default": jax.nn.hard_sigmoid,
    "sigmoid.default": jax.nn.sigmoid,
    "silu.default": jax.nn.silu,
    "mish.default": jax.nn.mish,
    "gelu.default": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "elu.default": _elu,
    "selu.default": jax.nn.selu,
    "celu.default": lambda x, alpha=1.0: jax.nn.celu(x, alpha),
    "leaky_relu.default": lambda x, slope=0.01: jax.nn.leaky_relu(x, slope),
    "rrelu.default": _rrelu,
    "softplus.default": lambda x, beta=1.0, threshold=20.0: jax.nn.softplus(x * beta) / beta,
    "log_sigmoid.default": jax.nn.log_sigmoid,
    "softsign.default": jax.nn.soft_sign,
    "tanhshrink.default": lambda x: x - jnp.tanh(x),
    "softshrink.default": _softshrink,
    "hardshrink.default": _hardshrink,
    "threshold.default": _threshold,
}

_COMPARISONS: Mapping[str, Callable[..., Array]] = {
    **{
        f"{name}.{overload}": f
        for name, f in {
            "eq": jnp.equal,
            "ne": jnp.not_equal,
            "lt": jnp.less,
            "le": jnp.less_equal,
            "gt": jnp.greater,
            "ge": jnp.greater_equal,
        }.items()
        for overload in ("Tensor", "Scalar")
    },
    "logical_and.default": jnp.logical_and,
    "logical_or.default": jnp.logical_or,
    "logical_xor.default": jnp.logical_xor,
    "logical_not.default": jnp.logical_not,
    "isnan.default": jnp.isnan,
    "isinf.default": jnp.isinf,
}


def common(*operands: Any) -> list[Any]:
    """Operands in the dtype that holds the values of all; numbers stay numbers, a fraction makes integers floats."""
    dtypes = [x.dtype for x in operands if isinstance(x, Laid)]
    dtype = functools.reduce(jnp.promote_types, dtypes)
    if any(isinstance(x, float) for x in operands) and not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.dtype(jnp.float32)
    return [x.to(dtype) if isinstance(x, Laid) else x for x in operands]


def _compared(f: Callable[..., Array]) -> Callable[..., Laid]:
    return lambda *operands: elementwise(f, *common(*operands))


def _where(condition: Laid, x: Any, y: Any) -> Laid:
    if any(isinstance(value, Laid) for value in (x, y)):
        x, y = common(x, y)
    return elementwise(jnp.where, condition, x, y)


def _masked_fill(x: Laid, mask: Laid, value: Any) -> Laid:
    value = value.to(x.dtype) if isinstance(value, Laid) else value
    return elementwise(lambda x, mask, value: jnp.where(mask, value, x), x, mask, value)


def _by_element(f: Callable[..., Array]) -> Callable[..., Laid]:
    return lambda *operands, **options: elementwise(functools.partial(f, **options), *operands)


def _prelu(x: Laid, weight: Laid) -> Laid:
    slope = weight.array.reshape(-1, *(1,) * max(x.ndim - 2, 0)) if x.ndim > 1 else weight.array
    slope = Laid(slope, tuple(range(slope.ndim)))
    return elementwise(lambda x, slope: jnp.where(x > 0, x, slope * x), x, slope)


ARITHMETIC = {f"aten.{name}": _by_element(f) for name, f in _ARITHMETIC.items()}
"""Operations whose operands are first converted to the dtype of the result."""
OTHERS: Mapping[str, Callable[..., Any]] = {
    **{f"aten.{name}": _compared(f) for name, f in _COMPARISONS.items()},
    **{f"aten.where.{kind}": _where for kind in ("self", "ScalarSelf", "ScalarOther", "Scalar")},
    **{f"aten.masked_fill.{kind}": _masked_fill for kind in ("Scalar", "Tensor")},
    **{f"aten.{name}.default": _prelu for name in ("prelu", "_prelu_kernel")},
}
