"""Weights in files as PyTorch's libraries publish them: AlexNet, VGG and ResNets, under the names they have there."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree
from safetensors.numpy import save

from cnnjax.door import checked
from cnnjax.door.arrays import as_numpy
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.layers.precision import at_least_float32
from cnnjax.models.published import Network, published
from cnnjax.models.torch_files import Arrays, described, problems
from cnnjax.models.torch_layout import SIZE, Tensor, counters, filters, path_of, tensors

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What torchvision and timm standardise pixels with, by channel."""
COLOURS = 3


@checked()
def load_weights(
    name: str, path: str | os.PathLike, *, in_chans: int | None = None, key: Key[Array, ""] | None = None, **fields: Any
) -> tuple[nn.Module, PyTree]:
    """The network and its variables from a safetensors file with the parameter names of torchvision or timm.

        model, variables = models.load_weights("resnet34", "resnet34.safetensors")
        logits, activations = model.apply(variables, images)

    `name` is that of a network here and there: "resnet18" to "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", "vgg11" to "vgg19", "vgg11_bn" to "vgg19_bn"; "alexnet",
    which has one tower, `alexnet_one_tower` here; or "resnet18_lpf4" to "resnet101_lpf4", Zhang's anti-aliased ones
    (`taps=3` for a file called lpf3). timm has the same names in its ResNets, and others for the dense layers of VGGs.
    What stands before all names in a file, as "module." or "model.", is left out.

    Logits are PyTorch's for the same pixels: images are in [0, 1] and the network standardises them, with ImageNet's
    `mean` and `std`. Files do not say with what they were trained: other constants are given in `fields`, as are all
    fields of the network that differ from its defaults (`padding`, `downsample`, `dtype`, ...).

    The number of classes is the file's. Where `num_classes` is another, or the file has no head, the head is drawn anew
    by `key` (`jax.random.key(0)` if None), as the network starts, and a warning says so.

    The channels of the images are the file's. Of a file for colour, `in_chans=1` makes a network for grey images: the
    kernel that reads them is summed over red, green and blue, and `mean` and `std` are the averages of ImageNet's.
    Other numbers repeat the three, red first, times 3 / in_chans. The kernels are those of timm.

    Kernels turn from `(out, in, height, width)` to `(height, width, in, out)`. float16, bfloat16 and float64 values
    take the parameters' dtype, which is float32 unless the field `dtype` is wider. The counters `num_batches_tracked`
    are ignored; they and the filters of anti-aliased networks may be absent.

    Raises `InputError` for what is no safetensors file: one that `torch.save` wrote is not opened, since reading a
    pickle can execute anything, and the message has the way to convert it. Also for a file whose arrays are not this
    network's, naming them.
    """
    network, path = published(name), Path(path)
    if in_chans is not None and in_chans < 1:
        raise InputError(f"in_chans={in_chans} must be at least 1: 1 for grey images, 3 for colour")
    first, head = f"{network.first}.weight", [f"{network.last}.{parameter}" for parameter in ("weight", "bias")]
    arrays = Arrays(path, first, network.also)
    classes, channels = arrays.size(head[0], 0), arrays.size(first, 1) or COLOURS
    in_chans = in_chans or channels
    model, expected = _expected(network, {"num_classes": classes or 1000, **fields}, in_chans)

    leaves: list[Tensor] = jax.tree.leaves(expected)
    shapes = {tensor.name: tensor.torch_shape for tensor in leaves}
    if channels == COLOURS:
        shapes[first] = (shapes[first][0], COLOURS, *shapes[first][2:])
    blurs = {name: x for name, x in filters(network.names(model), leaves).items() if name in arrays.shapes}
    shapes |= {name: x.shape for name, x in blurs.items()}
    anew = arrays.shapes.keys().isdisjoint(head) or classes not in (None, shapes[head[0]][0])
    ignored = {*counters(leaves), *(head if anew else ())}
    differences = problems(
        {key: found for key, found in arrays.described.items() if key not in ignored},
        {key: described(shape) for key, shape in shapes.items() if key not in ignored},
    )
    if differences:
        raise InputError(f"{path} does not hold the weights of {name}:{differences}")
    for blur, x in blurs.items():
        if not np.allclose(arrays.read(blur), x, rtol=0, atol=1e-3):
            raise InputError(f"{path}: {blur} is not the binomial filter that {name} blurs with")

    drawn = _head(model, in_chans, key) if anew else {}
    if anew:
        held = "no head" if classes is None else f"a head for {classes} classes"
        warnings.warn(f"{path} has {held}: one for {shapes[head[0]][0]} classes is drawn anew", stacklevel=3)

    def variable(tensor: Tensor) -> Array:
        if tensor.path in drawn:
            return drawn[tensor.path]
        value = arrays.read(tensor.name)
        return jnp.asarray(tensor.from_torch(_for_channels(value, in_chans) if tensor.name == first else value))

    return model, jax.tree.map(variable, expected)


