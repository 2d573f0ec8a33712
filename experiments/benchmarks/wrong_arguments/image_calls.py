"""Small valid calls of data, patches and the jigsaw."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cnnjax import data, jigsaw
from cnnjax.data.framing import Whole
from experiments.benchmarks.wrong_arguments.matrix import Arguments

KEY = jax.random.key(0)


def _draw(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)


IMAGES, IMAGE, PIECES = _draw(2, 6, 6, 1), _draw(16, 16, 3), _draw(4, 4, 4, 3)
COST = np.random.default_rng(0).uniform(0.1, 1, (4, 4)).astype(np.float32)
COST[np.arange(4), np.arange(4)] = np.inf
SCENES = data.shapes.sample(KEY, 2, size=8)
FITS = jigsaw.Fits(COST, COST.T.copy(), 4)
RELATIVE = jigsaw.relative(FITS)
SHUFFLED = jigsaw.shuffle(KEY, PIECES)
TRUTH = jigsaw.true_arrangement(SHUFFLED, (2, 2))
BORDERS = dict(right=_draw(2, 4, 2, 3), left=_draw(2, 4, 2, 3))


class _Pictures:
    """Four encoded images."""

    def __len__(self) -> int:
        return 4

    def read(self, indices: Sequence[int]) -> list[tuple[str, Path | bytes]]:
        file = io.BytesIO()
        Image.new("L", (6, 6)).save(file, "PNG")
        return [(str(index), file.getvalue()) for index in indices]


STORED = data.StoredImages(_Pictures(), Whole(None), (4, 6, 6, 1), "four")

CALLS: dict[str, Arguments] = {
    "data.apply_augmentation": lambda: dict(key=KEY, images=IMAGES, strengths=data.Augmentation(crop=1).as_arrays()),
    "data.blocks": lambda: dict(images=STORED),
    "data.epoch_order": lambda: dict(seed_key=KEY, epoch=0, n=4),
    "data.load": lambda: dict(config=data.DataConfig(name="shapes", train_images=20, test_images=20)),
    "data.random_color": lambda: dict(key=KEY, images=IMAGES, strength=0.5),
    "data.random_crop": lambda: dict(key=KEY, images=IMAGES, padding=1),
    "data.random_flip": lambda: dict(key=KEY, images=IMAGES, probability=0.5),
    "data.random_rotation": lambda: dict(key=KEY, images=IMAGES, degrees=10.0),
    "data.random_shift": lambda: dict(key=KEY, images=IMAGES, max_shift=1),
    "data.shape_pairs": lambda: dict(key=KEY, n=2, size=16),
    "data.shuffle_patches": lambda: dict(key=KEY, images=IMAGES, grid=2),
    "data.streamed_batches": lambda: dict(
        keys=jax.random.split(KEY, 1), images=STORED, labels=np.arange(4), batch_size=2, stop=1
    ),
    "data.shapes.area": lambda: dict(kind="square"),
    "data.shapes.move": lambda: dict(scenes=SCENES, offset=(1.0, 0.0)),
    "data.shapes.render": lambda: dict(scenes=SCENES, canvas=8),
    "data.shapes.sample": lambda: dict(key=KEY, n=2, size=8),
    "data.Augmentation": lambda: dict(crop=1),
    "data.DataConfig": lambda: dict(name="shapes"),
    "data.central_square": lambda: dict(image=np.asarray(IMAGE), side=8),
    "patches.inpaint": lambda: dict(image=IMAGE, mask=np.arange(256).reshape(16, 16) == 100, key=KEY, patch_size=3),
    "data.load_image": lambda: dict(image="coffee"),
    "patches.nearest_patches": lambda: dict(source=IMAGE, target=IMAGE[:8], patch_size=3),
    "patches.patchmatch": lambda: dict(source=IMAGE, target=IMAGE[:8], key=KEY, patch_size=3, iterations=1),
    "patches.randomize_phase": lambda: dict(image=IMAGE, key=KEY),
    "patches.shuffle_pixels": lambda: dict(image=IMAGE, key=KEY),
    "data.resize": lambda: dict(image=np.asarray(IMAGE), size=(8, 8)),
    "patches.similar_patches": lambda: dict(image=IMAGE, y=2, x=2, k=2, patch_size=3),
    "jigsaw.agreed": lambda: dict(relative=RELATIVE),
    "jigsaw.best_buddies": lambda: dict(relative=RELATIVE.right),
    "jigsaw.color_jump": lambda: BORDERS,
    "jigsaw.cut": lambda: dict(image=IMAGE, side=4),
    "jigsaw.diagnose": lambda: dict(pieces=PIECES, relative=RELATIVE, grid=(2, 2)),
    "jigsaw.facing_left": lambda: dict(pieces=PIECES, turns=1),
    "jigsaw.facing_right": lambda: dict(pieces=PIECES, turns=1),
    "jigsaw.fits": lambda: dict(pieces=PIECES, dissimilarity=jigsaw.color_jump),
    "jigsaw.frames": lambda: dict(pieces=PIECES),
    "jigsaw.gradient_and_prediction": lambda: BORDERS,
    "jigsaw.in_lab": lambda: dict(dissimilarity=jigsaw.color_jump),
    "jigsaw.mahalanobis_gradient": lambda: BORDERS,
    "jigsaw.pomeranz": lambda: BORDERS,
    "jigsaw.relative": lambda: dict(table=FITS),
    "jigsaw.render": lambda: dict(pieces=SHUFFLED.pieces, arrangement=TRUTH),
    "jigsaw.rgb_to_lab": lambda: dict(image=IMAGE),
    "jigsaw.right_best_neighbors": lambda: dict(table=FITS, truth=TRUTH),
    "jigsaw.right_cells": lambda: dict(found=TRUTH, truth=TRUTH),
    "jigsaw.score": lambda: dict(found=TRUTH, truth=TRUTH),
    "jigsaw.shuffle": lambda: dict(pieces=PIECES, key=KEY),
    "jigsaw.solve": lambda: dict(pieces=PIECES, grid=(2, 2), key=KEY),
    "jigsaw.true_arrangement": lambda: dict(shuffled=SHUFFLED, grid=(2, 2)),
    "jigsaw.turn": lambda: dict(pieces=PIECES, turns=jnp.array([0, 1, 2, 3])),
}
