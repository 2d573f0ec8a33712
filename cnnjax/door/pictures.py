"""What the functions of photographs take for an image and for a mask; all else is refused at the door."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from cnnjax.errors import InputError

# Positions are of 32 bits; twice the pixels still are, for what searches in blocks.
_MOST_PIXELS = 2**30


def checked_image(name: str, image: Any) -> Any:
    """Return an image as `with_channels` does; InputError for what it and `check_unit_range` refuse."""
    whole = with_channels(name, image)
    check_unit_range(name, whole)
    return whole


def with_channels(name: str, image: Any) -> Any:
    """Return an image as (height, width, channels), a grey one of (height, width) with one channel.

    Raises InputError for another rank, no pixel, and values that are not floats.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"{name} has shape {image.shape}; give an image (height, width, channels), or (height, width) if grey"
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(f"{name} has dtype {image.dtype}; give floats in [0, 1]: divide uint8 pixels by 255")
    return image if image.ndim == 3 else image[:, :, None]


def check_unit_range(name: str, values: Any) -> None:
    """Raise InputError for values that are not finite or outside [0, 1]; traced ones are not known yet."""
    if isinstance(values, Tracer) or values.size == 0:
        return
    known = np.asarray(values)
    if not np.isfinite(known).all():
        raise InputError(f"{name} must be finite; it contains NaN or infinity: repair or drop it")
    least, most = known.min(), known.max()
    if least < 0 or most > 1:
        raise InputError(
            f"{name} has values from {least:.4g} to {most:.4g}, outside [0, 1]: divide pixels by 255, or clip them"
        )


def checked_mask(mask: Any, size: tuple[int, ...]) -> Any:
    """Return a mask of an image of that (height, width) as booleans, given such, 0 and 1, or 0 and 255 as in files.

    Raises InputError for other values, another size, and a traced mask that is not boolean.
    """
    if mask.shape != size:
        sides = "×".join(map(str, mask.shape))
        raise InputError(f"mask is {sides} pixels, but the image is {size[0]}×{size[1]}; they must agree")
    if mask.dtype == bool:
        return mask
    if isinstance(mask, Tracer):
        raise InputError(f"mask has dtype {mask.dtype}; inside jit give booleans")
    values = np.asarray(mask)
    if not (np.isin(values, (0, 1)).all() or np.isin(values, (0, 255)).all()):
        raise InputError(
            f"mask has values from {values.min():.4g} to {values.max():.4g}; give booleans, 0 and 1, or 0 and 255"
        )
    return values != 0


def check_positions(name: str, size: tuple[int, ...]) -> None:
    """Raise InputError for an image of so many pixels that counting them could overflow."""
    if size[0] * size[1] > _MOST_PIXELS:
        raise InputError(
            f"{name} is {size[0]}×{size[1]} pixels, which are too many to count; at most {_MOST_PIXELS}: give a part "
            "or a smaller copy of it"
        )
