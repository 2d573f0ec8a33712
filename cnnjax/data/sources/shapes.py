"""The procedural shapes of `cnnjax.data.shapes` as a dataset."""

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax.data import shapes
from cnnjax.data.config import DataConfig
from cnnjax.data.sources.source import Arrays, Source, check_memory
from cnnjax.reporting import Report

SIZE = 20
CANVAS = 32
TRAIN = 4000
TEST = 1000

BLOCK = 500
"""Scenes drawn at once: more would cost memory, not save time."""


def open_source(config: DataConfig) -> Source:
    """Describe shapes that stay inside the central 20×20 (or `config.size`) pixels of a 32×32 canvas.

    Raises `InputError` for a size at which shapes cannot be told apart, and for more images than memory can hold.
    """
    size, canvas = config.size or SIZE, config.canvas or CANVAS
    counts = {"train": config.train_images or TRAIN, "test": config.test_images or TEST}
    check_memory(sum(counts.values()), canvas, 1)
    scenes = {
        split: np.asarray(shapes.sample(jax.random.key(seed), counts[split], size=size))
        for seed, split in enumerate(counts)
    }

    def read(progress: Report) -> Arrays:
        draw = jax.jit(lambda scenes: jnp.round(255 * shapes.render(scenes, canvas=canvas)).astype(jnp.uint8))
        arrays = {}
        for split, count in counts.items():
            images = np.empty((count, canvas, canvas, 1), np.uint8)
            for start in range(0, count, BLOCK):
                block = scenes[split][start : start + BLOCK]
                # A last, shorter block is filled up, so that one compilation serves all.
                images[start : start + BLOCK] = draw(np.resize(block, (BLOCK, block.shape[1])))[: len(block)]
                progress(start + len(block), count, f"drawing shapes {split}")
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = scenes[split][:, shapes.KIND].astype(np.int32)
            arrays[f"{split}_scenes"] = scenes[split]
        return arrays

    note = (
        f"procedural shapes inside {size}×{size} pixels; {counts['train']:,} to train and {counts['test']:,} to test "
        "from two fixed seeds"
    )
    return Source(shapes.KINDS, size, canvas, note, read)
