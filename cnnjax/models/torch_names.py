"""What PyTorch's libraries call the parameters of AlexNet and of the ResNets, and how they lay them out."""

import dataclasses
import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from cnnjax.errors import InputError

ALEXNET = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "logits": "classifier.6",
}
RESNET = {
    r"conv([123])(?:/conv)?": r"conv\1",
    r"conv([123])/norm/batch": r"bn\1",
    r"norm([123])/batch": r"bn\1",
    r"projection": r"downsample.0",
    r"projection_norm/batch": r"downsample.1",
    r"logits": r"fc",
}
"""From the path of a layer, in a ResNet within its block, to its name. What has no entry is not in those libraries."""
PARAMETERS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
FLATTENED = {"fc6": "pool5"}
"""Dense layers that read a map, and the activation that it is."""
SIZE = 224
"""Pixels a side for which both networks were made. AlexNet's fc6 has a weight for each position in a map of theirs."""


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


def tensors(model: nn.Module, layers: Mapping[str, str]) -> PyTree:
    """The model's variables for images of 224 pixels, a `Tensor` in place of each array; nothing is computed.

    Raises `InputError` for a model with parameters that have no name in `layers`, which is `ALEXNET` or `RESNET`.
    """

    def draw() -> PyTree:
        return model.init_with_output(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))

    (_, activations), variables = jax.eval_shape(draw)
    windows = {dense: activations[maps].shape[1:-1] for dense, maps in FLATTENED.items() if maps in activations}

    def describe(keys: tuple, like: jax.ShapeDtypeStruct) -> Tensor:
        path = path_of(keys)
        _, *modules, parameter = path.split("/")
        layer = "/".join(modules)
        window = windows.get(layer, ()) if parameter == "kernel" else ()
        return Tensor(path, f"{_layer_name(layer, layers)}.{PARAMETERS[parameter]}", like, window)

    return jax.tree_util.tree_map_with_path(describe, variables)


def path_of(keys: tuple) -> str:
    """A leaf's place in a tree: `params/conv1/kernel`."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _layer_name(path: str, layers: Mapping[str, str]) -> str:
    block = re.match(r"stage(\d+)_block(\d+)/", path)
    prefix = f"layer{block[1]}.{int(block[2]) - 1}." if block else ""
    within = path[block.end() :] if block else path
    for pattern, name in layers.items():
        if match := re.fullmatch(pattern, within):
            return prefix + match.expand(name)
    raise InputError(f"layer {path} has no counterpart in torchvision's network: leave out the field that adds it")
