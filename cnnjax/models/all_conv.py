"""All-convolutional networks (Springenberg et al. 2015, "Striving for Simplicity", table 1 and 2)."""

import functools
from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array

from cnnjax.door.limits import Positive, Widths
from cnnjax.errors import InputError
from cnnjax.models.contract import Activations
from cnnjax.models.conv_net import ConvNet
from cnnjax.models.head import Head


class AllConv(ConvNet, kw_only=True):
    """Stages of `depth` convolutions, the last of which shrinks the map; one of `kernel_size` and one of 1×1; the head.

    With `downsample="stride"` that last convolution has the stage's factor as its stride, 2 by default; otherwise it
    has stride 1 and the pool of that name follows.

    What dropout leaves is scaled up. Both kinds draw from the random stream "dropout".

    The paper's networks of class C are `base_cnn_c`, `strided_cnn_c`, `conv_pool_cnn_c` and `all_cnn_c`, without
    normalisation, with dropout of 0.2 and 0.5, and with overlapping pools of 3×3 at stride 2. Where its average over
    6×6 class maps shows that the convolution after the stages does not pad, theirs does: maps of 32 pixels end at 8×8.

    Fields, images and errors are those of `ConvNet`. Activations: `stage1_conv1`, ..., `head_conv1`, `head_conv2`,
    `class_maps`, `logits`; that of a stage's last convolution is what comes of its pool and its dropout.
    """

    widths: Widths = (96, 192)
    depth: Positive | Widths = 3
    head: Head = "convolutional"
    head_width: Positive | None = None
    """Channels of the two convolutions of the head; None: as many as the last stage."""
    pool_window: Positive | None = None
    """Side of the windows that a stage pools over; None: its factor."""
    input_dropout: float | int = 0.0
    """Probability that a number of the standardized image is zero in training."""
    dropout: float | int = 0.0
    """Probability that a number of the map after each stage is zero in training."""

    def body(self, x: Array, *, train: bool) -> Activations:
        activations: Activations = {}
        x = nn.Dropout(self.input_dropout, deterministic=not train, name="image_dropout")(x)
        for stage, (width, depth, factor) in enumerate(self.stages(), 1):
            for layer in range(1, depth + 1):
                name = f"stage{stage}_conv{layer}"
                last = layer == depth
                block = self.conv_block(
                    width, self.kernel_size, factor=factor if last else 1, window=self.pool_window, name=name
                )
                x = self.run(block, x, train=train)
                if last:
                    x = nn.Dropout(self.dropout, deterministic=not train, name=f"stage{stage}_dropout")(x)
                activations[name] = x
        for layer, kernel_size in enumerate((self.kernel_size, 1), 1):
            name = f"head_conv{layer}"
            block = self.conv_block(self.head_width or self.widths[-1], kernel_size, name=name)
            x = activations[name] = self.run(block, x, train=train)
        return activations

    def default_factors(self) -> Sequence[int]:
        return (2,) * len(self.widths)

    def check(self) -> None:
        super().check()
        for name in ("input_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"AllConv: {name}={getattr(self, name)} must lie in [0, 1)")


group_all_conv = functools.partial(AllConv, group="p4", downsample="max")
_class_c = functools.partial(AllConv, norm="none", input_dropout=0.2, dropout=0.5)
all_cnn_c = functools.partial(_class_c, depth=3)
strided_cnn_c = functools.partial(_class_c, depth=2)
conv_pool_cnn_c = functools.partial(_class_c, depth=3, downsample="max", pool_window=3)
base_cnn_c = functools.partial(_class_c, depth=2, downsample="max", pool_window=3)
