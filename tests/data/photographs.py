"""Folders of small photographs that are nobody's: smooth noise of many sizes, by class."""

import numpy as np
from PIL import Image


def photographs(folder, count, *, classes=("cat", "dog"), sizes=((40, 30), (25, 37), (31, 31), (64, 20)), mode="RGB"):
    """Write `count` images of each class as PNG files, (width, height) going round in `sizes`, and return `folder`."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3)).astype(np.uint8))
            picture = coarse.resize(sizes[i % len(sizes)], Image.Resampling.BICUBIC)
            picture.convert(mode).save(folder / name / f"{i:03d}.png")
    return folder
