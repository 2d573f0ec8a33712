"""How much is measured, and on which images."""

import dataclasses
from typing import Any

import numpy as np

from cnnjax.data import DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Progress
from cnnjax.sweep.images import load_images
from cnnjax.sweep.protocol import ProtocolConfig
from experiments.shared.subject import Subject

GEOMETRIC = ("translation_x", "translation_y", "rotation", "scale", "shear_x", "shear_y")
PHOTOMETRIC = ("brightness", "contrast")
COLOR = ("saturation", "hue")


Values = dict[str, Any]
"""By layer, numbers by name."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """How much is measured."""

    protocol: ProtocolConfig
    layer_images: int
    """Images, the first ones, over which layers are measured."""
    layers: int
    """Layers that are measured by passes through the network, at most."""
    attributed: tuple[str, ...]
    """Generators whose Lie derivative is split by layers."""
    randomised: int
    """Groups of layers that are drawn anew one after the other, at most."""
    quick: bool = False


def scope_of(protocol: ProtocolConfig, *, layer_images: int, quick: bool) -> Scope:
    """All of what is asked for; or, `quick`, no more of it than takes minutes for a large network."""
    if quick:
        protocol = dataclasses.replace(
            protocol,
            images=min(protocol.images, 64),
            max_shift=min(protocol.max_shift, 1),
            rotation_step=max(protocol.rotation_step, 90.0),
        )
    return Scope(
        protocol,
        layer_images=min(layer_images, protocol.images, 4 if quick else layer_images),
        layers=12 if quick else 32,
        attributed=("translation_x", "rotation") if quick else GEOMETRIC,
        randomised=4 if quick else 12,
        quick=quick,
    )


def generators(subject: Subject) -> tuple[str, ...]:
    """Every generator that images of these channels have."""
    return (*GEOMETRIC, *PHOTOMETRIC, *(COLOR if subject.images.pixels.shape[-1] == 3 else ()))


def images_of(data: DataConfig, count: int, *, every: bool, progress: Progress) -> Dataset:
    """The dataset with its first `count` test images; with `every`, those of the training split behind them.

    Raises InputError where there are fewer.
    """
    dataset = load_images(data, progress)
    parts = [dataset.test, dataset.train] if every else [dataset.test]
    there = sum(len(part.images) for part in parts)
    if there < count:
        more = "" if every else f"; --all-images would give {there + len(dataset.train.images):,}"
        raise InputError(
            f"protocol.images={count} of {there} {'' if every else 'test '}images: give --protocol.images {there} or "
            f"fewer{more}"
        )
    first = {
        field: None if getattr(parts[0], field) is None else np.concatenate([getattr(p, field) for p in parts])[:count]
        for field in ("images", "labels", "scenes")
    }
    return dataclasses.replace(dataset, test=dataclasses.replace(dataset.test, **first))
