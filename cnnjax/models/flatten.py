"""From maps to the vectors that dense layers read."""

import math

import flax.linen as nn
from jaxtyping import Array, Float

from cnnjax.errors import InputError


def flatten(
    model: nn.Module, maps: Float[Array, "batch *space channels"], *, layer: str, groups: int = 1
) -> Float[Array, "batch features"]:
    """The values of each image in the order (height, width, channels), for the dense layer of that name in `model`.

    Networks that keep channels first flatten in the order (channels, height, width): the rows of a kernel of theirs
    have to be transposed. `groups` are those of the layer where it is a convolution over the whole map.
    Raises `InputError` where `layer` already has a kernel, for maps of another size.
    """
    features = math.prod(maps.shape[1:])
    if model.has_variable("params", layer):
        expected = groups * math.prod(model.get_variable("params", layer)["kernel"].shape[:-1])
        if features != expected:
            shape = "×".join(map(str, maps.shape[1:]))
            raise InputError(
                f"layer {layer}: it was initialised on {expected} values for each image and gets a map of {shape}, "
                f"which are {features}: give images of the size of those that {type(model).__name__} was initialised on"
            )
    return maps.reshape(maps.shape[0], features)
