"""What does training cost as it grows: with devices, batch, image size and dataset, and its checkpoints?

A step on a mesh of one device is timed beside the plain step, which it should not be slower than by more than 2 %.
Devices that are virtual share the cores of this machine, so what is told of them is the overhead of each: how much
longer the same batch takes, and not how much faster it would be.

    python -m experiments.benchmarks.scale
    python -m experiments.benchmarks.scale --parts devices --devices 1 2 4 8
"""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from cnnjax import runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, open_run, show_tables

TAKES = "about five minutes on two cores"

Part = Literal["one", "devices", "batch", "image", "dataset", "checkpoint"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    parts: tuple[Part, ...] = ("one", "devices", "batch", "image", "dataset", "checkpoint")
    """What to measure: the mesh of one device, and how the step, or the checkpoint, grows with what is named."""
    devices: tuple[int, ...] = (1, 2, 8)
    """Numbers of virtual devices."""
    batches: tuple[int, ...] = (32, 128)
    """Images in a step."""
    sides: tuple[int, ...] = (32, 64)
    """Heights and widths of the images, in pixels."""
    images: tuple[int, ...] = (1_000, 50_000)
    """Sizes of the dataset that lies on the device."""
    widths: tuple[int, ...] = (16, 64)
    """Of the network whose checkpoint is written: its parameters grow with the square."""
    batch_size: int = 64
    """Images in a step where the batch is not what changes; the devices must divide it."""
    seconds: float = 4.0
    """How long each comparison is measured, in turns: five rounds at least."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_scale/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every part, print the tables, write them, and return the run directory."""
    _check(config)
    runtime.configure()
    from experiments.benchmarks.scale import rows

    with open_run("benchmarks_scale", config, out=config.out) as directory:
        tables = []
        with Progress(len(config.parts)) as progress:
            for part in config.parts:
                title, caption, of = rows.PARTS[part]
                of = functools.partial(_elsewhere if of is None else of, config)
                tables.append(Table(directory.once(part, "rows.json", of, progress=progress), title, caption, digits=3))
        show_tables(directory, tables)
        return directory.path


def _elsewhere(config: Config) -> list[dict[str, Any]]:
    """A row for each number of devices, from a process that has so many: JAX counts them once."""
    found: list[dict[str, Any]] = []
    for devices in config.devices:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        asked = [sys.executable, "-m", "experiments.benchmarks.scale.rows", str(devices), str(config.batch_size)]
        asked.append(str(config.seconds))
        made = subprocess.run(
            asked, env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True
        )
        if made.returncode:
            raise InputError(f"devices={devices} could not be measured: {made.stderr.strip().splitlines()[-1:]}")
        found.append(json.loads(made.stdout.splitlines()[-1]))
    return found


def _check(config: Config) -> None:
    for name in ("parts", "devices", "batches", "sides", "images", "widths"):
        if not getattr(config, name):
            raise InputError(f"{name} is empty: name at least one")
    for name in ("devices", "batches", "sides", "images", "widths"):
        if min(getattr(config, name)) < 1:
            raise InputError(f"{name}={getattr(config, name)} must be at least 1 each")
    if config.seconds <= 0:
        raise InputError(f"seconds={config.seconds} must be positive")
    uneven = [devices for devices in config.devices if config.batch_size % devices]
    if config.batch_size < 1 or uneven:
        raise InputError(
            f"batch_size={config.batch_size} cannot be shared evenly by devices={uneven}: give a multiple of them"
        )
    if min(config.images) < config.batch_size:
        raise InputError(f"images={config.images} must each be at least batch_size={config.batch_size}")
