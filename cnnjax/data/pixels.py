"""An image of any of Pillow's modes as pixels of 8 bits."""

from typing import Any, NamedTuple

import numpy as np

from cnnjax.data.framing import Framing
from cnnjax.data.require import require
from cnnjax.errors import InputError

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of a TIFF
_WHITE_IS_ZERO = 0


class Scale(NamedTuple):
    """What white is among grey levels of more than 8 bits, and whether they count from white."""

    white: int
    inverted: bool


def full_scale(image: Any) -> Scale | None:
    """Return the scale of an opened image's grey levels, None where they have the 8 bits of all other modes.

    Raises `InputError` for levels whose range its format does not say.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        (bits, *_) = tags.get(_BITS_PER_SAMPLE, (16,))
        return Scale(2**bits - 1, tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return Scale(65535, inverted=False)
    if image.mode in ("I", "F"):
        kind = "floating-point numbers" if image.mode == "F" else "signed integers or such of 32 bits"
        raise InputError(f"holds {kind}, of which none is known to be white; save it with 8 or 16 bits, unsigned")
    return None


def to_pixels(image: Any, channels: int, framing: Framing, scale: Scale | None) -> np.ndarray:
    """Return what `framing` makes of a Pillow image as uint8 (height, width, channels).

    Transparency is laid over black. `scale` is `full_scale` of the image when it was opened.
    """
    pillow = require("PIL.Image", purpose="decoding images", install="pillow")
    if scale is not None:
        image = pillow.fromarray(_eight_bits(image, scale))
    if image.mode in ("La", "RGBa"):
        # Colours that were multiplied by their opacity lie over black already.
        bands = image.split()[:-1]
        image = pillow.merge("RGB", bands) if len(bands) == 3 else bands[0]
    elif "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if channels == 3 or image.mode not in GREY_MODES:
        image = image.convert("RGB")
    if channels == 1:
        image = image.convert("L")
    pixels = np.asarray(framing(image))
    return pixels[..., None] if channels == 1 else pixels


def _eight_bits(image: Any, scale: Scale) -> np.ndarray:
    """Grey levels scaled, where Pillow's own conversion clips or cuts off bits."""
    levels = np.asarray(image).astype(np.float64)
    seen = levels != image.info.get("transparency", -1)
    shares = np.clip(levels / scale.white, 0, 1)
    return np.round(255 * np.where(seen, 1 - shares if scale.inverted else shares, 0)).astype(np.uint8)
