"""The invariance protocol as options, and its measurement of trained networks (`cnnjax.analysis.PROTOCOL`)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from cnnjax import analysis, models
from cnnjax.data import Dataset, blocks, shapes
from cnnjax.errors import InputError
from cnnjax.networks.calls import evaluation
from cnnjax.reporting import Report, silent
from cnnjax.sweep.ranges import check_named, check_ranges
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
        check_named(self, "orbits", prefix="protocol.")
        analysis.shifts(self.max_shift)
        analysis.rotations(self.rotation_step)


@dataclasses.dataclass(frozen=True)
class Task:
    """One orbit with the examples that it moves."""

    orbit: analysis.Orbit
    examples: Any
    resized: bool = False
    """Whether it shows images of another size than the dataset's."""
    like: str = ""
    """The task that shows the same images; empty where there is none."""

    def fits(self, model: nn.Module) -> bool:
        """Whether a network can take it: one that flattens its input or its last map takes images of one size only."""
        return not self.resized or (hasattr(model, "padding") and getattr(model, "head", None) != "dense")


def tasks(config: ProtocolConfig | None, dataset: Dataset) -> dict[str, Task]:
    """The measurements of a dataset by name, none without a `config`.

    Rendered shapes move by rendering them elsewhere, so that no pixel is resampled. Circular shifts show the images of
    zero-filled ones where an empty margin leaves nothing to wrap around.
    """
    if config is None:
        return {}
    test = dataset.test
    pixels = jnp.asarray(test.images[: config.images], jnp.float32) / 255
    zero, rotation = analysis.shifts(config.max_shift, fill="zero"), analysis.rotations(config.rotation_step)
    moved: Any = pixels
    if test.scenes is not None:
        moved = jnp.asarray(test.scenes[: config.images])
        canvas = test.images.shape[1]
        zero = dataclasses.replace(zero, apply=_rendered_shift(canvas), resampler="rendered")
        rotation = dataclasses.replace(rotation, apply=_rendered_rotation(canvas), resampler="rendered")
    circular, crop = (analysis.shifts(config.max_shift, fill=fill) for fill in ("circular", "crop"))
    subpixel = analysis.subpixel_shifts()
    same = dataset.test.scenes is None and dataset.margin >= config.max_shift
    found = {
        zero.name: Task(zero, moved),
        circular.name: Task(circular, pixels, like=zero.name if same else ""),
        rotation.name: Task(rotation, moved),
        subpixel.name: Task(subpixel, pixels),
        crop.name: Task(crop, pixels, resized=True),
    }
    return {name: task for name, task in found.items() if name in config.orbits}


def prove(todo: Mapping[str, Task], model: nn.Module, dataset: Dataset) -> None:
    """Raise `InputError` where the network cannot take what an orbit gives, without running either."""
    if not todo:
        return
    _, variables = shapes_of(model, dataset.test.images.shape[1:])
    for name, task in todo.items():
        if not task.fits(model):
            continue
        images = jax.eval_shape(task.orbit.apply, task.examples, task.orbit.identity)
        try:
            jax.eval_shape(evaluation(model), variables, images)
        except InputError as error:
            height, width = images.shape[1:3]
            raise InputError(
                f"{name} shows the network images of {height}×{width} pixels, and {error} Or lower protocol.max_shift."
            ) from error


def measure(
    todo: Mapping[str, Task],
    dataset: Dataset,
    model: nn.Module,
    networks: list[PyTree],
    *,
    progress: Report = silent,
) -> dict[str, np.ndarray]:
    """Every prediction the scores need, for each network: arrays by `orbit/what`, with a leading seed axis.

    `orbit/classes` is `(seeds, transforms + 1, images)`, `orbit/total_variation` `(seeds, transforms, images)`, and
    `test/classes` `(seeds, images)` over the whole test set, which is all that there is where nothing is `todo`.
    """
    todo = {name: task for name, task in todo.items() if task.fits(model)}
    found: dict[str, list[np.ndarray]] = {}
    total = len(networks) * (len(todo) + 1)
    for seed, variables in enumerate(networks):
        forward = models.bind(model, variables)
        seen: dict[str, analysis.Predictions] = {}
        for index, (name, task) in enumerate(todo.items()):
            progress(seed * (len(todo) + 1) + index, total, f"measuring {name}")
            if task.like in seen:
                seen[name] = seen[task.like]
            else:
                seen[name] = analysis.predict(forward, task.examples, task.orbit)
            found.setdefault(f"{name}/classes", []).append(seen[name].classes.astype(np.uint16))
            found.setdefault(f"{name}/total_variation", []).append(seen[name].total_variation)
        progress((seed + 1) * (len(todo) + 1) - 1, total, "measuring accuracy")
        answers = np.concatenate([analysis.classify_all(forward, block) for block in blocks(dataset.test.images)])
        found.setdefault("test/classes", []).append(answers.astype(np.uint16))
    return {name: np.stack(values) for name, values in found.items()}


@functools.cache
def _rendered_shift(canvas: int) -> Callable[[Array, Array], Array]:
    return lambda scenes, offset: shapes.render(shapes.move(scenes, offset=(offset[0], offset[1])), canvas=canvas)


@functools.cache
def _rendered_rotation(canvas: int) -> Callable[[Array, Array], Array]:
    return lambda scenes, degrees: shapes.render(shapes.move(scenes, degrees=degrees), canvas=canvas)
