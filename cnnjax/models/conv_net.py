"""What convolutional networks share: the axes of their design as fields, and the way from pixels to class scores."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.door.limits import Positive, Widths
from cnnjax.errors import InputError
from cnnjax.layers import Downsample, standardize
from cnnjax.layers.block import Block, ConvBlock
from cnnjax.models.blocks import run_block
from cnnjax.models.contract import Activations, check_images
from cnnjax.models.head import Head, class_scores
from cnnjax.ops.groups import find_group

Stem = Literal["none", "3x3", "7x7", "7x7_strided"]


class ConvNet(Block, kw_only=True):
    """Pixels standardised, a stem, stages of convolutions or blocks (`body`, of a subclass), a head.

    Of its fields, which every convolutional network has, some need more words:

    - `stem`: "3x3" is one convolution, for small images; "7x7" shrinks the map by 2 with a convolution of that size,
      then again by pooling over 3×3 windows (He et al. 2016, table 1): their maximum where `downsample` is "stride" or
      a polyphase pool, anti-aliased where it is "blur", otherwise as `downsample` says. "7x7_strided" is Zhang's: that
      convolution always has a stride of 2, and what `downsample` names follows the maximum over windows of 2×2 at
      stride 1, which do not pad where `padding` is "same".
    - `head`: "average", "dense" or "convolutional" (`class_scores`).
    - `group`: "p4" or "p4m" make all convolutions group convolutions, whose maps turn with the image, and p4m's are
      mirrored with it. The head reads the maximum over orientations, so logits do not change at all. `exact=False`
      accepts sizes (and a dense head) that break this, `exact` raises for them: with windows that overlap, a stride
      of 2 needs odd maps; pools of 2×2 need even ones.
    - `match`: with a group, features of each orientation are "parameters": width / √|G|, rounded, for about as many
      parameters as without (Cohen & Welling 2016, section 8.2); "width": width / |G|, rounded, for as many channels in
      all, so about as many multiply-adds and 1 / |G| of the parameters.

    Images are `(batch, height, width, channels)` in [0, 1]. A call gives `(logits, activations)`, activations in
    forward order: `conv1` (`pool1`) of the stem, those of the stages, `group_pool` with a group, those of the head.
    Raises `InputError`, naming the field or the layer and its sizes, for what cannot be built.
    """

    num_classes: Positive
    """Scores, one for each class."""
    widths: Widths
    """Channels of each stage."""
    depth: Positive | Widths
    """Convolutions or blocks in a stage: one number for all, or one for each."""
    factors: Widths | None = None
    """By how much each stage shrinks its map along each axis; 1 leaves it. None: as the network's paper."""
    kernel_size: Positive = 3
    """Side of the stages' convolutions, in pixels, where they are not 1×1 by design."""
    stem: Stem = "none"
    """What comes before the stages; those of 7×7 shrink the map by 4."""
    head: Head = "average"
    """From the last map to class scores (`class_scores`)."""
    match: Literal["parameters", "width"] = "parameters"
    """With a group: have about as many parameters, or as many channels, as without."""
    remat: bool = False
    """Keep only what lies between blocks for the backward pass and compute the rest again: less memory."""
    mean: Sequence[float] = (0.5,)
    """What is subtracted from the pixels: one number for all channels, or one for each."""
    std: Sequence[float] = (0.25,)
    """What they are divided by."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        self.check()
        check_images(images)
        x = standardize(images, self.mean, self.std)
        activations = self.stem_maps(x, train=train)
        *_, x = (x, *activations.values())
        activations |= self.body(x, train=train)
        *_, x = activations.values()
        if self.group is not None:
            x = activations["group_pool"] = ops.group_pool(x)
        activations |= self.scores(x, train=train)
        return activations["logits"], activations

    def body(self, x: Array, *, train: bool) -> Activations:
        """The activations of the stages, the last of which the head reads."""
        raise NotImplementedError

    def scores(self, x: Array, *, train: bool) -> Activations:
        """The activations of the head, which reads the last map."""
        return class_scores(self, x, head=self.head, num_classes=self.num_classes, dtype=self.dtype)

    def default_factors(self) -> Sequence[int]:
        """`factors` where they are None."""
        raise NotImplementedError

    def stem_maps(self, x: Array, *, train: bool) -> Activations:
        """The activations of the stem."""
        if self.stem == "none":
            return {}
        kernel_size, factor = (3, 1) if self.stem == "3x3" else (7, 2)
        kind = dict(downsample="stride") if self.stem == "7x7_strided" else {}
        block = self.conv_block(self.widths[0], kernel_size, factor=factor, name="conv1", **kind)
        x = self.run(block, x, train=train)
        activations = {"conv1": x}
        if self.stem == "7x7_strided":
            padding = "valid" if self.padding == "same" else self.padding
            x = self.pool(1, window=2, downsample="max", padding=padding, name="pool1_max")(x, train=train)
            activations["pool1"] = self.pool(2, name="pool1")(x, train=train)
        if self.stem == "7x7":
            maximum: dict[str, Downsample] = {"stride": "max", "blur": "max_blur"}
            kind = maximum.get(self.downsample, self.downsample)
            if kind in ("polyphase", "learned_polyphase"):
                x = self.pool(1, window=3, downsample="max", name="pool1_max")(x, train=train)
            activations["pool1"] = self.pool(2, window=3, downsample=kind, name="pool1")(x, train=train)
        return activations

    def stages(self) -> list[tuple[int, int, int]]:
        """The width, depth and factor of each stage."""
        count = len(self.widths)
        depths = (self.depth,) * count if isinstance(self.depth, int) else self.depth
        factors = self.default_factors() if self.factors is None else self.factors
        return list(zip(self.widths, depths, factors, strict=True))

    def conv_block(self, width: int, kernel_size: int, **fields: Any) -> ConvBlock:
        """A `ConvBlock` with the fields of this network."""
        return ConvBlock(self.features(width), kernel_size, **{**self.shared(), **fields})

    def features(self, width: int) -> int:
        """What `match` makes of a width."""
        if self.group is None:
            return width
        order = find_group(self.group).order
        return max(round(width / (math.sqrt(order) if self.match == "parameters" else order)), 1)

    def run(self, block: nn.Module, x: Array, *, train: bool) -> Array:
        """`block(x)`, its inside kept for the backward pass or, with `remat`, computed again there."""
        return run_block(block, x, train=train, remat=self.remat)

    def check(self) -> None:
        """Raise `InputError` for fields that make no sense."""
        kind = type(self).__name__
        for name in ("depth", "factors"):
            values = getattr(self, name)
            if isinstance(values, Sequence) and (len(values) != len(self.widths)):
                raise InputError(
                    f"{kind}: {name}={tuple(values)} must have a number for each of the "
                    f"{len(self.widths)} stages that widths={tuple(self.widths)} make"
                )
        if self.group is not None:
            find_group(self.group)
            if self.exact and self.head == "dense":
                raise InputError(
                    f"{kind}: head='dense' weighs places, so logits would change as the image turns: use 'average' or "
                    "'convolutional', or accept it with exact=False"
                )
