"""What a training is told: the recipe, and the numbers in it that may change without compiling again."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from cnnjax.door import checked
from cnnjax.errors import InputError


@checked()
@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training recipe."""

    epochs: int | None = None
    """Passes over the training images. None: about `examples` images in all, at least 3 passes."""
    examples: int = 480_000
    """Images to train on, repeats counted, where `epochs` is not given; never more than 20 passes."""
    batch_size: int = 64
    """Images in a step."""
    optimizer: Literal["sgd", "adamw", "adadelta"] = "sgd"
    """SGD with Nesterov's momentum 0.9, AdamW with decay rates 0.9 and 0.999, or Adadelta with 0.9 (Zeiler 2012)."""
    learning_rate: float = 0.1
    """Peak learning rate, after a linear warm-up."""
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    """What follows the warm-up: a cosine down to zero; a tenth after each of the `drops`; the peak until the end."""
    drops: tuple[float, ...] = (0.5, 0.75)
    """For steps: shares of all steps after which the learning rate is divided by 10 (He et al. 2016, section 4.2)."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 5e-4
    """Added to the gradient (SGD, Adadelta) or to the update (AdamW) of kernels; not of biases, norms and scales."""
    label_smoothing: float = 0.0
    """Probability mass spread evenly over all classes."""
    devices: int | None = None
    """How many devices train. None: all of an accelerator's, as far as a step keeps them busy, and one of a CPU's."""
    shard_parameters: bool = False
    """Each device keeps its part of the parameters and of the optimizer's state only: for large networks."""
    accumulate: int = 1
    """Parts in which a step goes through its batch, one after the other, for batches that do not fit into memory. Batch
    normalization is then over each part."""

    def __post_init__(self):
        for name in ("batch_size", "examples", "epochs", "devices", "accumulate"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"train.{name}={getattr(self, name)} must be at least 1")
        if self.batch_size % self.accumulate:
            raise InputError(
                f"train.accumulate={self.accumulate} does not divide train.batch_size={self.batch_size}: "
                f"give {math.gcd(self.accumulate, self.batch_size)}, or another divisor"
            )
        if self.learning_rate <= 0:
            raise InputError(f"train.learning_rate={self.learning_rate} must be positive")
        if self.weight_decay < 0:
            raise InputError(f"train.weight_decay={self.weight_decay} must not be negative")
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"train.{name}={getattr(self, name)} must lie in [0, 1)")
        if not all(0 < drop < 1 for drop in self.drops) or list(self.drops) != sorted(set(self.drops)):
            raise InputError(f"train.drops={self.drops} must rise, each between 0 and 1")

    def passes(self, images: int) -> int:
        """Epochs over a training set of `images` images."""
        return self.epochs or min(20, max(3, round(self.examples / images)))

    def steps_per_epoch(self, images: int) -> int:
        """Whole batches in an epoch; the images left over change from epoch to epoch with the order."""
        if self.batch_size > images:
            raise InputError(
                f"train.batch_size={self.batch_size} is larger than the training set of {images} images: "
                f"give at most {images}"
            )
        return images // self.batch_size

    def total_steps(self, images: int) -> int:
        """Steps in all, for a training set of `images` images."""
        total = self.steps_per_epoch(images) * self.passes(images)
        if total >= 2**31:
            raise InputError(
                f"train.epochs={self.passes(images)} are {total} steps: give fewer, for less than 2^31 steps"
            )
        return total

    def hyper(self, images: int) -> "Hyper":
        """The numeric settings as arrays, for a training set of `images` images."""
        total = self.total_steps(images)
        values = (self.learning_rate, self.warmup * total, total, self.weight_decay, self.label_smoothing)
        drops = {"cosine": None, "steps": self.drops, "constant": ()}[self.schedule]
        return Hyper(
            *(jnp.asarray(value, jnp.float32) for value in values),
            drops=None if drops is None else jnp.asarray([drop * total for drop in drops], jnp.float32),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Settings:
    """What a training may change without being compiled again."""

    hyper: PyTree
    """`Hyper`."""
    strengths: PyTree
    """Arrays for the augmentation of the step."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hyper:
    """Settings that are arguments of the compiled step, so that cells which differ in them share one compilation.

    Each is a float32 scalar, but for `drops`: steps `(drops,)`, or None for a cosine.
    """

    learning_rate: PyTree
    warmup_steps: PyTree
    total_steps: PyTree
    weight_decay: PyTree
    label_smoothing: PyTree
    drops: PyTree = None
