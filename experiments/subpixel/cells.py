"""Cells of the sub-pixel experiment once trained: answers under every shift, and the time of a training step."""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cnnjax import analysis, models, ops, runtime
from cnnjax.runs import Progress
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Sweep
from cnnjax.training import Epoch, Settings, init_state, train_step

Kind = Literal[
    "stride",
    "max",
    "average",
    "blur",
    "polyphase",
    "learned_polyphase",
    "low_pass",
    "alias_free_relu",
    "alias_free_gelu",
    "alias_free_quadratic",
]
ALL: tuple[Kind, ...] = get_args(Kind)

PARTS = {"whole": 1, "half": 2, "quarter": 4}
"""Kinds of shifts, and the parts of a pixel that both their offsets are multiples of, and of no coarser ones."""
FINEST = max(PARTS.values())
STEPS, ROUNDS = 10, 20
"""Training steps of each network in its turn, and turns."""


def fields(kind: Kind) -> dict[str, Any]:
    """What a network of that kind sets: how its maps shrink, and where they do so by an ideal low pass, how it acts."""
    if kind == "low_pass":
        return {"downsample": "alias_free"}
    if kind.startswith("alias_free"):
        return {"downsample": "alias_free", "activation": kind}
    return {"downsample": kind}


@dataclasses.dataclass(frozen=True)
class SubpixelPlan:
    """One cell, and what distinguishes it from others."""

    cell: CellPlan
    network: Kind
    padding: str


@dataclasses.dataclass(frozen=True)
class Moved:
    """The answers of a cell's networks under every shift of `quarter_shifts`."""

    training_accuracy: np.ndarray
    """`(seeds,)`, of all training images as they are."""
    columns: dict[str, dict[str, np.ndarray]]
    """`analysis.image_columns`, each `(seeds, images)`, for each of `PARTS`."""
    agree: np.ndarray
    """`(seeds, distances)`: the share of images that a shift by so many quarters leaves alone, 0 the first; down, to
    the right and both."""
    most: float
    """The largest total variation between the class probabilities of an image moved and unmoved."""


def quarter_shifts(max_shift: int) -> analysis.Orbit:
    """Circular shifts down and to the right by every multiple of a quarter pixel up to `max_shift`.

    By whole pixels nothing is computed; others go by the Fourier phase.
    """
    reach = np.arange(max_shift * FINEST + 1) / FINEST
    offsets = np.array(list(itertools.product(reach, reach))[1:], np.float32)
    return analysis.Orbit("shift_quarters", offsets, np.zeros(2, np.float32), _shifted, "Fourier phase", ())


def _shifted(images: Array, offset: Array) -> Array:
    whole = jnp.round(offset)
    by_pixels = ops.shift(images, whole.astype(jnp.int32), fill="circular")
    return jnp.where((whole == offset).all(), by_pixels, ops.fourier_shift(images, offset))


def kinds_of(offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Which of the offsets `(transforms, 2)` are of each of `PARTS`: `(transforms,)` bool."""
    finest = np.min([np.where((offsets * d % 1 == 0).all(1), d, FINEST) for d in PARTS.values()], 0)
    return {name: finest == d for name, d in PARTS.items()}


def measure_shifts(of: Sweep, *, max_shift: int, images: int, progress: Progress) -> dict[str, Moved]:
    """The answers of every trained cell under `quarter_shifts`, of the first `images` test images; by name of cell.

    A cell keeps a file, written whole.
    """
    dataset, orbit = of.dataset, quarter_shifts(max_shift)
    test, labels = dataset.test.images[:images], dataset.test.labels[:images]
    pixels = jnp.asarray(test, jnp.float32) / 255
    found = {}
    for cell in (plan for plan in of.plans if plan.name in of.predictions):

        def measure(cell: CellPlan = cell) -> dict[str, np.ndarray]:
            rows = []
            for seed, variables in enumerate(of.networks(cell)):
                forward = models.bind(cell.model, variables)
                seen = analysis.predict(forward, pixels, orbit)
                answers = analysis.classify_all(forward, dataset.train.array)
                right = np.asarray((answers == dataset.train.labels).mean())
                rows.append((right, seen.classes.astype(np.uint16), seen.total_variation))
                progress.advance(seed + 1, of.seeds)
            names = ("training_accuracy", "classes", "total_variation")
            return {name: np.stack(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}

        kept = of.run.once(cell.name, "shifts.safetensors", measure, progress=progress, title=f"{cell.name}: shifts")
        found[cell.name] = _moved(kept, labels, orbit)
    return found


def _moved(kept: dict[str, np.ndarray], labels: np.ndarray, orbit: analysis.Orbit) -> Moved:
    seeds = [analysis.Predictions(*pair) for pair in zip(kept["classes"], kept["total_variation"], strict=True)]
    columns = {}
    for name, among in kinds_of(orbit.parameters).items():
        each = [analysis.image_columns(seed, labels, orbit, among=among) for seed in seeds]
        columns[name] = {key: np.stack([one[key] for one in each]) for key in each[0]}
    agree = (kept["classes"][:, 1:] == kept["classes"][:, :1]).mean(-1)
    reach = np.arange(1, round(float(orbit.parameters.max()) * FINEST) + 1) / FINEST
    down, right = orbit.parameters.T
    lines = [((down == d) | (down == 0)) & ((right == d) | (right == 0)) for d in reach]
    by_distance = np.stack([np.ones(len(agree)), *(agree[:, line].mean(1) for line in lines)], 1)
    return Moved(kept["training_accuracy"], columns, by_distance, float(kept["total_variation"].max()))


def time_steps(of: Sweep, plans: Sequence[SubpixelPlan], *, progress: Progress) -> dict[str, np.ndarray]:
    """Seconds of a training step of each cell with circular padding, `(ROUNDS,)`.

    Measured in turns, so that what else runs falls on all alike.

    The run keeps a file, written whole; of other cells than these, as of a run that has grown, it is made anew.
    """
    names = [plan.cell.name for plan in plans if plan.padding == "circular"]

    def measure() -> dict[str, list[float]]:
        turns = {plan.cell.name: _turn(of, plan.cell) for plan in plans if plan.cell.name in names}
        for turn in turns.values():
            turn()  # compiles it
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for number in range(ROUNDS):
            for name, turn in turns.items():
                seconds[name].append(turn() / STEPS)
            progress.advance(number + 1, ROUNDS)
        return seconds

    if (folder := of.run.cell("steps")).has("seconds.json") and list(folder.json("seconds.json")) != names:
        folder.remove("seconds.json")
    kept = of.run.once("steps", "seconds.json", measure, progress=progress, title="time of a step")
    return {name: np.asarray(seconds) for name, seconds in kept.items()}


def _turn(of: Sweep, cell: CellPlan) -> Callable[[], float]:
    """`STEPS` steps of a training that goes on from turn to turn, and the seconds that they take."""
    train = of.dataset.train
    images, labels = jnp.asarray(train.images), jnp.asarray(train.labels, jnp.int32)
    rest = (
        jax.random.key(0),
        Epoch(jnp.arange(len(images)), images, labels),
        Settings(cell.train.hyper(len(images)), cell.augmentation.as_arrays()),
    )
    step = runtime.jit(functools.partial(train_step, cell.spec), donate_argnums=0)
    kept = [init_state(cell.spec, jax.random.key(0), images.shape[1:])]

    def turn() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            kept.append(step(kept.pop(), *rest)[0])
        jax.block_until_ready(kept)
        return time.perf_counter() - began

    return turn
