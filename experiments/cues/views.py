"""The same images with some of their cues: as functions of the images, and so of any images."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import ops
from cnnjax.data import DataConfig, Dataset, Split, shuffle_patches
from cnnjax.data.canvas import center
from cnnjax.data.sources import textured_shapes
from cnnjax.errors import InputError

CUES = ("shape", "texture", "color")
NAMES = {"shape": "shape", "texture": "texture", "color": "colour", "tone": "tone"}
SEEDS = {"train": 0, "test": 1}
BLOCK = 250
"""Images changed at once."""

Step = tuple[str, float]
"""What is done: "gray"; "smooth" with sigma as a share of the shorter side; "shuffle" with a grid, 0 for pixels."""


@dataclasses.dataclass(frozen=True)
class View:
    """One way to show all images."""

    key: str
    """Fit for a file's name."""
    title: str
    left: tuple[str, ...]
    """The cues that it leaves, of `CUES`."""
    kind: str
    """"whole", "removed", "alone", or "drawn" where the images are drawn without the cue."""
    steps: tuple[Step, ...] = ()
    main: bool = True
    """Whether it is the strength that stands for its kind."""
    side: int = 0
    """Of what is drawn, in pixels, in the middle of a black canvas where images are larger."""

    def of(self, images: np.ndarray, split: str) -> np.ndarray:
        """The images uint8 (n, height, width, channels) of a split as this view shows them."""
        if self.kind == "drawn":
            without = [cue for cue in CUES if cue not in self.left]
            return center(textured_shapes.draw_split(split, len(images), self.side, without=without), images.shape[1])
        if not self.steps:
            return images
        shown = np.empty_like(images)
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            key = jax.random.fold_in(jax.random.key(SEEDS[split]), start)
            # A last, shorter block is filled up, so that one compilation serves all.
            filled = np.resize(block, (min(BLOCK, len(images)), *block.shape[1:]))
            shown[start : start + BLOCK] = _changed(key, filled, self.steps)[: len(block)]
        return shown


@dataclasses.dataclass(frozen=True)
class Shown:
    """A dataset whose images, of training and of test, are as a view shows them."""

    view: View

    def __call__(self, dataset: Dataset) -> Dataset:
        parts = {name: getattr(dataset, name) for name in SEEDS}
        return dataclasses.replace(
            dataset, **{name: Split(self.view.of(part.images, name), part.labels) for name, part in parts.items()}
        )


@dataclasses.dataclass(frozen=True)
class HalfGray:
    """A dataset half of whose training images, drawn once, have lost their colour."""

    def __call__(self, dataset: Dataset) -> Dataset:
        images = dataset.train.array.copy()
        chosen = np.sort(np.random.default_rng(0).permutation(len(images))[: len(images) // 2])
        gray = View("gray", "", (), "removed", (("gray", 0),))
        images[chosen] = gray.of(images[chosen], "train")
        return dataclasses.replace(dataset, train=Split(images, dataset.train.labels))


@functools.partial(jax.jit, static_argnums=2)
def _changed(key: jax.Array, images: jax.Array, steps: tuple[Step, ...]) -> jax.Array:
    _, height, width, _ = images.shape
    x = images.astype(jnp.float32) / 255
    for name, strength in steps:
        if name == "gray":
            x = ops.grayscale(x)
        elif name == "smooth":
            x = ops.rolling_guidance(x, sigma=strength * min(height, width))
        else:
            x = shuffle_patches(key, x, grid=int(strength) or (height, width))
    return jnp.round(255 * x).astype(jnp.uint8)


def most_views(data: DataConfig, grids: Sequence[int], scales: Sequence[float]) -> int:
    """How many `views_of` those images there are; grey images have one less."""
    return 5 + len(grids) + len(scales) + 6 * (data.name == "textured_shapes")


WHOLE = View("whole", "as they are", CUES, "whole")


def views_of(dataset: Dataset, grids: Sequence[int], scales: Sequence[float], *, size: int | None = None) -> list[View]:
    """Every view of a dataset: whole, each cue removed at every strength, each alone; grey images have tones.

    The strength in the middle of `grids` and of `scales` is the main one, and that of views with one cue alone. Shapes
    whose cues are drawn have views drawn without each of them, too, at the `size` of `DataConfig`. Raises InputError
    for a grid that does not divide the images.
    """
    _, height, width, channels = dataset.test.images.shape
    side, grid, scale = min(height, width), grids[len(grids) // 2], scales[len(scales) // 2]
    for number in grids:
        if height % number or width % number:
            raise InputError(
                f"grids has {number}, which does not divide images of {height}×{width} pixels: give divisors of "
                "both, or another --data.size"
            )
    gray: tuple[Step, ...] = (("gray", 0.0),)
    color = "color" if channels == 3 else "tone"
    found = [dataclasses.replace(WHOLE, left=("shape", "texture", color))]
    if channels == 3:
        found.append(View("gray", "grey", ("shape", "texture"), "removed", gray))
    for number in scales:
        title = f"smoothed, σ {number * side:.2g} px"
        steps = (("smooth", number),)
        found.append(View(f"smooth-{number:g}", title, ("shape", color), "removed", steps, number == scale))
    for number in grids:
        title = f"patches {number}×{number} shuffled"
        steps = (("shuffle", float(number)),)
        found.append(View(f"patches-{number}", title, ("texture", color), "removed", steps, number == grid))
    smooth, shuffle = ("smooth", scale), ("shuffle", float(grid))
    found.append(View("shape-alone", "smoothed and grey", ("shape",), "alone", (smooth, *gray)))
    found.append(View("texture-alone", "patches shuffled and grey", ("texture",), "alone", (shuffle, *gray)))
    found.append(View("color-alone", "pixels shuffled", (color,), "alone", (("shuffle", 0.0),)))
    if dataset.name == "textured_shapes":
        own = size or textured_shapes.SIZE
        names = {"color": "drawn without colour", "texture": "drawn without texture", "shape": "drawn without shape"}
        for cue, title in names.items():
            found.append(View(f"drawn-without-{cue}", title, tuple(c for c in CUES if c != cue), "drawn", side=own))
        for cue in CUES:
            found.append(View(f"drawn-{cue}-alone", f"drawn with {NAMES[cue]} alone", (cue,), "drawn", side=own))
    return found
