"""The three networks of Cohen & Welling 2016, section 8.1: one stack of seven convolutions, which turns or does not."""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError
from cnnjax.layers import standardize
from cnnjax.layers.block import Block, ConvBlock
from cnnjax.models.contract import Activations, check_images

CONVOLUTIONS = 6
"""Before the last one."""

POOLED_AFTER = 2
"""The convolution after which maps are halved."""


class SevenConvolutions(Block, kw_only=True):
    """Six convolutions of 3×3 with a maximum pool of 2×2 after the second, then one that reads the whole map.

    Nothing pads, so a map of 28 pixels ends at 4, which the last convolution reads whole: one score for each class and,
    with a `group`, for each orientation, of which the maximum is the class's. Batch normalisation and a rectifier
    follow the others; where `dropout` is not 0, it follows the first and the third to sixth, as in the authors' code.

    With `pooled`, which needs a `group`, the maximum over orientations is taken after every layer: maps are images
    again, which turn with the image, and no layer knows at which angle another found its pattern.

    Activations: `conv1` to `conv6`, behind their pools; `class_maps`, `logits`. Images are
    `(batch, height, width, channels)` in [0, 1]. Raises `InputError` for images under 22 pixels, for ones that are not
    square, and where an odd map would have to be halved with a `group`.
    """

    num_classes: Positive
    width: Positive = 20
    """Channels of each map; with a group and not `pooled`, in each orientation."""
    pooled: bool = False
    dropout: float | int = 0.0
    """Probability that a number of a map is zero in training."""
    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.25,)

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        check_images(images)
        _, height, width, _ = images.shape
        if height != width or height < 22:
            raise InputError(f"images are {height}×{width} pixels: seven convolutions need squares of 22 at least")
        if self.pooled and self.group is None:
            raise InputError("pooled=True has no meaning without a group: give group='p4'")
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        for layer in range(1, CONVOLUTIONS + 1):
            factor = 2 if layer == POOLED_AFTER else 1
            x = ConvBlock(self.width, 3, factor=factor, **self.shared(), name=f"conv{layer}")(x, train=train)
            # The maximum over orientations of the maximum over places: their order is indifferent.
            x = ops.group_pool(x) if self.pooled else x
            if layer != POOLED_AFTER:
                x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{layer}")(x)
            activations[f"conv{layer}"] = x
        maps = self.convolved(x, self.num_classes, x.shape[1], name="class_maps", use_bias=True)
        maps = maps if self.group is None else ops.group_pool(maps)
        activations["class_maps"] = maps
        logits = activations["logits"] = maps[:, 0, 0]
        return logits, activations
