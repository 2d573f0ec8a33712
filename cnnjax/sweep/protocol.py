"""The invariance protocol as options, and its measurement of trained networks (`cnnjax.analysis.PROTOCOL`)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from cnnjax import analysis
from cnnjax.data import Dataset, shapes
from cnnjax.errors import InputError
from cnnjax.reporting import Report, silent
from cnnjax.sweep.ranges import check_ranges
from cnnjax.sweep.traced import shapes_of

OrbitName = Literal["shift_zero", "shift_circular", "rotation", "shift_subpixel", "shift_crop"]


@dataclasses.dataclass(frozen=True)
class ProtocolConfig:
    """How invariance is measured."""

    max_shift: int = 4
    """Farthest shift along either axis, in pixels; every shift up to it is measured."""
    rotation_step: float = 15.0
    """Degrees between the measured rotations, which go all the way round."""
    images: int = 1000
    """Test images that meet every transform; plain accuracy is over all test images."""
    orbits: tuple[OrbitName, ...] = get_args(OrbitName)
    """The families of transforms to measure."""

    def __post_init__(self):
        check_ranges(self, "protocol.")
        if self.images < 1:
            raise InputError(f"protocol.images={self.images} must be at least 1")
        if not self.orbits:
            raise InputError(f"protocol.orbits is empty: name at least one of {', '.join(get_args(OrbitName))}")
        analysis.shifts(self.max_shift)
        analysis.rotations(self.rotation_step)


@dataclasses.dataclass(frozen=True)
class Task:
    """One orbit with the examples that it moves."""

    orbit: analysis.Orbit
    examples: Any


def tasks(config: ProtocolConfig, dataset: Dataset, model: nn.Module) -> dict[str, Task]:
    """Every measurement that makes sense for this dataset and network, by name.

    Rendered shapes move by rendering them elsewhere, so that no pixel is resampled. A network that flattens its input
    or its last map cannot take crops, which are smaller.
    """
    test = dataset.test
    pixels = jnp.asarray(test.images[: config.images], jnp.float32) / 255
    zero, rotation = analysis.shifts(config.max_shift, fill="zero"), analysis.rotations(config.rotation_step)
    moved: Any = pixels
    if test.scenes is not None:
        moved = jnp.asarray(test.scenes[: config.images])
        canvas = test.images.shape[1]
        zero = dataclasses.replace(zero, apply=_rendered_shift(canvas), resampler="rendered")
        rotation = dataclasses.replace(rotation, apply=_rendered_rotation(canvas), resampler="rendered")
    circular = analysis.shifts(config.max_shift, fill="circular")
    found = {
        zero.name: Task(zero, moved),
        circular.name: Task(circular, pixels),
        rotation.name: Task(rotation, moved),
    }
    subpixel = analysis.subpixel_shifts()
    found[subpixel.name] = Task(subpixel, pixels)
    if hasattr(model, "padding") and getattr(model, "head", None) != "dense":
        crop = analysis.shifts(config.max_shift, fill="crop")
        found[crop.name] = Task(crop, pixels)
    return {name: task for name, task in found.items() if name in config.orbits}


def prove(todo: dict[str, Task], model: nn.Module, dataset: Dataset) -> None:
    """Raise `InputError` where the network cannot take what an orbit gives, without running either."""
    _, variables = shapes_of(model, dataset.test.images.shape[1:])
    for name, task in todo.items():
        images = jax.eval_shape(task.orbit.apply, task.examples, task.orbit.identity)
        try:
            jax.eval_shape(model.apply, variables, images)
        except InputError as error:
            height, width = images.shape[1:3]
            raise InputError(
                f"{name} shows the network images of {height}×{width} pixels, and {error} Or lower protocol.max_shift."
            ) from error


def same_images(config: ProtocolConfig, dataset: Dataset) -> bool:
    """Whether circular and zero shifts give the same pixels: a margin leaves nothing to wrap around."""
    return dataset.test.scenes is None and dataset.margin >= config.max_shift


@functools.lru_cache(maxsize=8)
def _logits(model: nn.Module) -> Callable[[PyTree, Array], Array]:
    return lambda variables, images: model.apply(variables, images)[0]  # pyright: ignore


def classifier(model: nn.Module, variables: PyTree) -> Partial:
    """`images -> logits`, as a pytree: networks that differ in their variables share one compilation."""
    return Partial(_logits(model), variables)


def measure(
    config: ProtocolConfig | None,
    dataset: Dataset,
    model: nn.Module,
    networks: list[PyTree],
    *,
    progress: Report = silent,
) -> dict[str, np.ndarray]:
    """Every prediction the scores need, for each network: arrays by `orbit/what`, with a leading seed axis.

    `orbit/classes` is `(seeds, transforms + 1, images)`, `orbit/total_variation` `(seeds, transforms, images)`, and
    `test/classes` `(seeds, images)` over the whole test set, which is all that there is without a `config`.
    """
    todo = tasks(config, dataset, model) if config is not None else {}
    copies = config is not None and same_images(config, dataset)
    found: dict[str, list[np.ndarray]] = {}
    total = len(networks) * (len(todo) + 1)
    for seed, variables in enumerate(networks):
        seen: dict[str, analysis.Predictions] = {}
        for index, (name, task) in enumerate(todo.items()):
            progress(seed * (len(todo) + 1) + index, total, f"measuring {name}")
            if name == "shift_circular" and copies:
                seen[name] = seen["shift_zero"]
            else:
                seen[name] = analysis.predict(classifier(model, variables), task.examples, task.orbit)
            found.setdefault(f"{name}/classes", []).append(seen[name].classes.astype(np.uint16))
            found.setdefault(f"{name}/total_variation", []).append(seen[name].total_variation)
        progress((seed + 1) * (len(todo) + 1) - 1, total, "measuring accuracy")
        answers = analysis.classify_all(classifier(model, variables), dataset.test.images)
        found.setdefault("test/classes", []).append(answers.astype(np.uint16))
    return {name: np.stack(values) for name, values in found.items()}


@functools.cache
def _rendered_shift(canvas: int) -> Callable[[Array, Array], Array]:
    return lambda scenes, offset: shapes.render(shapes.move(scenes, offset=(offset[0], offset[1])), canvas=canvas)


@functools.cache
def _rendered_rotation(canvas: int) -> Callable[[Array, Array], Array]:
    return lambda scenes, degrees: shapes.render(shapes.move(scenes, degrees=degrees), canvas=canvas)
