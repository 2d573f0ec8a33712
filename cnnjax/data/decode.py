"""Encoded images to arrays of pixels, with Pillow."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.data.framing import AS_IT_IS, Framing
from cnnjax.data.pixels import GREY_MODES, full_scale, to_pixels
from cnnjax.data.require import require
from cnnjax.errors import InputError
from cnnjax.files import open_file, printable
from cnnjax.reporting import Report, silent

REPORT_EVERY = 500
"""Images decoded between two reports of progress."""

FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are read, by what a file holds. Left to itself Pillow tries all it knows, whatever the file's name,
and for one of them starts a program, Ghostscript."""

_ORIENTATION = 0x0112  # the EXIF tag in which a camera notes how it was held
_QUARTER_TURNED = (5, 6, 7, 8)  # other values, and those of another type, turn nothing
_WIDTH, _HEIGHT = 256, 257  # tags of a TIFF


def decode(
    encoded: Iterable[tuple[str, Path | bytes]],
    count: int,
    *,
    channels: int,
    framing: Framing = AS_IT_IS,
    what: str,
    progress: Report = silent,
) -> np.ndarray:
    """Decode `count` named images, files or encoded bytes, to uint8 (count, height, width, channels).

    What `framing` makes of them must agree in size; `channels` is 1 (grey) or 3. Raises `InputError` naming an image
    that cannot be read, whose values have no known range or whose size is another.
    """
    images: np.ndarray | None = None
    for index, (name, data) in enumerate(encoded):
        pixels = decode_one(name, data, channels, framing)
        if images is None:
            images = np.empty((count, *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise differing_sizes(name, pixels.shape[:2], images.shape[1:3])
        images[index] = pixels
        if (index + 1) % REPORT_EVERY == 0 or index + 1 == count:
            progress(index + 1, count, what)
    if images is None:
        raise InputError(f"{what}: there are no images")
    return images


def decode_one(name: str, data: Path | bytes, channels: int, framing: Framing) -> np.ndarray:
    """Decode one image, a file or encoded bytes, to uint8 (height, width, channels); raises `InputError` naming it."""
    with _opened(name, data) as image:
        scale = full_scale(image)
        upright = _upright(image) if isinstance(data, Path) else image
        return to_pixels(upright, channels, framing, scale)


def look(path: Path) -> tuple[tuple[int, int], bool]:
    """Return an image file's (height, width), once upright, and whether it is in colour, from its header only.

    Raises `InputError` naming a file that is no image, or whose values have no known range.
    """
    with _opened(printable(path), path) as image:
        full_scale(image)
        width, height = image.size
        if tags := getattr(image, "tag_v2", None):
            # Pillow exchanges a TIFF's sides when it opens it.
            width, height = tags[_WIDTH], tags[_HEIGHT]
        turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNED
        return (width, height) if turned else (height, width), image.mode not in GREY_MODES


def differing_sizes(name: str, size: tuple[int, ...], first: tuple[int, ...]) -> InputError:
    """Return the error for an image whose (height, width) is not that of the first."""
    return InputError(
        f"{name} is {size[0]}×{size[1]} pixels, but the first image is {first[0]}×{first[1]}; "
        "give data.size to resize all images to one size"
    )


@contextmanager
def _opened(name: str, data: Path | bytes) -> Iterator[Any]:
    """An image of Pillow's; what goes wrong in reading it becomes an `InputError` with its name."""
    pillow = require("PIL.Image", purpose="decoding images", install="pillow")
    # What Pillow raises for files that are damaged, of another kind, or too large to be meant.
    errors = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError)
    errors += (struct.error, zlib.error, pillow.DecompressionBombError)
    try:
        with (
            BytesIO(data) if isinstance(data, bytes) else open_file(data) as file,
            pillow.open(file, formats=FORMATS) as image,
        ):
            yield image
    except InputError as error:
        raise InputError(f"the image {name} {error}") from error
    except pillow.UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise InputError(f"the image {name} cannot be read (it is not one of {kinds}); mend or remove it") from error
    except errors as error:
        raise InputError(f"the image {name} cannot be read ({error}); mend or remove it") from error


def _upright(image: Any) -> Any:
    return require("PIL.ImageOps", purpose="decoding images", install="pillow").exif_transpose(image)
