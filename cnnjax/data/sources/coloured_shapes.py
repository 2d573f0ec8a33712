"""The procedural shapes of `cnnjax.data.shapes` in the colours of `cnnjax.data.colored`, as a dataset."""

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax.data import colored, shapes
from cnnjax.data.config import DataConfig
from cnnjax.data.sources.shapes import BLOCK
from cnnjax.data.sources.source import Arrays, Source, check_memory
from cnnjax.errors import InputError
from cnnjax.reporting import Report

SIZE = 32
TRAIN = 6000
TEST = 1500

NAMES = tuple(f"{hue} {kind}" for hue in colored.HUES for kind in shapes.KINDS)
"""The classes: hue times kind."""


def open_source(config: DataConfig) -> Source:
    """Describe pictures of 32×32 (or `config.size`) pixels with a shape in their middle; the class is hue and kind.

    Shapes stay inside the central three quarters of the height and the width; the background fills the picture.
    Raises `InputError` for a size at which shapes cannot be told apart, and for more images than memory can hold.
    """
    side = config.size or SIZE
    inside = 3 * side // 4
    if inside < shapes.MIN_SIZE:
        least = -(-4 * shapes.MIN_SIZE // 3)
        raise InputError(f"shapes cannot be told apart in pictures of {side} pixels; use data.size {least} or more")
    counts = {"train": config.train_images or TRAIN, "test": config.test_images or TEST}
    check_memory(sum(counts.values()), side, 3)
    scenes = {
        split: np.asarray(shapes.sample(jax.random.key(seed), counts[split], size=inside))
        for seed, split in enumerate(counts)
    }

    def read(progress: Report) -> Arrays:
        @jax.jit
        def draw(key, scenes, hues):
            picture = colored.paint(key, shapes.render(scenes, canvas=side), hues)
            return jnp.round(255 * picture).astype(jnp.uint8)

        arrays = {}
        for seed, (split, count) in enumerate(counts.items()):
            images = np.empty((count, side, side, 3), np.uint8)
            kinds = scenes[split][:, shapes.KIND].astype(np.int32)
            # All kinds come by in one hue, then in the next.
            hues = np.arange(count, dtype=np.int32) // len(shapes.KINDS) % len(colored.HUES)
            for start in range(0, count, BLOCK):
                block, chosen = scenes[split][start : start + BLOCK], hues[start : start + BLOCK]
                key = jax.random.fold_in(jax.random.key(seed + len(counts)), start)
                # A last, shorter block is filled up, so that one compilation serves all.
                drawn = draw(key, np.resize(block, (BLOCK, block.shape[1])), np.resize(chosen, BLOCK))
                images[start : start + BLOCK] = drawn[: len(block)]
                progress(start + len(block), count, f"drawing coloured shapes {split}")
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = hues * len(shapes.KINDS) + kinds
        return arrays

    note = (
        f"procedural shapes in {len(colored.HUES)} hues, darker or lighter than their coloured backgrounds, "
        f"{side}×{side} pixels; {counts['train']:,} to train and {counts['test']:,} to test from fixed seeds"
    )
    return Source(NAMES, side, None, note, read)