@checked()
def save_weights(name: str, path: str | os.PathLike, variables: PyTree, **fields: Any) -> None:
    """Write `variables` to a safetensors file under the names of torchvision, for PyTorch and `load_weights`.

        models.save_weights("resnet34", "tuned.safetensors", variables)

    `name` and `fields` are those of `load_weights`; of the fields, those that change no shape may be left out here.
    The file holds no fields, `mean` and `std` neither: whoever reads it has to give the ones that are not ImageNet's.
    Values are float32 (float64 where they are that already), so what `load_weights` read from a float32 file is written
    back to the bit, except for `num_batches_tracked`, which is 0: only a running average over all batches, which
    those networks do not take, depends on it. The file is replaced in one step: a kill leaves the old one or the new.

    Raises `InputError` for variables that are not this network's, naming them.
    """
    network, path = published(name), Path(path)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} to")
    if not isinstance(variables, Mapping):
        raise InputError(f"variables={shown(variables)} must be a dict, as a network's init returns it.")
    named = {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    leaves = {at: as_numpy(at or "variables", leaf) for at, leaf in named.items()}
    kernel, bias = (leaves.get(f"params/{place}") for place in (f"{network.path}/kernel", "logits/bias"))
    classes = {} if bias is None or bias.ndim == 0 else {"num_classes": len(bias)}
    channels = COLOURS if kernel is None or kernel.ndim < 2 else kernel.shape[-2]
    model, tree = _expected(network, {"num_classes": 1000, **classes, **fields}, channels)
    expected: list[Tensor] = jax.tree.leaves(tree)
    differences = problems(
        {key: described(leaf.shape) for key, leaf in leaves.items()},
        {tensor.path: described(tensor.like.shape) for tensor in expected},
    )
    if differences:
        raise InputError(f"the variables are not those of {name}:{differences}")
    arrays = dict.fromkeys(counters(expected), np.zeros((), np.int64)) | filters(network.names(model), expected)
    for tensor in expected:
        value = leaves[tensor.path]
        arrays[tensor.name] = tensor.to_torch(value.astype(at_least_float32(value.dtype)))
    write_atomic(path, save(arrays))


def _expected(network: Network, fields: Mapping[str, Any], channels: int) -> tuple[nn.Module, PyTree]:
    """The model for images of so many channels, and its variables as `Tensor`s."""
    mean, std = (_by_channel(values, channels) for values in (IMAGENET_MEAN, IMAGENET_STD))
    model = network.make(**{"mean": mean, "std": std, **fields})
    return model, tensors(model, network.names, channels=channels)


def _by_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """What there is for red, green and blue, for so many channels."""
    return (sum(values) / COLOURS,) if channels == 1 else tuple(values[c % COLOURS] for c in range(channels))


def _for_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """The kernel `(out, in, height, width)` that reads colours, for images of so many channels."""
    if kernel.shape[1] == channels:
        return kernel
    kernel = kernel.astype(at_least_float32(kernel.dtype))
    if channels == 1:
        return kernel.sum(1, keepdims=True)
    return kernel[:, np.arange(channels) % COLOURS] * (COLOURS / channels)


def _head(model: nn.Module, channels: int, key: Key[Array, ""] | None) -> dict[str, Array]:
    """The parameters of the layer `logits` at the start, by path."""

    def draw(key: Key[Array, ""]) -> PyTree:
        params = model.init(key, jnp.zeros((1, SIZE, SIZE, channels)))["params"]
        return {"params": {"logits": params["logits"]}}

    # Compiled, so that nothing else is drawn.
    drawn = jax.jit(draw)(jax.random.key(0) if key is None else key)
    return {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(drawn)}
