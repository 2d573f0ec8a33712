"""Networks of PyTorch as functions of JAX, with every analysis of the library."""

import collections
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax.door import checked
from cnnjax.door.limits import AtLeast
from cnnjax.errors import InputError
from cnnjax.layers.normalization import standardize
from cnnjax.models.bridge.archive import Archive
from cnnjax.models.bridge.export import export
from cnnjax.models.bridge.graph import Graph
from cnnjax.models.bridge.network import Forward, network
from cnnjax.models.bridge.operations import KNOWN
from cnnjax.models.bridge.serialized import read

Size = Annotated[int, AtLeast(1)]


@checked()
def from_torch(
    module: Any,
    image_shape: tuple[Size, Size, Size],
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    output: str | int | None = None,
    operations: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Forward, dict[str, dict[str, jax.Array]]]:
    """A `torch.nn.Module` as `(forward, variables)`: a function of JAX, and its parameters and buffers.

        forward, variables = models.from_torch(resnet, (224, 224, 3), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        logits, activations = forward(variables, images)
        analysis.receptive_field(models.bind(forward, variables), images)

    `image_shape` is (height, width, channels); PyTorch's order (channels, height, width) is its own affair. Images are
    floats (batch, height, width, channels) in [0, 1], of any number; what the module gets is `(images − mean) / std`,
    channels first. With the defaults that is the pixels, for modules that standardise them by themselves.

    The module is copied, put in evaluation mode, and traced by `torch.export` (with `strict=False`) into a graph of
    operations, which `forward` computes by JAX: to 1e-5 of PyTorch's own result in float32. Its dtype is the module's:
    a module converted to bfloat16 computes in that. forward can be jitted, mapped and differentiated, in variables and
    images; nothing of PyTorch is needed to call it. What depends on the values of arrays (`if x.sum() > 0`) has no
    graph. Batch normalisation without running statistics is refused: the images of a batch would depend on each other.

    `activations` has what each call of a module returns, by the module's path ("layer1.0.relu"), in forward order; in
    the second call of the same module the name ends in "@1", in the third in "@2"; one that returns several arrays has
    them as "path[0]", "path[1]". Functions, as `torch.nn.functional.relu`, have no path: they are part of the module
    that calls them. Maps are (batch, height, width, channels), tokens (batch, tokens, channels): as they lie in memory.

    `variables["params"]` and `variables["buffers"]` have PyTorch's arrays by PyTorch's names, as they lie there:
    `safetensors.numpy.save_file({**variables["params"], **variables["buffers"]}, path)` is a file for PyTorch, except
    for the counters of batches, which nothing reads. Each call turns the kernels to the order that convolutions here
    read; weights that are compiled in, `jax.jit(lambda images: forward(variables, images))`, are turned once.
    Gradients are taken with respect to "params". Buffers that are not part of a state dict are constants.

    Of a module that returns a dict, a tuple or a class, the logits are the only array in it or the one called "logits",
    as in `transformers`; others say which by `output`: its key, or the number of its place.

    An operation that is not known raises; `operations={"aten.foo.default": f}` gives it, or replaces a known one: f
    takes the arguments of PyTorch's operation as arrays of JAX in PyTorch's order of axes, and returns what that does.

    Raises InputError where PyTorch is missing, for what export refuses (its message shortened, with a remedy), for
    operations that are not known, naming them and where they stand, and for an output that is not clear; and forward
    for images of another size and for variables of another network, naming them.
    """
    own = operations or {}
    _check_pixels(image_shape, mean, std)
    graph, variables = export(module, image_shape, known=KNOWN.union(own), output=output)
    check_operations(graph, KNOWN.union(own))
    return network(graph, _shapes(variables), mean=mean, std=std, operations=own), variables


