"""What every model keeps: `(logits, activations)`, pixels in [0, 1] as floats, fields that make sense."""

from collections.abc import Sequence
from typing import Any, get_args

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.errors import InputError
from cnnjax.ops.padding import as_int

Activations = dict[str, Array]
"""Every layer's output by name, in forward order. Inside `jit`, what is not used costs nothing."""


def check_images(images: Array) -> None:
    """Raise `InputError` unless `images` is a float array `(batch, height, width, channels)`."""
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(
            f"images have shape {images.shape}: expected (batch, height, width, channels), none of them empty"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images are {images.dtype}: expected floats in [0, 1]; divide uint8 pixels by 255")


def check_fields(model: nn.Module, *, positive: Sequence[str], widths: Sequence[int] | None = None) -> None:
    """Raise `InputError`, naming the field, unless the `positive` fields and the `widths` are positive integers."""
    kind = type(model).__name__
    if widths is not None and not (isinstance(widths, Sequence) and widths and all(map(_counts, widths))):
        shown = tuple(widths) if isinstance(widths, Sequence) else widths
        raise InputError(f"{kind}: widths={shown!r} must name at least one width, each at least 1 and an integer")
    for name in positive:
        if not _counts(getattr(model, name)):
            raise InputError(f"{kind}: {name}={getattr(model, name)!r} must be at least 1 and an integer")


def _counts(value: Any) -> bool:
    count = as_int(value)
    return count is not None and count >= 1


def check_choice(model: nn.Module, name: str, choices: Any) -> None:
    """Raise `InputError`, naming the field, unless its value is one of a `Literal`'s."""
    value = getattr(model, name)
    if value not in get_args(choices):
        known = ", ".join(map(repr, get_args(choices)))
        raise InputError(f"{type(model).__name__}: unknown {name} {value!r}: one of {known}")
