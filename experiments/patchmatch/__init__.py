"""Remove an object from a photograph: fill its place with patches of the rest.

The only knowledge is that natural images are similar to themselves: every patch in the hole shall have a likeness
outside. No network, no training.

    python -m experiments.patchmatch                                  the rocket leaves its pad
    python -m experiments.patchmatch --image photo.jpg --mask mask.png --result without.png
    python -m experiments.patchmatch --image photo.jpg --rectangle 120 40 260 180
    python -m experiments.patchmatch --image photo.jpg --polygon 40 120 180 120 110 260

A mask is an image of the same size, white where the object is. Mark the object generously, with its shadow. Expected:
the result, in the run directory or where `result` says, and a figure with the hole at every level. Where the rest of
the image has nothing that fits, it shows.
"""

import dataclasses
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnnjax import data, patches, runtime
from cnnjax.errors import InputError
from cnnjax.figures import save
from cnnjax.files import write_atomic
from cnnjax.patches.inpainting import Level, check
from cnnjax.runs import Progress, open_run, print_table
from cnnjax.sweep.ranges import check_ranges
from experiments.patchmatch import figures

TAKES = "under a minute on two cores, most of it the compiler's"

ROCKET = (298, 118, 347, 118, 347, 352, 362, 360, 362, 405, 284, 405, 284, 360, 298, 352)
"""The rocket and its gantry, in the default image."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the object removal."""

    image: str = "rocket"
    """The photograph: a file, or one of the images that scikit-image and scikit-learn carry, by name."""
    mask: Path | None = None
    """An image file of the same size, white (over half) where the object is."""
    rectangle: tuple[int, int, int, int] | None = None
    """Instead of a mask: top, left, bottom, right in pixels; bottom and right are the first beyond the object."""
    polygon: tuple[int, ...] | None = None
    """Instead of a mask: the corners x y x y … around the object, in pixels."""
    patch_size: int = 9
    """Side of a patch; larger ones follow larger structures, smaller ones find more that fits."""
    seed: int = 0
    """Of the search."""
    result: Path | None = None
    """Where to write the result too, an image file such as .png; an existing one stays unless `overwrite` is given."""
    overwrite: bool = False
    """Let `result` replace an existing file."""
    out: Path | None = None
    """The run directory (by default runs/patchmatch/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Fill the hole, write the result and a figure of the levels, and return the run directory."""
    check_ranges(config)
    runtime.configure()
    image = data.load_image(config.image)
    hole = hole_of(config, image.shape[:2])
    check(image, hole, config.patch_size)
    if not hole.any():
        raise InputError("the mask is empty: there is nothing to remove")
    _check_result(config)
    levels: list[Level] = []
    with open_run("patchmatch", config, out=config.out, ignore=("out", "result", "overwrite")) as directory:
        with Progress(1) as progress:
            progress.cell(f"{config.image}: {hole.sum():,} of {hole.size:,} pixels to fill")
            progress.status("compiling, and filling the coarsest level")

            def seen(level: Level) -> None:
                levels.append(level)
                size = f"{level.image.shape[1]}×{level.image.shape[0]}"
                progress.advance(level.number, level.levels, f"level of {size}")
                progress.note(
                    f"  level {level.number} of {level.levels}, {size}: energy {level.energies[0]:.4g} to "
                    f"{level.energies[-1]:.4g}"
                )
                directory.log(level=level.number, size=size, first_energy=level.energies[0], energy=level.energies[-1])

            filled = patches.inpaint(
                image, hole, key=jax.random.key(config.seed), patch_size=config.patch_size, on_level=seen
            )
        _write_image(directory.path / "result.png", filled)
        if config.result is not None:
            _write_image(config.result, filled)
        rows = _rows(levels)
        print_table(rows, title=f"Levels of {config.image}", caption="Energy: see cnnjax.patches.inpaint.", digits=3)
        import pandas as pd

        directory.write_table("summary", pd.DataFrame(rows))
        save(figures.removal(image, hole, filled), directory.figures / "removal.png")
        save(figures.pyramid(levels), directory.figures / "levels.png")
        return directory.path


def _rows(levels: list[Level]) -> list[dict[str, Any]]:
    return [
        {
            "level": f"{number} of {len(levels)}",
            "width": level.image.shape[1],
            "height": level.image.shape[0],
            "hole, pixels": int(level.mask.sum()),
            "rounds": len(level.energies),
            "energy, first": level.energies[0],
            "last": level.energies[-1],
        }
        for number, level in enumerate(levels, 1)
    ]


def hole_of(config: Config, size: tuple[int, ...]) -> np.ndarray:
    """The pixels to fill, from whichever option names them."""
    given = [name for name in ("mask", "rectangle", "polygon") if getattr(config, name) is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are given; give one of mask, rectangle and polygon")
    if config.mask is not None:
        return data.load_image(config.mask).mean(axis=2) > 0.5
    if config.rectangle is not None:
        top, left, bottom, right = config.rectangle
        if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
            raise InputError(
                f"rectangle={top} {left} {bottom} {right} (top, left, bottom, right) must be inside the image of "
                f"height {size[0]} and width {size[1]}, and not empty"
            )
        hole = np.zeros(size, bool)
        hole[top:bottom, left:right] = True
        return hole
    if config.polygon is None and config.image != "rocket":
        raise InputError("say what to remove: give mask, rectangle or polygon")
    corners = config.polygon or ROCKET
    if len(corners) % 2 or len(corners) < 6:
        raise InputError(f"polygon has {len(corners)} numbers; give x and y of at least three corners")
    from PIL import Image, ImageDraw

    canvas = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(canvas).polygon(list(corners), fill=1)
    return np.array(canvas)


def _check_result(config: Config) -> None:
    if config.result is None:
        return
    from PIL import Image

    if Image.registered_extensions().get(config.result.suffix.lower()) not in Image.SAVE:
        raise InputError(f"result={config.result}: the name must end as an image file's does, such as .png")
    if not config.result.parent.is_dir():
        raise InputError(f"result={config.result}: there is no folder {config.result.parent}")
    if config.result.exists() and not config.overwrite:
        raise InputError(f"result={config.result} exists; give another name, or --overwrite")


def _write_image(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = Image.fromarray(np.round(image * 255).astype(np.uint8))
    pixels.save(buffer, format=Image.registered_extensions()[path.suffix.lower()])
    write_atomic(path, buffer.getvalue())
