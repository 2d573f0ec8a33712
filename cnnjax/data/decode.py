"""Encoded images to arrays of pixels, with Pillow."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.data.require import require
from cnnjax.data.sources.source import Progress
from cnnjax.errors import InputError

REPORT_EVERY = 500
"""Images decoded between two reports of progress."""

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")

ORIENTATION = 0x0112
"""The EXIF tag in which a camera notes how it was held; 5 and above are turned by a quarter."""


def decode(
    encoded: Iterable[tuple[str, Path | bytes]],
    count: int,
    *,
    channels: int,
    size: int | None,
    what: str,
    progress: Progress | None,
) -> np.ndarray:
    """Decode `count` named images, files or encoded bytes, to uint8 (count, height, width, channels).

    Images are resized to `size`×`size` when it is given, and else must agree in size; `channels` is 1 (grey) or 3.
    Raises `InputError` naming an image that cannot be read or whose size is another.
    """
    images: np.ndarray | None = None
    for index, (name, data) in enumerate(encoded):
        try:
            with _open(data) as image:
                pixels = to_pixels(_upright(image) if isinstance(data, Path) else image, channels, size)
        except _errors() as error:
            raise _unreadable(name, error) from error
        if images is None:
            images = np.empty((count, *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise differing_sizes(name, pixels.shape[:2], images.shape[1:3])
        images[index] = pixels
        if progress is not None and ((index + 1) % REPORT_EVERY == 0 or index + 1 == count):
            progress(what, index + 1, count)
    if images is None:
        raise InputError(f"{what}: there are no images")
    return images


def look(path: Path) -> tuple[tuple[int, int], bool]:
    """Return an image file's (height, width), once upright, and whether it is in colour, from its header alone.

    Raises `InputError` naming a file that is no image.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            return (width, height) if turned else (height, width), image.mode not in GREY_MODES
    except _errors() as error:
        raise _unreadable(str(path), error) from error


def to_pixels(image: Any, channels: int, size: int | None) -> np.ndarray:
    """Return a Pillow image of any mode as uint8 (height, width, channels), transparency over black."""
    pillow = _pillow()
    if image.mode.startswith("I"):
        # Sixteen bits of grey, which Pillow's own conversion clips where it should scale.
        levels = np.asarray(image).astype(np.float32) / 257
        image = pillow.fromarray(np.clip(np.round(levels), 0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, (0, 0, 0, 255)), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), pillow.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[..., None] if channels == 1 else pixels


def differing_sizes(name: str, size: tuple[int, ...], first: tuple[int, ...]) -> InputError:
    """Return the error for an image whose (height, width) is not that of the first."""
    return InputError(
        f"{name} is {size[0]}×{size[1]} pixels, but the first image is {first[0]}×{first[1]}; "
        "give data.size to resize all images to one size"
    )


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(f"the image {name} cannot be read ({error}); mend or remove it")


def _pillow() -> Any:
    return require("PIL.Image", purpose="decoding images", install="pillow")


def _open(data: Path | bytes) -> Any:
    return _pillow().open(BytesIO(data) if isinstance(data, bytes) else data)


def _upright(image: Any) -> Any:
    return require("PIL.ImageOps", purpose="decoding images", install="pillow").exif_transpose(image)


def _errors() -> tuple[type[Exception], ...]:
    """Return what Pillow raises for files that are damaged, of another kind, or too large to be meant."""
    return (OSError, SyntaxError, ValueError, EOFError, _pillow().DecompressionBombError)
