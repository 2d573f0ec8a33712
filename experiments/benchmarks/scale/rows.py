"""The rows of the tables: steps, and checkpoints, timed in turns with what they are compared to."""

import dataclasses
import functools
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from cnnjax import models, runtime
from cnnjax.data import Augmentation, apply_augmentation
from cnnjax.training import (
    Epoch,
    Placement,
    Settings,
    StepSpec,
    TrainConfig,
    init_state,
    load_tree,
    save_tree,
    train_step,
)
from cnnjax.training.devices import place
from experiments.benchmarks.measure import interleave, speed_ratio

if TYPE_CHECKING:
    from experiments.benchmarks.scale import Config

Rows = list[dict[str, Any]]


def network(width: int = 16) -> models.ResNet:
    """A small residual network."""
    return models.ResNet(num_classes=10, widths=(width, 2 * width), depth=1)


def step(*, batch: int, side: int = 32, images: int = 0, devices: int = 0) -> Callable[[], object]:
    """A training step of the small network, on a mesh of so many devices, or of none at all."""
    n, rng = images or 4 * batch, np.random.default_rng(0)
    config = TrainConfig(epochs=100, batch_size=batch, learning_rate=0.01)
    spec = StepSpec(network(), "sgd", batch, apply_augmentation)
    state = init_state(spec, jax.random.key(0), (side, side, 3))
    epoch = Epoch(rng.permutation(n), rng.integers(0, 256, (n, side, side, 3), np.uint8), rng.integers(0, 10, n))
    rest = jax.tree.map(
        jnp.asarray, (jax.random.key(1), epoch, Settings(config.hyper(n), Augmentation(crop=2).as_arrays()))
    )
    if devices:
        mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
        placement = Placement(mesh)
        spec = dataclasses.replace(spec, placement=placement)
        state, rest = place(state, placement.of_state(state)), place(rest, placement.everywhere)
    compiled, kept = runtime.jit(functools.partial(train_step, spec), donate_argnums=0), [jax.tree.map(jnp.copy, state)]

    def once() -> None:
        new, _ = jax.block_until_ready(compiled(kept.pop(), *rest))
        kept.append(new)

    return once


def of_one_device(config: "Config") -> Rows:
    """The step on a mesh of one device beside the plain one."""
    programs = {"plain": step(batch=config.batch_size), "mesh": step(batch=config.batch_size, devices=1)}
    times = interleave(programs, seconds=config.seconds, rounds=20)
    return [
        {
            "batch": config.batch_size,
            "plain ms": _ms(times["plain"]),
            "mesh ms": _ms(times["mesh"]),
            "mesh / plain": str(speed_ratio(times["plain"], times["mesh"])),
        }
    ]


def of_devices(devices: int, batch: int, seconds: float) -> dict[str, Any]:
    """A batch shared out to so many virtual devices, beside the same batch on one."""
    programs = {"one": step(batch=batch), "all": step(batch=batch, devices=devices)}
    times = interleave(programs, seconds=seconds)
    ratio = speed_ratio(times["one"], times["all"])
    more = (float(np.median(times["all"])) - float(np.median(times["one"]))) * 1e3
    return {
        "devices": devices,
        "batch": batch,
        "one ms": _ms(times["one"]),
        "all ms": _ms(times["all"]),
        "all / one": str(ratio),
        "overhead of each, ms": more / devices,
        "images/s": batch / float(np.median(times["all"])),
    }


def _growing(
    what: str, sizes: tuple[int, ...], of: Callable[[int], tuple[int, Callable[[], object]]], seconds: float
) -> Rows:
    """A row for each size: its images in a second, and an image's time over that of the first size."""
    made = {str(size): of(size) for size in sizes}
    times = interleave({name: program for name, (_, program) in made.items()}, seconds=seconds * len(sizes))
    each = {name: times[name] / batch for name, (batch, _) in made.items()}
    first = each[str(sizes[0])]
    return [
        {
            what: size,
            "step ms": _ms(times[str(size)]),
            "images/s": 1 / float(np.median(each[str(size)])),
            "time of an image / the first's": str(speed_ratio(first, each[str(size)])),
        }
        for size in sizes
    ]


def of_batches(config: "Config") -> Rows:
    """Steps of several sizes."""
    return _growing("batch", config.batches, lambda batch: (batch, step(batch=batch)), config.seconds)


def of_sides(config: "Config") -> Rows:
    """Steps on images of several sizes."""
    batch = config.batch_size
    return _growing("side", config.sides, lambda side: (batch, step(batch=batch, side=side)), config.seconds)


def of_datasets(config: "Config") -> Rows:
    """Steps on batches out of datasets of several sizes."""
    batch = config.batch_size
    return _growing("images", config.images, lambda n: (batch, step(batch=batch, images=n)), config.seconds)


def of_checkpoints(config: "Config") -> Rows:
    """Writing and reading the state of networks of several widths."""
    rows = []
    for width in config.widths:
        spec = StepSpec(network(width), "sgd", 1, apply_augmentation)
        state = jax.block_until_ready(init_state(spec, jax.random.key(0), (32, 32, 3)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            programs = {"write": lambda: save_tree(path, state), "read": lambda: load_tree(path, state)}  # noqa: B023
            times = interleave(programs, seconds=config.seconds)
            size = path.stat().st_size
        parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.variables["params"]))
        rows.append(
            {
                "parameters": parameters,
                "MB": size / 1e6,
                "write ms": _ms(times["write"]),
                "read ms": _ms(times["read"]),
                "MB/s written": size / 1e6 / float(np.median(times["write"])),
            }
        )
    return rows


def _ms(times: np.ndarray) -> float:
    return float(np.median(times)) * 1e3


_RATIOS = "Ratios are medians (quartiles) over rounds in turn."
PARTS: dict[str, tuple[str, str, Callable[["Config"], Rows] | None]] = {
    "one": (
        "A mesh of one device",
        f"A training step of a small ResNet; 1.02 at most is aimed at. {_RATIOS}",
        of_one_device,
    ),
    "devices": (
        "Virtual devices",
        f"They share this machine's cores, so the time over that of one device is overhead, not speed. {_RATIOS}",
        None,
    ),
    "batch": ("Batches", f"Below 1 an image takes less time than in the first row. {_RATIOS}", of_batches),
    "image": ("Sizes of images", f"Pixels grow with the square of the side. {_RATIOS}", of_sides),
    "dataset": ("Sizes of datasets", f"All images lie on the device. {_RATIOS}", of_datasets),
    "checkpoint": (
        "Checkpoints",
        "Of parameters, running statistics and momentum, in one file with its digest.",
        of_checkpoints,
    ),
}
"""Of each part its title, its caption, and what makes its rows; those of devices come from processes of their own."""


if __name__ == "__main__":
    runtime.configure()
    count, size, duration = sys.argv[1:]
    print(json.dumps(of_devices(int(count), int(size), float(duration))))
