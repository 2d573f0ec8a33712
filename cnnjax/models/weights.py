"""Weights in files as PyTorch's libraries publish them: AlexNet and the ResNets, under the names they have there."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.layers.precision import at_least_float32
from cnnjax.models.alexnet import alexnet_one_tower
from cnnjax.models.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from cnnjax.models.torch_names import ALEXNET, RESNET, Tensor, path_of, tensors

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What torchvision and timm standardise pixels with, by channel."""


class Network(NamedTuple):
    """A network here, the names of its layers there, and the name there of the kernel that gives class scores."""

    make: Callable[..., nn.Module]
    layers: Mapping[str, str]
    head: str


NETWORKS = {
    "alexnet": Network(alexnet_one_tower, ALEXNET, "classifier.6.weight"),
    "resnet18": Network(resnet18, RESNET, "fc.weight"),
    "resnet34": Network(resnet34, RESNET, "fc.weight"),
    "resnet50": Network(resnet50, RESNET, "fc.weight"),
    "resnet101": Network(resnet101, RESNET, "fc.weight"),
    "resnet152": Network(resnet152, RESNET, "fc.weight"),
}
FLOATS = ("BF16", "F16", "F32", "F64")
ZIP_OR_PICKLE = (b"PK\x03\x04", b"\x80")
PICKLED = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
SHOWN = 8
"""How many arrays of a kind an error names."""


def load_weights(name: str, path: str | os.PathLike, **fields: Any) -> tuple[nn.Module, PyTree]:
    """The network and its variables from a safetensors file with the parameter names of torchvision and timm.

        model, variables = models.load_weights("resnet34", "resnet34.safetensors")
        logits, activations = model.apply(variables, images)

    `name` is "resnet18", "resnet34", "resnet50", "resnet101", "resnet152" or "alexnet", which is torchvision's: one
    tower, `alexnet_one_tower` here. The number of classes is the file's. Logits are PyTorch's for the same pixels:
    images are in [0, 1] and the network standardises them, with ImageNet's `mean` and `std`. Files do not say with
    what they were trained: other constants are given in `fields`, as are all fields of the network that differ from
    its defaults (`padding`, `downsample`, `dtype`, ...).

    Kernels turn from `(out, in, height, width)` to `(height, width, in, out)`. float16, bfloat16 and float64 values
    take the parameters' dtype, which is float32 unless the field `dtype` is wider. The counters `num_batches_tracked`
    are ignored and may be absent.

    Raises `InputError` for what is no safetensors file: one that `torch.save` wrote is not opened, since reading a
    pickle can execute anything, and the message has the way to convert it. Also for a file whose arrays are not this
    network's, naming them.
    """
    network, path = _network(name), Path(path)
    with _opened(path) as file:
        views = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        found = {key: _described(view.get_shape(), view.get_dtype()) for key, view in views.items()}
        head = views[network.head].get_shape() if network.head in views else []
        model, expected = _expected(network, head, fields)
        leaves = jax.tree.leaves(expected)
        counters = _counters(leaves)
        problems = _problems(
            {key: shape for key, shape in found.items() if key not in counters},
            {tensor.name: _described(tensor.torch_shape) for tensor in leaves},
        )
        if problems:
            raise InputError(f"{path} does not hold the weights of {name}:{problems}")
        return model, jax.tree.map(lambda t: jnp.asarray(t.from_torch(file.get_tensor(t.name))), expected)


def save_weights(name: str, path: str | os.PathLike, variables: PyTree, **fields: Any) -> None:
    """Write `variables` to a safetensors file under the names of torchvision and timm, for PyTorch and `load_weights`.

        models.save_weights("resnet34", "tuned.safetensors", variables)

    `name` and `fields` are those of `load_weights`; of the fields, those that change no shape may be left out here.
    The file holds no fields, `mean` and `std` neither: whoever reads it has to give the ones that are not ImageNet's.
    Values are float32 (float64 where they are that already), so what `load_weights` read from a float32 file is written
    back to the bit, except for `num_batches_tracked`, which is 0: only a running average over all batches, which
    neither library takes, depends on it. The file is replaced in one step: a kill leaves the old one or the new.

    Raises `InputError` for variables that are not this network's, naming them.
    """
    network, path = _network(name), Path(path)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} to")
    leaves = {path_of(keys): np.asarray(leaf) for keys, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    head = leaves["params/logits/bias"].shape if "params/logits/bias" in leaves else []
    expected: list[Tensor] = jax.tree.leaves(_expected(network, head, fields)[1])
    problems = _problems(
        {key: _described(leaf.shape) for key, leaf in leaves.items()},
        {tensor.path: _described(tensor.like.shape) for tensor in expected},
    )
    if problems:
        raise InputError(f"the variables are not those of {name}:{problems}")
    arrays = dict.fromkeys(_counters(expected), np.zeros((), np.int64))
    for tensor in expected:
        value = leaves[tensor.path]
        arrays[tensor.name] = tensor.to_torch(value.astype(at_least_float32(value.dtype)))
    write_atomic(path, save(arrays))


def _network(name: str) -> Network:
    if name not in NETWORKS:
        raise InputError(
            f"no weights for {name!r}: one of {', '.join(NETWORKS)}, as torchvision and timm call them; they have no "
            "networks for small images, and their ResNets are not the pre-activated ones (version 2)"
        )
    return NETWORKS[name]


def _expected(network: Network, head: Iterable[int], fields: Mapping[str, Any]) -> tuple[nn.Module, PyTree]:
    """The model with as many classes as `head` has outputs, and its variables as `Tensor`s."""
    num_classes = next(iter(head), 1000)
    model = network.make(**{"num_classes": num_classes, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, **fields})
    return model, tensors(model, network.layers)


def _counters(expected: Iterable[Tensor]) -> list[str]:
    mean = "running_mean"
    return [f"{t.name.removesuffix(mean)}num_batches_tracked" for t in expected if t.name.endswith(mean)]


def _described(shape: Iterable[int], dtype: str = "F32") -> str:
    return ("" if dtype in FLOATS else f"{dtype} ") + str(list(shape))


def _problems(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """A line for each kind of difference, nothing where there is none."""
    differ = [name for name in sorted(expected) if found.get(name, expected[name]) != expected[name]]
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of another shape": [f"{name} is {found[name]}, not {expected[name]}" for name in differ],
    }
    lines = [f"\n  {kind} ({len(names)}): {_listed(names)}" for kind, names in kinds.items() if names]
    return "".join(lines)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _opened(path: Path) -> safe_open:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(ZIP_OR_PICKLE) or path.suffix.lower() in PICKLED:
            converted = path.with_suffix(".converted.safetensors")
            raise InputError(
                f"{path} is a pickle, as torch.save writes it, or is named like one; it is not opened, since reading "
                "one can execute anything. If you trust its source, convert it in Python:\n"
                "import torch; from safetensors.torch import save_file\n"
                f"save_file(torch.load({str(path)!r}, map_location='cpu', weights_only=True), {str(converted)!r})"
            ) from error
        raise InputError(f"{path} is no safetensors file, or a damaged one ({error}): fetch it again") from error
