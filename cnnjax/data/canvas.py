"""Images in the middle of a larger black square."""

import numpy as np

from cnnjax.data.sources.source import check_memory
from cnnjax.errors import InputError


def check_canvas(canvas: int, side: int, max_shift: int) -> None:
    """Raise `InputError` unless an image of `side` pixels stays on the canvas under every shift up to `max_shift`."""
    needed = side + 2 * max_shift
    if canvas < needed:
        shifts = f" shifted by up to {max_shift} on either side" if max_shift else ""
        smaller = f", or shift by at most {(canvas - side) // 2}" if canvas >= side and max_shift else ""
        raise InputError(
            f"a canvas of {canvas} pixels is too small for images of {side} pixels{shifts}; "
            f"use data.canvas {needed} or more{smaller}"
        )


def center(images: np.ndarray, canvas: int) -> np.ndarray:
    """Place images (n, height, width, channels) in the middle of black images (n, canvas, canvas, channels).

    Raises `InputError` where memory cannot hold them.
    """
    count, height, width, channels = images.shape
    if (height, width) == (canvas, canvas):
        return images
    check_memory(count, canvas, channels)
    placed = np.zeros((count, canvas, canvas, channels), images.dtype)
    top, left = (canvas - height) // 2, (canvas - width) // 2
    placed[:, top : top + height, left : left + width] = images
    return placed
