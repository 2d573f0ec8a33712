"""The networks that a command names, each opened and tried before anything is measured."""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from cnnjax import analysis, models
from cnnjax.door.words import shown
from cnnjax.errors import InputError, first_line
from cnnjax.sweep.own import imported
from experiments.shared.kept_networks import networks_of_run
from experiments.shared.named import Named
from experiments.shared.subject import Apply, Images, Subject, of_model


@dataclasses.dataclass(frozen=True)
class Torch:
    """How images reach networks of PyTorch, and what of their output counts; see `models.from_torch`."""

    mean: tuple[float, ...] = (0.0,)
    """What is taken from the pixels, by channel; ImageNet's networks of torchvision and timm want .485 .456 .406."""
    std: tuple[float, ...] = (1.0,)
    """What they are then divided by; the same want .229 .224 .225."""
    output: str | None = None
    """The key or the place of the logits, where a module returns several arrays and none is called logits."""


def open_all(named: Sequence[Named], images: Images, torch: Torch) -> dict[str, Subject]:
    """Every network by its label, each tried on the shape of the images; nothing is run.

    Raises InputError, which names the subject, for one that cannot be opened or cannot take the images, and for labels
    that two networks share.
    """
    found: dict[str, Subject] = {}
    for one in named:
        try:
            opened = {label: _with_maps(subject) for label, subject in _open(one, images, torch).items()}
        except InputError as error:
            raise InputError(f"{one.text}: {error}") from error
        for label, subject in opened.items():
            if label in found:
                raise InputError(f"two networks are called {label}: tell them apart, as other={one.text}")
            found[label] = subject
    return found


def _with_maps(subject: Subject) -> Subject:
    """The network with its tokens as the maps that they are, where that can be told."""
    count_classes(subject)
    struct = jax.ShapeDtypeStruct((2, *subject.images.pixels.shape[1:]), np.float32)
    if all(leaf.ndim != 3 for leaf in jax.eval_shape(subject.forward(), struct).values()):
        return subject
    mapped = dataclasses.replace(subject, apply=analysis.token_maps(subject.apply))
    try:
        jax.eval_shape(mapped.forward(), struct)
    except InputError:
        return subject
    return mapped


def count_classes(subject: Subject) -> int:
    """How many classes a network tells apart.

    Raises InputError for one that cannot take the images, or not any number of them, and for an output that is none.
    """
    _, height, width, channels = subject.images.pixels.shape
    size = f"{height}×{width} pixels and {channels} channel{'s' * (channels > 1)}"
    shapes = []
    for count in (2, 3):
        struct = jax.ShapeDtypeStruct((count, height, width, channels), np.float32)
        try:
            shapes.append(jax.eval_shape(subject.forward(), struct))
        except (FlaxError, TypeError, ValueError) as error:
            raise InputError(
                f"{subject.title} does not take {count} images of {size}: {first_line(error)}. Give images of the "
                "size that it was made for, as --data.size 224, or another network"
            ) from error
    for name, leaf in shapes[0].items():
        if leaf.shape[:1] != (2,) or shapes[1][name].shape[:1] != (3,):
            raise InputError(f"{name} of {subject.title} has shape {leaf.shape} for 2 images: their axis must be first")
    if len(shapes[0]["logits"].shape) != 2:
        raise InputError(f"{subject.title} gives {shapes[0]['logits'].shape} for 2 images: expected (images, classes)")
    return shapes[0]["logits"].shape[1]


def _open(one: Named, images: Images, torch: Torch) -> dict[str, Subject]:
    _, height, width, channels = images.pixels.shape
    options: dict[str, Any] = dataclasses.asdict(torch)
    match one.kind:
        case "run":
            found = networks_of_run(Path(one.place).expanduser(), images)
            if one.label and len(found) == 1:
                return {one.label: next(iter(found.values()))}
            return {"-".join(filter(None, [one.label, name])): subject for name, subject in found.items()}
        case "torch":
            forward, variables = models.from_torch(_called(one.place), (height, width, channels), **options)
        case "pt2":
            forward, variables = models.from_exported(one.place, **options)
        case "jax":
            forward, variables = _of_jax(_called(one.place))
        case name:
            # Grey images are read by the kernels' sums over colours.
            model, variables = models.load_weights(name, one.place, in_chans=1 if channels == 1 else None)
            forward = of_model(model)
    stem = Path(one.place).stem if one.kind not in ("torch", "jax") else one.place.rpartition(":")[2]
    label = one.label or re.sub(r"[^A-Za-z0-9._+-]+", "-", stem).lstrip(".-") or "network"
    return {label: Subject(label, forward, variables, images, functools.partial(shuffled, variables))}


def _called(place: str) -> Any:
    """What the function returns that `module:function` names; raises InputError where there is none, or it raises."""
    function, name = imported(place, "function"), place.partition(":")[2]
    if not callable(function):
        raise InputError(f"{place} is {shown(function)}, not a function")
    try:
        return function()
    except Exception as error:
        raise InputError(f"{name}() raises {type(error).__name__}: {first_line(error)}") from error


def _of_jax(returned: Any) -> tuple[Apply, Any]:
    """`(forward, variables)` of what a function of JAX returned: that pair, or a function of images."""
    if isinstance(returned, tuple) and len(returned) == 2 and callable(returned[0]):
        forward, variables = returned
    elif callable(returned):
        forward, variables = (lambda _, images: returned(images)), {}
    else:
        raise InputError(f"it returns a {type(returned).__name__}: expected (forward, variables) or f(images)")
    return _paired(forward), variables


def _paired(forward: Callable[..., Any]) -> Apply:
    def apply(variables: Any, images: Any) -> tuple[Any, Mapping[str, Any]]:
        found = forward(variables, images)
        if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping):
            return found
        if isinstance(found, Mapping) and "logits" in found:
            return found["logits"], found
        if hasattr(found, "shape"):
            return found, {}
        raise InputError("it gives neither logits, nor (logits, activations), nor a dict with logits")

    return apply


def shuffled(variables: Any) -> Any:
    """Variables whose numbers are those given, in another order within each array: a network that knows nothing."""
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda a: jnp.asarray(random.permutation(np.asarray(a).ravel()).reshape(np.shape(a))), variables
    )
