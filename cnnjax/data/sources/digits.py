"""The 1,797 real handwritten digits that scikit-learn carries: 8×8 pixels, 17 grey levels."""

import numpy as np

from cnnjax.data.config import DataConfig
from cnnjax.data.require import require
from cnnjax.data.sources.source import Arrays, Source, choose, every
from cnnjax.reporting import Report

SIZE = 20
CANVAS = 32
TEST_EVERY = 6


def open_source(config: DataConfig) -> Source:
    """Describe the digits, enlarged to 20×20 (or `config.size`) on a 32×32 canvas.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test set).
    Raises `InputError` when scikit-learn or Pillow is missing, or more images are asked for than there are.
    """
    datasets = require("sklearn.datasets", purpose='the dataset "digits"', install="scikit-learn")
    require("PIL.Image", purpose='the dataset "digits"', install="pillow")
    stored = datasets.load_digits()
    size = config.size or SIZE
    split_indices = every(TEST_EVERY, stored.target)
    train = choose(split_indices[0], config.train_images, split="train", name="digits")
    test = choose(split_indices[1], config.test_images, split="test", name="digits")

    def read(progress: Report) -> Arrays:
        images = enlarge(stored.images, size)
        labels = stored.target.astype(np.int32)
        return {
            "train_images": images[train],
            "train_labels": labels[train],
            "test_images": images[test],
            "test_labels": labels[test],
        }

    note = (
        f"scikit-learn digits (UCI, 8×8 pixels and a border of one) enlarged to {size}×{size}; "
        f"{len(train):,} images to train, "
        f"{len(test):,} to test: every {TEST_EVERY}th image of each class in stored order is for test, "
        "so the same writers are in both"
    )
    return Source(tuple(str(digit) for digit in range(10)), size, CANVAS, note, read)


def enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Enlarge (n, 8, 8) grey levels in 0..16 to (n, size, size, 1) in 0..255 by bicubic interpolation.

    A black pixel is added on every side first: strokes fill the stored 8×8 pixels to the edge, and would else be cut
    off sharply there, which no rotated digit should show.
    """
    from PIL import Image

    padded = np.pad(images * (255 / 16), ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    resized = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in padded]
    # Bicubic interpolation overshoots at edges.
    return np.clip(np.round(np.stack(resized)), 0, 255).astype(np.uint8)[..., None]
