"""Which images to use, and at what size."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from cnnjax.data.framing import Fit
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError

EMBEDDED = ("digits", "shapes", "coloured_shapes", "textured_shapes", "folder")
"""Names that need no tensorflow-datasets."""

MOST_PIXELS = 2**14
"""Height and width of an image: one of them takes 768 MB then."""


@dataclass(frozen=True)
class DataConfig:
    """Which images to use, and at what size."""

    name: str = "digits"
    """digits, shapes, coloured_shapes, textured_shapes, folder, or a dataset of tensorflow-datasets (mnist, ...)."""
    data_dir: Path | None = None
    """Where tensorflow-datasets lie (by default its own place), or, for folder, the directory of class folders."""
    size: int | None = None
    """Images come to this height and width, in pixels, as `fit` says (by default the source's own)."""
    canvas: int | None = None
    """Images are then centred on a black square of this height and width (by default the source's own, or none)."""
    train_images: int | None = None
    """Train on the first this many images of a fixed order that mixes the classes (by default all)."""
    test_images: int | None = None
    """Test on the first this many images of a fixed order that mixes the classes (by default all)."""
    fit: Fit = "cover"
    """How images come to `size`: cover, the middle once the shorter side is resized to it; center, to 8/7 of it, as
    weights from elsewhere were tested; stretch, resized whatever their proportions."""
    crop_area: float | None = None
    """Train on random parts with at least this share of an image's area, resized to `size`, anew in each epoch."""
    memory: float | None = None
    """Gigabytes of images to decode once and keep; more are decoded in each epoch (by default half of the memory)."""
    workers: int | None = None
    """Processes that decode in each epoch; 0: threads (by default one for each core; on a CPU, which trains, 0)."""


def validate(config: DataConfig) -> None:
    """Raise `InputError` for a number that is no count of pixels or images, a name that is no text, no path."""
    for field in ("size", "canvas", "train_images", "test_images"):
        value = getattr(config, field)
        if value is None:
            continue
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise InputError(f"data.{field} is {value!r}; it must be a whole number, or left out for the default")
        if value < 1:
            raise InputError(f"data.{field} is {value}; it must be at least 1, or left out for the default")
        if field in ("size", "canvas") and value > MOST_PIXELS:
            raise InputError(f"data.{field} is {value}; it must be at most {MOST_PIXELS:,} pixels")
    _check_streaming(config)
    if not isinstance(config.name, str):
        raise InputError(f"data.name is {config.name!r}; it must be text, such as digits")
    if not isinstance(config.data_dir, (str, Path, type(None))):
        raise InputError(f"data.data_dir is {config.data_dir!r}; it must be a path")


def _check_streaming(config: DataConfig) -> None:
    check_choice("data.fit", config.fit, get_args(Fit))
    for field, least, most in (("crop_area", 1e-3, 1), ("memory", 0, 1e6), ("workers", 0, 1024)):
        value = getattr(config, field)
        number = isinstance(value, int if field == "workers" else (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and least <= value <= most):
            whole = "a whole number" if field == "workers" else "a number"
            raise InputError(f"data.{field} is {value!r}; it must be {whole} from {least:g} to {most:g}, or left out")
    for field, given in (("fit", config.fit == "center"), ("crop_area", config.crop_area is not None)):
        if given and config.size is None:
            raise InputError(f"data.{field} is {getattr(config, field)}; give data.size, to which images then come")
