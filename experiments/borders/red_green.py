"""The Red-Green images of Kayhan & van Gemert (2020, section 4.2), and the network that they are shown to.

Two squares of 4 pixels on black: of class 0 red is left of green, of class 1 green is left of red. In training, class 0
lies in the upper half of the image and class 1 in the lower, so place tells the classes apart as well as order does.
"""

import dataclasses
import itertools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax.analysis import ReceptiveField
from cnnjax.data import Dataset, Split
from cnnjax.layers import Conv
from cnnjax.models.contract import Activations, check_images
from cnnjax.ops import Padding

SIDE, SQUARE, MOVE = 32, 4, 16
"""Side of the images and of the squares, and how far below class 0 class 1 lies, in pixels."""
LEFT, APART, ROWS = 10, 5, (3, 11)
"""The left square begins in a column below LEFT, the right one at least APART further; both in class 0's ROWS."""


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Where the squares of some images of class 0 begin: rows and columns (n, 2), the left square first."""

    rows: np.ndarray
    columns: np.ndarray


def draw_scenes(count: int, seed: int) -> Scenes:
    """Uniform rows and left columns, then uniform columns of the right square from APART on to the border."""
    random = np.random.default_rng(seed)
    left = random.integers(0, LEFT, count)
    right = random.integers(left + APART, SIDE - SQUARE)
    return Scenes(random.integers(*ROWS, (count, 2)), np.stack([left, right], axis=1))


def render(scenes: Scenes, labels: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Images uint8 (n, 32, 32, 3) of the scenes with the colours of their `labels`, lowered by 16 rows where `low`."""
    images = np.zeros((len(labels), SIDE, SIDE, 3), np.uint8)
    for index, (rows, columns, label) in enumerate(zip(scenes.rows, scenes.columns, labels, strict=True)):
        for channel, row, column in zip((label, 1 - label), rows + MOVE * low[index], columns, strict=True):
            images[index, row : row + SQUARE, column : column + SQUARE, channel] = 255
    return images


def red_green(train_images: int, test_images: int) -> Dataset:
    """The classes in turn. The test images are four sets of `test_images` each, in the order of `TEST_SETS`."""
    scenes = draw_scenes(train_images, seed=0)
    labels = np.arange(train_images) % 2
    few = Scenes(scenes.rows[:test_images], scenes.columns[:test_images])
    fresh, test_labels = draw_scenes(test_images, seed=1), np.arange(test_images) % 2
    test = [render(what, test_labels, place) for what in (few, fresh) for place in (test_labels, 1 - test_labels)]
    return Dataset(
        name="red-green",
        train=Split(render(scenes, labels, labels), labels.astype(np.int32)),
        test=Split(np.concatenate(test), np.tile(test_labels, 4).astype(np.int32)),
        class_names=("red left of green", "green left of red"),
        mean=(0.0,),
        std=(1.0,),
        margin=0,
        note=f"{train_images:,} images of 32×32 pixels to train",
    )


TEST_SETS = ("seen.similar", "seen.dissimilar", "new.similar", "new.dissimilar")
"""The first training images as they are and 16 rows up or down, where only the other class lay; the same of new ones.

The published accuracies are of the first two: the published program seeds the generator of training and of test images
alike.
"""


class RedGreenNet(nn.Module):
    """Four 3×3 convolutions with strides 1, 2, 2, 2 and rectifiers, the maximum over the map, a dense layer.

    Without biases and with pixels as they are, black stays 0 through all layers: a border shows only where it cuts off
    what a square would have caused. Weights and activations as `cnnjax.models`; initialised uniformly within
    ±1/√(fan in), as the published network.
    """

    padding: Padding
    widths: tuple[int, ...] = (32, 32, 64, 64)
    num_classes: int = 2

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        check_images(images)
        uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        activations: Activations = {}
        x = images
        for layer, width in enumerate(self.widths, 1):
            name, strides = f"conv{layer}", 1 if layer == 1 else 2
            conv = Conv(width, strides=strides, padding=self.padding, use_bias=False, kernel_init=uniform, name=name)
            x = activations[name] = nn.relu(conv(x))
        x = activations["pool"] = jnp.max(x, axis=(1, 2))
        logits = activations["logits"] = nn.Dense(self.num_classes, kernel_init=uniform, name="logits")(x)
        return logits, activations


def ceiling(field: ReceptiveField) -> float:
    """The share of new images that a network can get right at most if it cannot tell where a unit lies, exactly.

    `field` is that of its last map, of which it may know all that any unit sees, but not which unit. An image whose
    squares no unit sees together is one red and one green square, each at some offset from the units' fields: what is
    left to go by is that the left square and the right one have them with unlike chances.
    """
    size, stride, padding, units = (int(value[0]) for value in (field.size, field.stride, field.padding, field.units))
    starts = np.arange(units) * stride - padding
    # (units, positions): does the field overlap a square that begins there?
    seen = np.less(starts[:, None], np.arange(SIDE) + SQUARE) & np.less(np.arange(SIDE), starts[:, None] + size)
    both: np.ndarray = np.any(seen[:, :, None] & seen[:, None, :], axis=0)
    right = 0.0
    unseen: dict[tuple[int, ...], float] = {}
    for left, first, second in itertools.product(range(LEFT), range(*ROWS), range(*ROWS)):
        columns = range(left + APART, SIDE - SQUARE)
        share = 1 / (LEFT * len(columns) * len(range(*ROWS)) ** 2)
        for column in columns:
            if both[left, column] and both[first, second]:
                right += share
            else:
                offsets = tuple(int(place) % stride for place in (left, first, column, second))
                unseen[offsets] = unseen.get(offsets, 0.0) + share
    # Seen is a red square at one pair of offsets and a green one at another: either may be the left one.
    for offsets in {key for a in unseen for key in (a, a[2:] + a[:2])}:
        right += max(unseen.get(offsets, 0.0), unseen.get(offsets[2:] + offsets[:2], 0.0)) / 2
    return right
