"""Images turned at random, once and for all, in three parts: how MNIST-rot was made from MNIST, not its file."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
import numpy as np

from cnnjax import ops
from cnnjax.data import Dataset, Split
from cnnjax.data.dataset import channel_statistics
from cnnjax.errors import InputError

BLOCK = 2000
"""Images turned at once."""

Part = Literal["validation", "test"]


def turned_dataset(dataset: Dataset, parts: tuple[int, int, int], tested: Part) -> Dataset:
    """A dataset of so many images to train, to validate and to test, each turned by an angle of its own.

    All images of `dataset`, those to train and those to test, are drawn from in one order; every image has its angle,
    uniform over the circle, whatever the parts. Tested on the part "test", a network learns from both others; on
    "validation", from the first alone. Raises `InputError` where there are fewer images than the parts need.
    """
    images = np.concatenate([dataset.train.images, dataset.test.images])
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    training, validation, test = parts
    if sum(parts) > len(images):
        raise InputError(
            f"parts={parts} are {sum(parts):,} of {len(images):,} images in all: give fewer, or other images with "
            "--data.name"
        )
    order = np.random.default_rng((0, 0)).permutation(len(images))
    degrees = np.random.default_rng((0, 1)).uniform(0, 360, len(images)).astype(np.float32)
    ends = {"validation": (training, training + validation), "test": (training + validation, sum(parts))}[tested]
    splits = [
        Split(turn(images[rows], degrees[rows]), labels[rows]) for rows in (order[: ends[0]], order[slice(*ends)])
    ]
    mean, std = channel_statistics(splits[0].array)
    note = (
        f"{dataset.note.rstrip('.')}; all of these in one order, {training:,} + {validation:,} + {test:,} of them, "
        f"each turned by a random angle (bilinear): the {tested} part is tested on, what comes before it is trained "
        "on. Made here, so not the file of Larochelle et al. (2007)"
    )
    return dataclasses.replace(dataset, train=splits[0], test=splits[1], mean=mean, std=std, margin=0, note=note)


def turn(images: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Images uint8 (n, height, width, channels), each turned counter-clockwise by its angle; black comes in."""
    blocks = [slice(start, start + BLOCK) for start in range(0, len(images), BLOCK)]
    moved = [ops.rotate(jnp.asarray(images[b], jnp.float32), jnp.asarray(degrees[b]), order=1) for b in blocks]
    return np.concatenate([np.clip(np.round(np.asarray(some)), 0, 255).astype(np.uint8) for some in moved])
