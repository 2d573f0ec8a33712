"""How many images do locality and the sharing of weights save?

An image has k patches of d numbers, all noise; one of them, anywhere, also holds a signal, and its sign is the label:
the dynamic signal distribution of Lahoti, Karp, Winston, Singh & Li 2024 (arXiv 2403.15707). Three networks of one
hidden layer learn it by gradient descent: convolutional (CNN: one filter for all patches), locally connected (LCN: one
for each) and fully connected (FCN: k filters of whole images). Measured is the number of images that each needs to
reach an error, against k and against d.

    python -m experiments.sample_complexity                          k from 4 to 32, d from 16 to 128
    python -m experiments.sample_complexity --target 0.2 --noise 0.25

Theory, up to constants and logarithms: a CNN needs at most σ² (k + d) images, an LCN at least σ² k d and at most
σ² k (k + d), an FCN at least σ² k² d, whatever the algorithm, if it treats all directions alike, as gradient descent
does. Expected: that order for many patches, and exponents in k and d about as large as the bounds' or larger.

What differs from the theory. Its bounds are for large k and d, and a task whose noise lets the error fall to 0; here
both are small, the error is a fixed one, and the best error there is rises with k, so exponents in k come out larger.
Its upper bounds are of algorithms made for the proof; here gradient descent with momentum runs for a fixed number of
steps from small weights. A unit's threshold is a part of its filter's length, in units of σ √(log k), about what the
largest of k noises reaches; which part, is chosen for each network and size by pilot repetitions. With a threshold of 0
every network is linear in the image, and none of those can have less error than Φ(−1 / (σ √k)).

The same command goes on where a killed one was. The run directory holds every repetition, the tables and the figure.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnnjax.errors import InputError
from cnnjax.runs import Progress, RunDirectory, open_run
from cnnjax.sweep.ranges import check_memory, check_named, check_ranges
from experiments.sample_complexity import report
from experiments.sample_complexity.exponents import Measured
from experiments.sample_complexity.networks import Kind
from experiments.sample_complexity.search import Search, all_needed, choose_threshold
from experiments.sample_complexity.task import Task, linear_floor

TAKES = "about two minutes of processor time"

GROWS = ("repetitions", "networks", "patches", "dimensions")
"""Options of which a run may get more: it keeps what stands."""

NEEDS = "needs.safetensors"


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the sample complexity experiment."""

    networks: tuple[Kind, ...] = ("cnn", "lcn", "fcn")
    """The networks to compare."""
    patches: tuple[int, ...] = (4, 8, 16, 32)
    """Numbers of patches k, each with patches of at_dimension numbers."""
    dimensions: tuple[int, ...] = (16, 32, 64, 128)
    """Numbers d in a patch, each with images of at_patches patches."""
    at_patches: int = 8
    """k where d varies."""
    at_dimension: int = 32
    """d where k varies."""
    noise: float = 0.3
    """σ, the deviation of the noise in each number; the signal has length 1."""
    target: float = 0.25
    """The error to reach, as a fraction."""
    most: int = 8192
    """Images to learn from at most."""
    test_images: int = 2000
    """Images that an error is measured on."""
    thresholds: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Thresholds of the units to choose from, in units of σ √(log k) of a filter's length; 0 makes a network linear."""
    pilots: int = 3
    """Repetitions that choose, apart from those that count."""
    steps: int = 300
    """Steps of gradient descent, each on all images."""
    learning_rate: float = 0.1
    """Of these steps, with a momentum of 0.9."""
    repetitions: int = 10
    """How often each need is measured, each time with another signal, other images and other weights."""
    out: Path | None = None
    """The run directory (by default runs/sample_complexity/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every need, print the tables, write them and the figure, and return the run directory."""
    _check(config)
    with open_run("sample_complexity", config, out=config.out, grows=GROWS) as directory:
        cells: list[tuple[Kind, Task]] = [(kind, task) for kind in config.networks for task in tasks(config)]
        with Progress(len(cells)) as progress:
            found = [_measure(directory, config, kind, task, progress) for kind, task in cells]
        report.write(directory, config, found)
        return directory.path


def tasks(config: Config) -> list[Task]:
    """The sizes of images, along k, then along d, each once."""
    along_k = [(k, config.at_dimension) for k in config.patches]
    along_d = [(config.at_patches, d) for d in config.dimensions]
    return [Task(k, d, config.noise) for k, d in dict.fromkeys([*along_k, *along_d])]


def _measure(directory: RunDirectory, config: Config, kind: Kind, task: Task, progress: Progress) -> Measured:
    search = Search(config.target, config.most, config.test_images, config.steps, config.learning_rate)

    def measure(repetitions: Sequence[int]) -> dict[str, np.ndarray]:
        if folder.has(NEEDS):
            threshold = float(folder.arrays(NEEDS)["threshold"][0])
        else:
            threshold = choose_threshold(kind, task, search, config.thresholds, config.pilots)
        if threshold is None or math.isnan(threshold):
            nothing = np.full(len(repetitions), np.nan)
            return {"images": nothing, "training_error": nothing, "threshold": nothing}
        needs = all_needed(repetitions, kind, task, search, threshold, progress=progress.advance)
        images, errors = np.array(needs).T
        return {"images": images, "training_error": errors, "threshold": np.full(len(images), threshold)}

    name = f"network={kind},patches={task.patches},dimension={task.dimension}"
    folder, repetitions = directory.cell(name), range(config.repetitions)
    arrays = directory.once(name, NEEDS, measure, progress=progress, seeds=repetitions)
    images, errors, threshold = (arrays[name] for name in ("images", "training_error", "threshold"))
    return Measured(kind, task.patches, task.dimension, images, errors, float(np.ravel(threshold)[0]))


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "networks", "patches", "dimensions", "thresholds")
    for name in ("networks", "patches", "dimensions", "thresholds"):
        values = getattr(config, name)
        if len(set(values)) < len(values):
            raise InputError(f"{name}={values} has one more than once: give each once")
    for name, at in (("patches", "at_patches"), ("dimensions", "at_dimension")):
        if len(getattr(config, name)) < 2:
            raise InputError(f"{name}={getattr(config, name)} must be two at least: an exponent is a slope (see {at})")
    if not 0 < config.target < 0.5:
        raise InputError(f"target={config.target} must lie between 0 and 0.5: guessing is right half the time")
    if set(config.thresholds) == {0} and min(map(linear_floor, tasks(config))) >= config.target:
        raise InputError(
            f"thresholds={config.thresholds} make every network linear, and no linear classifier has an error of "
            f"target={config.target}: give thresholds above 0, or less noise"
        )
    largest = max(max(config.patches) * config.at_dimension, config.at_patches * max(config.dimensions))
    check_memory(
        16 * (config.most + config.test_images) * largest,
        f"most={config.most} images of {largest:,} numbers",
        "give fewer, or smaller ones",
    )
    if "fcn" in config.networks:
        weights = max(task.patches**2 * task.dimension for task in tasks(config))
        # Drawn in double precision; weights, gradient, velocity and what a step makes of them in single.
        check_memory(
            32 * weights * (os.cpu_count() or 1),
            f"an fcn of {weights:,} weights, trained on every core,",
            "give fewer patches, or leave fcn out of networks",
        )
