"""From the last map to class scores."""

from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from cnnjax.layers import Conv
from cnnjax.layers.precision import at_least_float32
from cnnjax.models.contract import Activations
from cnnjax.models.flatten import flatten

Head = Literal["average", "dense", "convolutional"]


def class_scores(
    model: nn.Module, x: Float[Array, "batch *space channels"], *, head: Head, num_classes: int, dtype: Any
) -> Activations:
    """The activations of `model`'s head on the map x, its layers in `model`; the last one is `logits`.

    - "average": `pool`, the mean of each channel, and a dense layer (Lin et al. 2014, as residual networks use it).
      Any image size will do.
    - "dense": a dense layer that reads the whole map, as networks before those did. A network with parameters takes
      only images of the size that it was initialised on, and raises `InputError` for others.
    - "convolutional": `class_maps`, a map of scores by a 1×1 convolution, and the mean of each (Springenberg et al.
      2015). Any image size will do, and the scores of each place can be seen.

    The first and the last are the same function but for rounding, with the same number of parameters.
    """
    wide = at_least_float32(dtype)
    if head == "convolutional":
        maps = Conv(num_classes, 1, dtype=dtype, name="class_maps")(x)
        return {"class_maps": maps, "logits": maps.astype(wide).mean((1, 2))}
    dense = nn.Dense(num_classes, dtype=wide, param_dtype=wide, name="logits")
    if head == "dense":
        return {"logits": dense(flatten(model, x, layer="logits"))}
    pool = x.astype(wide).mean((1, 2))
    return {"pool": pool, "logits": dense(pool)}
