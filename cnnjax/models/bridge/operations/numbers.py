"""New arrays, and arithmetic on sizes and other numbers of Python's."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnnjax.models.bridge.laid import Laid, plain


def _full(size: Sequence[int], value: Any, **_: Any) -> Laid:
    return plain(np.full(tuple(size), value))


def _like(value: int) -> Callable[..., Laid]:
    return lambda x, *_, **__: Laid(jnp.full_like(x.array, value), x.axes)


def _arange(*ends: Any, **_: Any) -> Laid:
    return plain(np.arange(*ends))


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _size(x: Laid, dim: int) -> int:
    return x.shape[dim]


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "aten.full.default": _full,
    **{f"aten.{name}.default": _like(0) for name in ("zeros_like", "empty_like")},
    "aten.ones_like.default": _like(1),
    "aten.full_like.default": lambda x, value, **_: Laid(jnp.full_like(x.array, value), x.axes),
    **{f"aten.{name}": lambda size, **_: _full(size, 0) for name in ("zeros.default", "empty.memory_format")},
    "aten.ones.default": lambda size, **_: _full(size, 1),
    **{f"aten.{name}.default": lambda x, size, **_: _full(size, 0) for name in ("new_zeros", "new_empty")},
    "aten.new_ones.default": lambda x, size, **_: _full(size, 1),
    "aten.new_full.default": lambda x, size, value, **_: _full(size, value),
    "aten.scalar_tensor.default": lambda value, **_: plain(np.asarray(value)),
    **{f"aten.arange.{kind}": _arange for kind in ("default", "start", "start_step")},
    "aten.linspace.default": lambda first, last, count, **_: plain(np.linspace(first, last, count)),
    "aten.eye.default": lambda n, **_: plain(np.eye(n)),
    "aten.eye.m": lambda n, m, **_: plain(np.eye(n, m)),
    "aten.sym_size.int": _size,
    "aten.sym_numel.default": lambda x: math.prod(x.shape),
    "getitem": operator.getitem,
    **{
        name: getattr(operator, name)
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "pow", "eq", "ne", "lt", "le", "gt")
    },
    "ge": operator.ge,
    "sym_max": max,
    "sym_min": min,
    "sym_float": float,
    "sym_int": int,
    "sym_not": operator.not_,
    "floor": math.floor,
    "ceil": math.ceil,
    # What has effects takes and returns a token of their order first.
    "aten._linalg_check_errors.default": lambda *_, **__: (None, None),
    **dict.fromkeys(
        (
            "aten._assert_scalar.default",
            "aten._assert_tensor_metadata.default",
            "aten.sym_constrain_range_for_size.default",
            "aten.sym_constrain_range.default",
        ),
        _nothing,
    ),
}
"""What is made here takes the dtype of the result afterwards."""
