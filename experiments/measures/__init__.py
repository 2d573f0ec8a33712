"""Can the measures of equivariance be believed?

Functions of images whose equivariance mathematics knows (round and directed filters, networks over the groups p4 and
p4m, of mirror images, with polyphase strides; an ordinary network, one without shared weights, an average, a constant)
are measured by every measure that there is, under shifts, half pixels, rotations, quarter turns, zooms and mirror
images, on a canvas with room around the picture and on a tight one. A measure can be believed where every exactly
equivariant function scores below every other one.

    python -m experiments.measures
    python -m experiments.measures --families rotation --canvases 24 48

Expected: the published Lie derivative, whose size is that of the maps, puts directed filters below exact functions;
over the size of the maps it ranks all functions rightly where there is room, and not quite on the tight canvas, where
the border makes all of the error of some exact ones; its own term ranks them rightly on both. Lie derivatives know no
mirror images, and are not about whole pixels or quarter turns, of which finite errors are right. CKA has the order
mostly right, on a scale where a strided network, whose error is larger than its maps, is .9998. A constant is perfect
to all that do not divide by what it does.

The same command goes on where a killed one was. The run directory holds every value, the ranks and the figures.
"""

import dataclasses
import functools
from pathlib import Path

from cnnjax import runtime
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.runs import Progress, open_run
from cnnjax.sweep.ranges import check_memory, check_named, check_ranges
from experiments.measures import cells, report
from experiments.measures.families import FAMILIES, Family
from experiments.measures.functions import FUNCTIONS
from experiments.measures.images import LEAST, TEXTURE_SIDE

TAKES = "about seven minutes on two cores"

GROWS = ("functions", "canvases")
"""Options of which a run may get more: it keeps what stands."""

LEAST_IN_GROUP = 8
"""Images, over which CKA compares and a map is fitted."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the measures experiment."""

    functions: tuple[str, ...] = tuple(FUNCTIONS)
    """The functions, by their names."""
    families: tuple[Family, ...] = tuple(FAMILIES)
    """The families of transforms."""
    canvases: tuple[int, ...] = (24, 40)
    """Sides of the canvases in pixels, even; the disc with the picture has a radius of 8."""
    images: int = 60
    """Images that are measured."""
    groups: int = 5
    """Into how many groups they are divided, each of which is measured by itself: intervals are over these."""
    seed: int = 0
    """Of the images and of random weights."""
    out: Path | None = None
    """The run directory (by default runs/measures/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every function, print the tables, write them and the figures, and return the run directory."""
    _check(config)
    runtime.configure()
    pairs = [(side, name) for side in config.canvases for name in config.functions]
    with open_run("measures", config, out=config.out, grows=GROWS) as directory:
        found = {}
        with Progress(len(pairs)) as progress:
            for side, name in pairs:
                measure = functools.partial(
                    cells.measure, name, side, config.families, config.groups, config.images, config.seed, progress
                )
                cell = f"canvas={side},function={name.replace(' ', '_')}"
                title = f"{name} on {side} pixels"
                found[side, name] = directory.once(cell, "values.json", measure, progress=progress, title=title)
        report.write(directory, found, config.families, images=config.images)
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "functions", "families", "canvases")
    for name in config.functions:
        check_choice("functions", name, tuple(FUNCTIONS))
    for name in ("functions", "families", "canvases"):
        values = getattr(config, name)
        if len(set(values)) < len(values):
            raise InputError(f"{name}={values} has one more than once: give every one once")
    if odd := [side for side in config.canvases if side % 2 or side < LEAST]:
        raise InputError(
            f"canvases={odd[0]} must be even, so that strides of 2 go round it, and at least {LEAST} pixels"
        )
    if config.groups < 2 or config.images % config.groups or config.images < LEAST_IN_GROUP * config.groups:
        raise InputError(
            f"images={config.images} in groups={config.groups}: give 2 groups or more, a multiple of them as images, "
            f"and at least {LEAST_IN_GROUP} images in each"
        )
    side = max(config.canvases)
    # Each image as it is and moved, four at most in each family, and as much again while they are made.
    check_memory(
        8 * 4 * len(FAMILIES) * config.images * max(side, TEXTURE_SIDE) ** 2,
        f"images={config.images} of {side}×{side} pixels, moved,",
        "give fewer, or a smaller one of canvases",
    )
