"""A problem small enough to train in a second."""

import jax
import numpy as np
import pytest

from cnnjax import models
from cnnjax.data import Augmentation, apply_augmentation
from cnnjax.training import StepSpec


@pytest.fixture(scope="session")
def problem():
    """Ninety 8×8 images of two classes: bright above or bright below."""
    random = np.random.default_rng(0)
    labels = np.arange(90, dtype=np.int32) % 2
    images = random.integers(0, 80, (90, 8, 8, 1), np.uint8)
    images[labels == 0, :4] += 100
    images[labels == 1, 4:] += 100
    return images, labels


@pytest.fixture(scope="session")
def spec():
    """A one-stage network with batch normalisation."""
    model = models.AllConv(num_classes=2, widths=(4,), depth=1, head_width=4)
    return StepSpec(model, "sgd", 30, apply_augmentation)


@pytest.fixture(scope="session")
def strengths():
    """One pixel of crop and a little rotation, so that randomness is at work."""
    return Augmentation(crop=1, rotation=10.0, flip=0.5).as_arrays()


def assert_equal(a, b):
    """The same pytree, bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, a, b)
