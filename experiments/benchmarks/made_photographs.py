"""Photographs that are nobody's, in the shape of ImageNet: JPEG files of about 500×375 pixels and 110 kB, by class."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = ((500, 375), (500, 375), (500, 375), (375, 500), (500, 333), (333, 500), (640, 480), (300, 225))
"""Widths and heights, taken in turn: most of ImageNet's are 500 pixels long."""
SCALES = (2, 4, 16, 64)
"""Pixels between the numbers that are drawn, smoothed between, and added up."""
AMPLITUDES = (22, 24, 45, 90)
QUALITY = 90


def make_photographs(folder: Path, images: int, *, classes: int, tests: int) -> Path:
    """Write so many images to train and to test below `folder`, by class in turn, and return it."""
    for split, count in (("train", images), ("val", tests)):
        random = np.random.default_rng(len(split))
        for i in range(count):
            path = folder / split / f"class{i % classes:04d}" / f"{i:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(random, *SIZES[i % len(SIZES)]).save(path, quality=QUALITY)
    return folder


def picture(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Noise of several scales, as natural images have structure at all of them."""
    total = np.full((height, width, 3), 128.0)
    for scale, amplitude in zip(SCALES, AMPLITUDES, strict=True):
        drawn = random.integers(0, 256, (height // scale + 2, width // scale + 2, 3)).astype(np.uint8)
        smooth = Image.fromarray(drawn).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(smooth) - 127.5) * (amplitude / 74)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))
