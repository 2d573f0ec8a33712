"""A sweep of a second: perceptrons on noise."""

import numpy as np

from cnnjax import models
from cnnjax.data import Augmentation, Dataset
from cnnjax.data.dataset import Split
from cnnjax.sweep.cell import CellPlan
from cnnjax.training import TrainConfig

MODEL = models.MLP(num_classes=3, widths=(8,))
TRAIN = TrainConfig(epochs=2, batch_size=20, learning_rate=0.05)


def dataset() -> Dataset:
    """Sixty training and twelve test images of 6×6 pixels."""
    random = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = random.integers(0, 256, (count, 6, 6, 1), np.uint8)
        return Split(images, (np.arange(count) % 3).astype(np.int32))

    return Dataset("noise", split(60), split(12), ("a", "b", "c"), (0.5,), (0.3,), 0, "noise")


def plan(name: str, rate: float = 0.05, **fields) -> CellPlan:
    """A cell of its own learning rate."""
    train = TrainConfig(epochs=2, batch_size=20, learning_rate=rate)
    return CellPlan(name, MODEL, train, Augmentation(crop=1), **fields)
