"""How an image of any shape comes to one of a given size: its middle, stretched, or a random part of it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from cnnjax.data.require import require

Fit = Literal["cover", "center", "stretch"]

Framing = Callable[[Any], Any]
"""From an opened image of Pillow's, upright and in its final mode, to what is seen of it."""

TRIES = 10
"""Random parts that are drawn at most before the middle is taken."""
DRAWS = 2 * TRIES + 2
"""Numbers in [0, 1) that a random part is made of."""
RATIOS = (3 / 4, 4 / 3)
"""The least and the largest width over height of a random part."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """An image as it is tested: of `size`×`size` pixels, or of its own for None.

    "cover" resizes its shorter side to `size`, bicubic, and takes the middle: as much as a square can have of it, in
    its own proportions. "center" resizes its shorter side to 8/7 of `size`, bilinear, and takes the middle: 256 and 224
    pixels in Krizhevsky et al. 2012 and after, and as torchvision's weights were tested. "stretch" resizes it whatever
    its proportions, bicubic. Of square images "cover" and "stretch" make the same.
    """

    size: int | None
    fit: Fit = "cover"

    def __str__(self) -> str:
        if self.size is None:
            return ""
        size = f"{self.size}×{self.size}"
        if self.fit == "stretch":
            return f", stretched to {size}"
        return f", the shorter side resized to {self._short} and of that the middle {size}"

    @property
    def _short(self) -> int:
        """What the shorter side is resized to before the middle is taken."""
        assert self.size is not None
        return round(self.size * 8 / 7) if self.fit == "center" else self.size

    def __call__(self, image: Any) -> Any:
        resampling = require("PIL.Image", purpose="decoding images", install="pillow").Resampling
        if self.size is None or (self.fit != "center" and image.size == (self.size, self.size)):
            return image
        if self.fit == "stretch":
            return image.resize((self.size, self.size), resampling.BICUBIC)
        width, height = (self._short * side // min(image.size) for side in image.size)
        left, top = (round((side - self.size) / 2) for side in (width, height))
        image = image.resize((width, height), resampling.BILINEAR if self.fit == "center" else resampling.BICUBIC)
        return image.crop((left, top, left + self.size, top + self.size))


AS_IT_IS = Whole(None)


@dataclasses.dataclass(frozen=True)
class Part:
    """A random part of an image (see `part_of`), resized to `size`×`size`, bilinear, smoothed where it shrinks."""

    size: int
    least: float
    draws: np.ndarray

    def __call__(self, image: Any) -> Any:
        resampling = require("PIL.Image", purpose="decoding images", install="pillow").Resampling
        left, top, width, height = part_of(self.draws, *image.size, least=self.least)
        # Cut before it is resized, so that nothing outside of it is smoothed in.
        part = image.crop((left, top, left + width, top + height))
        return part.resize((self.size, self.size), resampling.BILINEAR)


def part_of(draws: np.ndarray, width: int, height: int, *, least: float) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a random part of an image, in whole pixels.

    Its share of the area is uniform in [least, 1], the logarithm of its width over height uniform between those of
    `RATIOS`, its place uniform among those within the image. A part that does not fit is drawn again, 10 times at
    most; then it is the largest in the middle whose proportions `RATIOS` allow (Szegedy et al. 2015, section 6, as
    torchvision does it). `draws` are `DRAWS` numbers in [0, 1).
    """
    low, high = map(math.log, RATIOS)
    for share, shape in draws[:-2].reshape(TRIES, 2):
        area, ratio = width * height * (least + (1 - least) * share), math.exp(low + (high - low) * shape)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(draws[-2] * (width - w + 1)), int(draws[-1] * (height - h + 1)), w, h
    w, h = min(width, round(height * RATIOS[1])), min(height, round(width / RATIOS[0]))
    return (width - w) // 2, (height - h) // 2, w, h


def draws_of(*numbers: int) -> np.ndarray:
    """`DRAWS` numbers in [0, 1), float64, that follow from these numbers alone, on every platform and version.

    NumPy promises that of its seed sequences, not of its generators.
    """
    words = np.random.SeedSequence(numbers).generate_state(DRAWS, np.uint64)
    return (words >> np.uint64(11)) * 2.0**-53
