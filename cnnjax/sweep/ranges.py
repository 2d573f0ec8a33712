"""What the numbers of an experiment may be, by the names of their options: refused before any work, not on the way."""

import dataclasses
import os
import typing
from typing import Any, Literal

from cnnjax.errors import InputError

RANGES: dict[str, tuple[int | float, int | float]] = {
    # Networks, and how often each is drawn.
    **dict.fromkeys(("seeds", "train_seeds", "draws"), (1, 1000)),
    **dict.fromkeys(("first_seed", "first_draw"), (0, 2**30)),
    **dict.fromkeys(("depth", "depths", "train_depths", "activation_depth", "heads"), (1, 1000)),
    **dict.fromkeys(("widths", "channels", "features", "dense_widths", "width", "head_width"), (1, 2**16)),
    **dict.fromkeys(("groups", "width_per_group", "towers", "mlp_ratio"), (1, 2**16)),
    **dict.fromkeys(("kernel_size", "kernel_sizes", "factors", "stem_stride", "pool_window"), (1, 1000)),
    "taps": (2, 7),
    **dict.fromkeys(("dropout", "input_dropout", "survival"), (0, 1)),
    # Training.
    "epochs": (1, 10**6),
    "longer": (1, 1000),
    **dict.fromkeys(("batch_size", "batches", "reference_batch", "devices", "accumulate"), (1, 2**20)),
    "steps": (1, 10**7),
    **dict.fromkeys(("learning_rate", "weight_decay"), (0, 3.4e38)),  # float32's; one that diverges is a result
    # Augmentation: pixels, degrees either way, a probability, shares of both.
    **dict.fromkeys(("crop", "farthest", "move"), (0, 2**13)),
    "rotation": (0, 360),
    "mean": (-1e6, 1e6),  # of pixels, before a network from elsewhere
    "std": (1e-6, 1e6),
    **dict.fromkeys(("flip", "color"), (0, 1)),
    # What of photographs is seen, how many lie in memory, in gigabytes, and what decodes the others.
    "crop_area": (1e-3, 1),
    "memory": (0, 1e6),
    "workers": (0, 1024),
    "strengths": (0, 1),
    # What is taken from images: patches along an axis, a share of the shorter side.
    "grids": (2, 2**13),
    "scales": (1e-3, 0.5),
    # What is measured, and how closely.
    **dict.fromkeys(("size", "canvas", "patch_size", "piece"), (0, 2**13)),
    "max_shift": (1, 100),
    "rotation_step": (0.1, 180),
    "terms_shift": (-(2**13), 2**13),
    **dict.fromkeys(("images", "test_images", "train_images", "probe_images", "classes"), (1, 10**8)),
    **dict.fromkeys(("terms_images", "check_images", "layer_images", "top", "maps", "k"), (1, 10**6)),
    **dict.fromkeys(("side", "sides"), (0, 2**20)),
    "canvases": (1, 2**10),
    "moments": (1, 1000),
    "snapshots": (0, 10**6),
    "layers": (2, 1000),
    "splits": (1, 10**6),
    "cells": (1, 100),
    "patience": (0, 10**6),
    **dict.fromkeys(("trials", "kills"), (1, 10**6)),
    "parts": (1, 10**8),
    # A made task: its size and noise, and what is asked of networks.
    **dict.fromkeys(("patches", "at_patches"), (2, 1000)),
    **dict.fromkeys(("dimensions", "at_dimension"), (1, 2**13)),
    **dict.fromkeys(("noise", "thresholds"), (0, 100)),
    "target": (0, 0.5),
    "most": (2, 10**6),
    **dict.fromkeys(("repetitions", "pilots", "rounds"), (1, 1000)),
}
"""The least and the most: beyond is nonsense, or more than any machine can do."""


def check_ranges(config: Any, prefix: str = "") -> None:
    """Raise `InputError` for a number of a config dataclass, or of one within it, that is out of its `RANGES`.

    Also for text or a number in place of a switch, which a notebook may give.
    """
    kinds = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.")
        if kinds[field.name] is bool and not isinstance(value, bool):
            raise InputError(f"{name}={value!r} must be True or False")
        if field.name not in RANGES or not {int, float} & set(_parts(kinds[field.name])):
            continue
        least, most = RANGES[field.name]
        for number in value if isinstance(value, tuple | list) else (value,):
            if number is None or (field.name == "widths" and isinstance(number, float)):  # factors of widths
                continue
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise InputError(f"{name}={number!r} must be a number from {least} to {most}")
            if not least <= number <= most:
                bound = f"at least {least}" if number < least else f"at most {most}"
                raise InputError(f"{name}={value} must be {bound}")


def check_named(config: Any, *options: str, prefix: str = "") -> None:
    """Raise `InputError` for an option of several values that names none, and list what it chooses from."""
    kinds = typing.get_type_hints(type(config))
    for name in options:
        if not getattr(config, name):
            parts = _parts(kinds[name])
            choices = [one for part in parts for one in typing.get_args(part) if typing.get_origin(part) is Literal]
            among = f" of {', '.join(choices)}" if choices else ""
            raise InputError(f"{prefix}{name} is empty: name at least one{among}")


def _parts(kind: Any) -> list[Any]:
    return [kind, *(part for inner in typing.get_args(kind) for part in _parts(inner))]


def check_memory(needed: int | float, what: str, remedy: str) -> None:
    """Raise `InputError` where `what` needs more bytes than this machine has, where that is known."""
    if not hasattr(os, "sysconf"):
        return
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputError(
            f"{what} takes about {needed / 2**30:.3g} GiB of memory, and this machine has {there / 2**30:.3g}: {remedy}"
        )
