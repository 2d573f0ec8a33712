"""The activations that a function of images returns: found by name, and checked."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.program.names import leaf_names
from cnnjax.program.tracing import shapes_of

NAMED_LAYERS = (
    "return (logits, activations by name), which analysis.intervene edits by these names; a Linen module that stays as "
    "it is has them as its intermediates (capture_intermediates), one of PyTorch by models.from_torch: see "
    "docs/frameworks.md"
)
"""How a function that returns logits only comes to have layers."""


def check_returns_arrays(leaves: Sequence[Any]) -> None:
    """Raise InputError where a function has returned nothing to measure."""
    if not leaves:
        raise InputError("f returns no array: return the activations that you want to know about")


def batched_activations(
    f: Callable[[jax.Array], Any], images: Any
) -> tuple[list[str], list[jax.ShapeDtypeStruct], Any]:
    """The names and shapes of the arrays that f returns, and all of them as in its result; f is only traced.

    Raises InputError where there is none, and for one without the images as its first axis.
    """
    result = shapes_of(f, images)
    names, leaves = leaf_names(result), jax.tree.leaves(result)
    check_returns_arrays(leaves)
    for name, leaf in zip(names, leaves, strict=True):
        if leaf.shape[:1] != images.shape[:1]:
            raise InputError(
                f"activation {name} has shape {leaf.shape}: expected {len(images)} images as its first axis"
            )
    return names, leaves, result


def find_activation(
    f: Callable[[jax.Array], Any], images: jax.ShapeDtypeStruct, layer: str | None, *, output: bool = False
) -> tuple[int, tuple[int, ...]]:
    """The position of a layer among the arrays that f returns, and its shape without the batch axis; f is only traced.

    None stands for the only activation; with `output` for the network's output, see `find_output`.
    Raises InputError as `find_layer` does, and for an activation without units for each image.
    """
    result = shapes_of(f, images)
    paths = leaf_names(result)
    position = find_output(paths) if output and layer is None else find_layer(layer, paths)
    shape, count = jax.tree.leaves(result)[position].shape, images.shape[0]
    if len(shape) < 2 or shape[0] != count or 0 in shape:
        raise InputError(f"layer {layer!r} has shape {shape}: it has no units for each of {count} images")
    return position, shape[1:]


def find_logits(f: Callable[[jax.Array], Any], images: Any, layer: str | None) -> tuple[int, int]:
    """The position of the logits (batch, classes) among the arrays that f returns, and how many classes there are.

    None stands for the network's output, see `find_output`.
    Raises InputError as `find_activation` does, and for an activation of another rank.
    """
    position, shape = find_activation(f, jax.ShapeDtypeStruct(images.shape, images.dtype), layer, output=True)
    if len(shape) != 1:
        raise InputError(f"layer {layer!r} has shape {(len(images), *shape)}: expected logits (batch, classes)")
    return position, shape[0]


def checked_labels(labels: Any, count: int, classes: int) -> np.ndarray:
    """A class for each image.

    Raises InputError for another number of them, and for one that there is not.
    """
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels < classes)).all():
        raise InputError(f"labels={labels}: give one for each of {count} images, from 0 and below {classes}")
    return labels


def output_of(result: Any) -> Any:
    """The network's output among what it has returned, see `find_output`."""
    return jax.tree.leaves(result)[find_output(leaf_names(result))]


def find_output(names: list[str]) -> int:
    """The position of a network's output among what it returns: the only array, the one with the key "logits", or the
    first of a tuple.

    Raises InputError where there is none of these.
    """
    logits = [i for i, name in enumerate(names) if name.rpartition("/")[-1] == "logits"]
    if len(logits) == 1 or len(names) == 1:
        return [*logits, 0][0]
    return find_layer("0" if "0" in names else None, names)


def find_layer(layer: str | None, names: list[str]) -> int:
    """The position of a layer among activations that go by these paths: by its path, or by its key.

    None stands for the only one. Raises InputError for one that there is not, with near names, or that is ambiguous.
    """
    if not names:
        raise InputError("f returns no activation that could be taken: return the one that you want to know about")
    keys = [name.rpartition("/")[-1] for name in names]
    known = ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
    if layer is None:
        if len(names) != 1:
            raise InputError(f"f returns {len(names)} activations: name the layer, one of {known}")
        return 0
    found = [i for i, name in enumerate(names) if layer == name] or [i for i, key in enumerate(keys) if layer == key]
    if len(found) > 1:
        raise InputError(f"layer={layer!r} is ambiguous: give the path, one of {', '.join(names[i] for i in found)}")
    if not found and names == ["output"]:
        raise InputError(f"layer={layer!r} is not there, for f returns one array without a name: {NAMED_LAYERS}")
    if not found:
        # What is named here is accepted: a key that several activations have is not, a number may be a path.
        own = [
            key if keys.count(key) == 1 and not key.isdigit() else name for name, key in zip(names, keys, strict=True)
        ]
        check_choice("layer", layer, own)
    return found[0]
