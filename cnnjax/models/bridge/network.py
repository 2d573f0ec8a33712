"""A graph as a function: `(variables, images) -> (logits, activations)`."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.layers.normalization import standardize
from cnnjax.models.bridge.calls import returned
from cnnjax.models.bridge.graph import Graph, Node, exchanged
from cnnjax.models.bridge.laid import Laid, in_order, like_first, plain
from cnnjax.models.bridge.operations import ARITHMETIC, OTHERS
from cnnjax.models.contract import Activations, check_images
from cnnjax.models.torch_files import described, problems

Forward = Callable[[Any, Any], tuple[Array, Activations]]


def network(
    graph: Graph,
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    operations: Mapping[str, Callable[..., Any]],
) -> Forward:
    """The function that a graph computes, for variables of these shapes; images are standardised first."""
    own = {name: like_first(f) for name, f in operations.items()}
    names = returned(graph)
    inputs = {"params": graph.params, "buffers": graph.buffers}

    def forward(variables: Any, images: Any) -> tuple[Array, Activations]:
        images = jnp.asarray(images)
        _check(graph, variables, shapes, images)
        x = standardize(images, mean, std).astype(graph.dtype)
        results: dict[str, Any] = {graph.images: Laid(x, (0, 2, 3, 1))}
        results |= {name: plain(value) for name, value in graph.constants.items()}
        for kind, named in inputs.items():
            results |= {name: plain(variables[kind][key]).to(graph.dtypes[name]) for key, name in named.items()}
        for node in graph.nodes:
            with jax.named_scope(node.module or "network"):
                results[node.name] = _run(node, results.__getitem__, own)
        activations = {name: _map(results[node]) for node, found in names.items() for name in found}
        logits = exchanged(graph.outputs, lambda name: _map(results[name]))
        return logits, activations

    return forward


def _run(node: Node, read: Callable[[str], Any], own: Mapping[str, Callable[..., Any]]) -> Any:
    args, options = exchanged(node.args, read), exchanged(node.options, read)
    name = node.operation
    try:
        if name in own:
            result = own[name](*args, **options)
        elif name in ARITHMETIC:
            # An index stays one; everything else that is an array is an operand.
            convert = functools.partial(_converted, dtype=node.dtype)
            result = ARITHMETIC[name](*map(convert, args), **{key: convert(x) for key, x in options.items()})
        else:
            result = OTHERS[name](*args, **options)
    except InputError as error:
        place = f"module {node.module}" if node.module else "the network's own forward"
        raise InputError(f"{name} in {place}: {error}") from error
    return _converted(result, dtype=node.dtype)


def _converted(value: Any, *, dtype: Any) -> Any:
    return value.to(dtype) if isinstance(value, Laid) and dtype is not None else value


def _map(x: Laid) -> Array:
    """An activation as the library has it: as it lies in memory, maps with their channels last, the batch first."""
    axes = x.axes
    return in_order(x, (0, *(axis for axis in axes if axis))) if axes and axes[0] != 0 else x.array


def _check(graph: Graph, variables: Any, shapes: Mapping[str, Mapping[str, tuple[int, ...]]], images: Array) -> None:
    check_images(images)
    batch, channels, height, width = graph.image_shape
    if images.shape[1:] != (height, width, channels) or batch not in (None, images.shape[0]):
        expected = ("batch" if batch is None else batch, height, width, channels)
        raise InputError(
            f"images have shape {images.shape}, but the network was exported for ({', '.join(map(str, expected))}): "
            "resize them, or export it anew with that image_shape"
        )
    if not isinstance(variables, Mapping) or variables.keys() != shapes.keys():
        raise InputError(f"variables={shown(variables)} must be a dict of params and buffers, as from_torch returns")
    for kind, expected in shapes.items():
        found = {name: described(jnp.shape(value)) for name, value in variables[kind].items()}
        differences = problems(found, {name: described(shape) for name, shape in expected.items()})
        if differences:
            raise InputError(f"variables[{kind!r}] are not those of this network:{differences}")
