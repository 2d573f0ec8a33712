"""Do the patches of a photograph come again, in itself, at other sizes, in other photographs; and in images of chance?

For every 7×7 patch of a photograph, the distance to the nearest patch, found exactly: in the same image some pixels
away, in the image at 0.8 and 0.5 of its size, in another photograph; and the same within images of chance that share
ever less with it: its amplitude spectrum (random phases), its colours (shuffled pixels), nothing (noise).

    python -m experiments.self_similarity
    python -m experiments.self_similarity --images photo.jpg another.jpg --side 128

Expected: a patch has a likeness in its own image, and at another size of it, far nearer than in another photograph, and
nearer than in an image of the same spectrum. That is what convolution, pooling and every patch-based method build on.
The same command goes on where a killed one was.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import data, patches, runtime
from cnnjax.errors import InputError
from cnnjax.figures import save
from cnnjax.runs import Progress, Table, open_run, show_tables
from cnnjax.sweep.ranges import check_ranges
from experiments.self_similarity import figures as self_similarity_figures

TAKES = "about a minute on two cores, some ten at --side 160"

SOURCES = {
    "same image": "same image",
    "at 0.8": "0.8 of its size",
    "at 0.5": "0.5 of its size",
    "another image": "another image",
    "random phases": "random phases",
    "shuffled pixels": "shuffled pixels",
    "noise": "noise",
}
"""Where the nearest patch is looked for."""

_BINS = np.linspace(0, 100, 101)  # in grey levels


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the self-similarity experiment."""

    images: tuple[str, ...] = tuple(name for name in data.CARRIED_IMAGES if name != "motorcycle_right")
    """The photographs: names of carried images or paths of files, at least two."""
    side: int = 96
    """Of each, the central square at this many pixels."""
    patch_size: int = 7
    """Side of a patch; within an image, nearest patches are at least this far away."""
    seed: int = 0
    """Of the images of chance."""
    out: Path | None = None
    """The run directory (by default runs/self_similarity/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Compare every image, print the table, write it and the figures, and return the run directory."""
    if len(config.images) < 2 or len(set(config.images)) < len(config.images):
        raise InputError("images must name at least two, each once: one is compared with the next")
    if config.side < 4 * config.patch_size or config.patch_size < 1:
        raise InputError(
            f"side={config.side} is small for patches of {config.patch_size}; give at least four times as much"
        )
    check_ranges(config)
    runtime.configure()
    import pandas as pd

    images = {name: data.central_square(data.load_image(name), config.side) for name in config.images}
    with open_run("self_similarity", config, out=config.out) as directory, Progress(len(images)) as progress:
        rows, counts = [], []
        for number, (name, image) in enumerate(images.items()):
            other = images[config.images[(number + 1) % len(images)]]
            compare = functools.partial(_compare, image, other, config, number, progress)
            measured = directory.once(f"{number}", "distances.json", compare, progress=progress, title=name)
            rows.append({"image": Path(name).stem, **{source: m["mean"] for source, m in measured.items()}})
            counts.append({source: np.asarray(m["counts"]) for source, m in measured.items()})
        directory.write_table("summary", pd.DataFrame(rows))
        show_tables(directory, [_table(rows, config)])
        first, image = Path(config.images[0]).stem, images[config.images[0]]
        figures = {
            "distances": self_similarity_figures.distances(rows, counts, _BINS, SOURCES, patch_size=config.patch_size),
            "chance": self_similarity_figures.images(first, _chance(image, config.seed, 0)),
            "similar": self_similarity_figures.similar(first, image, patch_size=config.patch_size),
        }
        for name, figure in figures.items():
            save(figure, directory.figures / f"{name}.png")
        return directory.path


def _chance(image: np.ndarray, seed: int, number: int) -> dict[str, np.ndarray]:
    key = jax.random.fold_in(jax.random.key(seed), number)
    noise = np.random.default_rng((seed, number)).normal(image.mean((0, 1)), image.std((0, 1)), image.shape)
    return {
        "photograph": image,
        "random phases": np.asarray(patches.randomize_phase(key, jnp.asarray(image))),
        "shuffled pixels": np.asarray(patches.shuffle_pixels(key, jnp.asarray(image))),
        "noise": np.clip(noise, 0, 1).astype(np.float32),
    }


def _compare(
    image: np.ndarray, other: np.ndarray, config: Config, number: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """The mean distance to the nearest patch, and a histogram, for every kind of source."""
    sides = {factor: round(config.side * factor) for factor in (0.8, 0.5)}
    smaller = {factor: data.resize(image, (side, side)) for factor, side in sides.items()}
    chance = _chance(image, config.seed, number)
    pairs = {
        "same image": (image, image),
        "at 0.8": (smaller[0.8], image),
        "at 0.5": (smaller[0.5], image),
        "another image": (other, image),
        **{name: (chance[name], chance[name]) for name in ("random phases", "shuffled pixels", "noise")},
    }
    found = {}
    for i, (name, (source, target)) in enumerate(pairs.items()):
        progress.advance(i, len(pairs), name)
        within = source is target
        nearest = patches.nearest_patches(
            jnp.asarray(source),
            jnp.asarray(target),
            patch_size=config.patch_size,
            exclusion=config.patch_size if within else 0,
        )
        levels = 255 * np.sqrt(np.asarray(nearest.distance))
        counts, _ = np.histogram(np.minimum(levels, _BINS[-1]), _BINS)
        found[name] = {"mean": float(levels.mean()), "counts": counts.tolist()}
    return found


def _table(rows: list[dict[str, Any]], config: Config) -> Table:
    mean = {source: float(np.mean([row[source] for row in rows])) for source in SOURCES}
    table = [*rows, {"image": "mean", **mean}]
    caption = (
        f"Mean over all {config.patch_size}×{config.patch_size} patches of the RMS distance to the nearest, in grey "
        f"levels of 255; {len(rows)} images at {config.side}². Within an image, nearest patches are at least "
        f"{config.patch_size} pixels away."
    )
    return Table(table, "How near is the nearest patch?", caption)
