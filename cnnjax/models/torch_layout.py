"""How PyTorch's libraries lay out the parameters of a network, and what their files hold beside them."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from cnnjax.errors import InputError
from cnnjax.models.torch_names import Names

PARAMETERS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
FLATTENED = "fc6"
"""The dense layer that reads a map, which is the activation before it."""
SIZE = 224
"""Pixels a side for which the networks were made. The layer fc6 has a weight for each position in a map of theirs."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A parameter or statistic here and in PyTorch: kernels `(*window, in, out)` here, `(out, in, *window)` there.

    The dense layer that reads a map is a convolution of that map's size, its window and inputs flattened.
    """

    path: str
    name: str
    like: jax.ShapeDtypeStruct
    window: tuple[int, ...] = ()
    """That of a flattened kernel; otherwise it is in the shape already."""

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The shape there."""
        if len(self.like.shape) < 2:
            return self.like.shape
        *window, channels, features = self.like.shape
        return (features, channels, *window)

    def to_torch(self, value: np.ndarray) -> np.ndarray:
        """The same values as they lie there."""
        if value.ndim > 1:
            kernel = value.reshape(*self.window, -1, value.shape[-1]) if self.window else value
            value = np.moveaxis(kernel, (-1, -2), (0, 1)).reshape(self.torch_shape)
        return np.ascontiguousarray(value)

    def from_torch(self, value: np.ndarray) -> np.ndarray:
        """The same values as they lie here, in the dtype of the parameter."""
        if value.ndim > 1:
            kernel = value.reshape(len(value), -1, *self.window) if self.window else value
            value = np.moveaxis(kernel, (0, 1), (-1, -2)).reshape(self.like.shape)
        return value.astype(self.like.dtype)


def tensors(model: nn.Module, names: Callable[[Any], Names], *, channels: int = 3) -> PyTree:
    """The model's variables for images of 224 pixels, a `Tensor` in place of each array; nothing is computed.

    `names` is a function of `torch_names`. Raises `InputError` for a model with parameters that it has no name for.
    """
    window: tuple[int, ...] = ()

    def draw() -> PyTree:
        nonlocal window
        (_, activations), variables = model.init_with_output(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, channels)))
        # In forward order here, in that of names outside.
        for before, layer in itertools.pairwise(activations):
            if layer == FLATTENED:
                window = activations[before].shape[1:-1]
        return variables

    variables = jax.eval_shape(draw)
    layers = names(model).layers

    def describe(keys: tuple, like: jax.ShapeDtypeStruct) -> Tensor:
        path = path_of(keys)
        _, *modules, parameter = path.split("/")
        layer = "/".join(modules)
        if layer not in layers:
            raise InputError(
                f"layer {layer} has no counterpart in the published network: leave out the field that adds it"
            )
        flattened = (layer, parameter) == (FLATTENED, "kernel")
        return Tensor(path, f"{layers[layer]}.{PARAMETERS[parameter]}", like, window if flattened else ())

    return jax.tree_util.tree_map_with_path(describe, variables)


def counters(tensors: Iterable[Tensor]) -> list[str]:
    """The names there of what counts the batches of each normalisation."""
    mean = "running_mean"
    return [f"{t.name.removesuffix(mean)}num_batches_tracked" for t in tensors if t.name.endswith(mean)]


def filters(names: Names, tensors: Iterable[Tensor]) -> dict[str, np.ndarray]:
    """The filters there, one for each channel of what it blurs: `(channels, 1, taps, taps)`."""
    channels = {t.name.removesuffix(".weight"): t.torch_shape[1] for t in tensors if len(t.like.shape) == 4}
    line = np.array([math.comb(names.taps - 1, j) for j in range(names.taps)], np.float32) / 2 ** (names.taps - 1)
    return {name: np.tile(np.outer(line, line), (channels[read], 1, 1, 1)) for name, read in names.filters.items()}


def path_of(keys: tuple) -> str:
    """A leaf's place in a tree: `params/conv1/kernel`."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")
