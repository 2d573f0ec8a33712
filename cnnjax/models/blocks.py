"""Running a block of a network, with what is within it kept for the backward pass or not."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array


def run_block(block: nn.Module, x: Array, *, train: bool, remat: bool) -> Array:
    """`block(x)`, its inside kept for the backward pass or, with `remat`, computed again there."""

    def call(block: Any, x: Array) -> Array:
        return block(x, train=train)

    return nn.remat(call)(block, x) if remat else call(block, x)
