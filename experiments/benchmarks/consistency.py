"""How many evaluations of image × transform does the invariance protocol make in a second?

Measures a small network, that of `python -m experiments.augmentation`, on every orbit of the protocol, against the loop
that one would write: transform all images with the same operation, classify them with the same compiled network, one
transform after the other. The two take turns, so that other work on the machine falls on both, and must give the same
classes.

    python -m experiments.benchmarks.consistency

Expected: thousands of evaluations in a second.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from cnnjax import analysis, models, runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from experiments.benchmarks.measure import interleave, speed_ratio

TAKES = "under a minute on two cores"


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    images: int = 64
    """How many images meet every transform."""
    side: int = 36
    """Their height and width, in pixels."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of the network's stages."""
    seconds: float = 2.0
    """How long each orbit is measured, in turns with the loop."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_consistency/, under a name that follows from the options)."""


ORBITS: dict[str, Callable[[], analysis.Orbit]] = {
    "shift, zero": lambda: analysis.shifts(4),
    "shift, circular": lambda: analysis.shifts(4, fill="circular"),
    "shift, crop": lambda: analysis.shifts(4, fill="crop"),
    "shift, sub-pixel": analysis.subpixel_shifts,
    "rotation": analysis.rotations,
}


def run(config: Config) -> Path:
    """Measure every orbit, print the table, write it as Markdown, and return the run directory."""
    if config.images < 1 or config.seconds <= 0:
        raise InputError(f"images={config.images} must be at least 1, and seconds={config.seconds} positive")
    if config.side < 9:
        raise InputError(f"side={config.side} leaves no window for crops by up to 4 pixels: give at least 9")
    runtime.configure()
    with open_run("benchmarks_consistency", config, out=config.out) as directory:
        model = models.AllConv(num_classes=10, widths=config.widths, depth=1, head_width=config.widths[-1])
        images = jax.random.uniform(jax.random.key(0), (config.images, config.side, config.side, 1))
        variables = model.init(jax.random.key(1), images[:1])
        forward = models.bind(model, variables)
        rows = []
        with Progress(len(ORBITS)) as progress:
            for name, make in ORBITS.items():
                progress.cell(name)
                progress.status("compiling and measuring")
                rows.append({"orbit": name, **_measured(forward, images, make(), config.seconds)})
        caption = (
            f"{config.images} images of {config.side}×{config.side} pixels, a network of widths {config.widths}. "
            "Evaluations: images × members of the orbit, the identity among them, per second. "
            "Ratio: the loop's time over ours, median (quartiles) over rounds in turn; above 1 cnnjax is faster."
        )
        show_tables(directory, [Table(rows, "Throughput of the protocol", caption)])
        return directory.path


def _measured(forward: Partial, images: jax.Array, orbit: analysis.Orbit, seconds: float) -> dict[str, Any]:
    members = np.concatenate([orbit.identity[None], orbit.parameters])
    network = functools.partial(runtime.jit(lambda f, x: f(x)[0]), forward)

    def ours() -> np.ndarray:
        return analysis.predict(forward, images, orbit).classes

    def loop() -> np.ndarray:
        logits = [network(orbit.apply(images, jnp.asarray(member))) for member in members]
        return np.stack([np.asarray(row).argmax(-1) for row in logits])

    agree = (ours() == loop()).mean()
    if agree < 0.999:  # but for ties that rounding breaks
        raise ArithmeticError(f"{orbit.name}: the two agree on {agree:.2%} of all classes only")
    taken = interleave({"ours": ours, "loop": loop}, seconds=seconds)
    count = len(members) * len(images)
    return {
        "transforms": len(orbit.parameters),
        "evaluations/s": f"{count / np.median(taken['ours']):,.0f}",
        "the loop's": f"{count / np.median(taken['loop']):,.0f}",
        "ratio": str(speed_ratio(taken["ours"], taken["loop"])),
    }


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.consistency", can_tell=False)