@checked()
def from_exported(
    path: str | os.PathLike,
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    output: str | int | None = None,
    operations: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Forward, dict[str, dict[str, jax.Array]]]:
    """A network in a file of `torch.export.save` (.pt2) as `(forward, variables)`, as `from_torch` returns them.

        sizes = ({0: torch.export.Dim("batch", min=1)},)  # of an example of three images, (3, channels, height, width)
        program = torch.export.export(module.eval(), (example,), dynamic_shapes=sizes)
        torch.export.save(program.run_decompositions({}), "model.pt2")

        forward, variables = models.from_exported("model.pt2", mean=IMAGENET_MEAN, std=IMAGENET_STD)

    Neither PyTorch nor the module's code is needed. Of `torch.export.load` PyTorch says that it unpickles, and so must
    never be given a file from somebody who is not trusted. Here nothing is executed: graph and signature are read as
    JSON, arrays as raw numbers. Arrays that PyTorch has pickled, and objects that are no arrays, are refused; the
    example inputs in the file are not opened. PyTorch promises no stability of its files beyond their schema's major
    version; 8 is read, which 2.13 writes.

    Whether the module was in evaluation mode, and for which sizes it works, was settled when it was exported: dropout
    and statistics of the batch are refused, and with a batch or images of another size than the file's forward raises.
    In-place operations are refused too: `run_decompositions({})`, as above, replaces them.

    Raises InputError for what is no such file, and as `from_torch` does.
    """
    own = operations or {}
    graph, arrays = read(Archive(Path(path)), output=output)
    _, channels, height, width = graph.image_shape if len(graph.image_shape) == 4 else (None,) * 4
    if channels is None or height is None or width is None:
        raise InputError(f"{path} does not take images of one size, but {graph.image_shape}: export it for one size")
    _check_pixels((height, width, channels), mean, std)
    if any(node.operation.split(".")[-2:][0].endswith("_") for node in graph.nodes if "." in node.operation):
        raise InputError(f"{path} has operations in place: save program.run_decompositions({{}}) instead of program")
    check_operations(graph, KNOWN.union(own))
    variables = jax.tree.map(jnp.asarray, arrays)
    return network(graph, _shapes(variables), mean=mean, std=std, operations=own), variables


def _check_pixels(image_shape: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]) -> None:
    jax.eval_shape(lambda x: standardize(x, mean, std), jax.ShapeDtypeStruct((1, *image_shape), np.float32))


def _shapes(variables: dict[str, dict[str, jax.Array]]) -> dict[str, dict[str, tuple[int, ...]]]:
    return {kind: {name: x.shape for name, x in values.items()} for kind, values in variables.items()}


def check_operations(graph: Graph, known: frozenset[str]) -> None:
    """Raise InputError for operations that are not known, or that only training has."""
    missing: dict[str, list[str]] = collections.defaultdict(list)
    for node in graph.nodes:
        place = f"module {node.module}" if node.module else "the network's own forward"
        if reason := _of_training(node.operation, node.args):
            raise InputError(f"{node.operation} in {place} {reason}")
        if node.operation not in known:
            missing[node.operation].append(place)
    if missing:
        listed = "; ".join(f"{name} in {_few(places)}" for name, places in missing.items())
        example = next(iter(missing))
        raise InputError(
            f"operations that are not known: {listed}. Give each as a function of JAX arrays in PyTorch's order of "
            f"axes: operations={{{example!r}: function}}"
        )


def _few(places: list[str]) -> str:
    different = list(dict.fromkeys(places))
    return ", ".join(different[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")


def _of_training(name: str, args: Sequence[Any]) -> str | None:
    """What an operation does that only training should, dropping values or taking the statistics of the batch."""
    statistics = (
        "takes the statistics of the batch, so that images depend on each other: put the module in evaluation mode, "
        "with running statistics"
    )
    if name.startswith("aten._native_batch_norm_legit") and "no_training" not in name:
        return statistics
    if name == "aten.batch_norm.default" and args[5]:
        return statistics
    dropping = ("aten.dropout.", "aten.alpha_dropout.", "aten.feature_dropout.", "aten.native_dropout.")
    if name.startswith(dropping) and args[2] and args[1]:
        return "drops values at random: put the module in evaluation mode, and give functions training=self.training"
    return None
