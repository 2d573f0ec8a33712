"""The procedural shapes of `cnnjax.data.shapes` with the colours and textures of `cnnjax.data.textured`."""

import functools
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax.data import shapes, textured
from cnnjax.data.config import DataConfig
from cnnjax.data.sources.shapes import BLOCK
from cnnjax.data.sources.source import Arrays, Source, check_memory
from cnnjax.errors import InputError
from cnnjax.reporting import Report, silent

SIZE = 32
TRAIN = 3000
TEST = 1000
SPLITS = ("train", "test")


def open_source(config: DataConfig) -> Source:
    """Describe pictures of 32×32 (or `config.size`) pixels with a shape in their middle, which three cues tell.

    Shapes stay inside the central seven eighths of the height and the width. Raises `InputError` for a size at which
    shapes cannot be told apart, and for more images than memory can hold.
    """
    side = config.size or SIZE
    if 7 * side // 8 < shapes.MIN_SIZE:
        least = -(-8 * shapes.MIN_SIZE // 7)
        raise InputError(f"shapes cannot be told apart in pictures of {side} pixels; use data.size {least} or more")
    counts = {"train": config.train_images or TRAIN, "test": config.test_images or TEST}
    check_memory(sum(counts.values()), side, 3)

    def read(progress: Report) -> Arrays:
        arrays = {}
        for split, count in counts.items():
            arrays[f"{split}_images"] = draw_split(split, count, side, progress=progress)
            arrays[f"{split}_labels"] = np.arange(count, dtype=np.int32) % textured.CLASSES
        return arrays

    note = (
        f"procedural shapes of {textured.CLASSES} classes, each with a form, a hue and a texture of its own, on "
        f"coloured backgrounds, {side}×{side} pixels; {counts['train']:,} to train and {counts['test']:,} to test from "
        "fixed seeds"
    )
    return Source(shapes.KINDS, side, None, note, read)


def draw_split(
    split: str, count: int, side: int, *, without: Collection[str] = (), progress: Report = silent
) -> np.ndarray:
    """The first `count` images of a split, uint8 (count, side, side, 3); without some cues the same otherwise."""
    seed = SPLITS.index(split)
    scenes = np.asarray(shapes.sample(jax.random.key(seed), count, size=7 * side // 8))
    images = np.empty((count, side, side, 3), np.uint8)
    for start in range(0, count, BLOCK):
        block = scenes[start : start + BLOCK]
        key = jax.random.fold_in(jax.random.key(seed + len(SPLITS)), start)
        # A last, shorter block is filled up, so that one compilation serves all.
        drawn = _drawn(key, np.resize(block, (BLOCK, block.shape[1])), side, tuple(sorted(without)))
        images[start : start + BLOCK] = drawn[: len(block)]
        progress(start + len(block), count, f"drawing textured shapes {split}")
    return images


@functools.partial(jax.jit, static_argnums=(2, 3))
def _drawn(key: jax.Array, scenes: jax.Array, side: int, without: tuple[str, ...]) -> jax.Array:
    classes = scenes[:, shapes.KIND].astype(jnp.int32)
    picture = textured.paint(key, shapes.render(scenes, canvas=side), classes, without=without)
    return jnp.round(255 * picture).astype(jnp.uint8)
