"""Which images to use, and at what size."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    """Images are resized to this height and width, in pixels (by default the source's own)."""
    canvas: int | None = None
    """Images are then centred on a black square of this height and width (by default the source's own, or none)."""
    train_images: int | None = None
    """Train on the first this many images of a fixed order that mixes the classes (by default all)."""
    test_images: int | None = None
    """Test on the first this many images of a fixed order that mixes the classes (by default all)."""


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
    if not isinstance(config.name, str):
        raise InputError(f"data.name is {config.name!r}; it must be text, such as digits")
    if not isinstance(config.data_dir, (str, Path, type(None))):
        raise InputError(f"data.data_dir is {config.data_dir!r}; it must be a path")
