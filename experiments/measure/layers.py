"""The layers of a network, and which of them are measured: all of a few, some of many, by the levels of their names."""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax import analysis
from experiments.measure.scope import Values
from experiments.shared.subject import LOGITS, Apply, Subject, even, with_logits

LEAST = 6
"""Layers of a level that are enough to tell where something happens."""


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of a network that are measured, in the order of computation."""

    measured: tuple[str, ...]
    """The logits are the last."""
    maps: tuple[str, ...]
    """Those of them that are maps."""
    sizes: Mapping[str, int]
    """Bytes of each measured layer for one image."""
    fields: Mapping[str, analysis.ReceptiveField]
    """Of each measured layer."""
    bytes: int
    """Of all activations of the network for one image."""

    def within(self, room: int) -> tuple[str, ...]:
        """As many of the layers, at even steps, as take no more than so many bytes for one image; at least the last."""
        for count in range(len(self.measured), 1, -1):
            names = even(self.measured, count)
            if sum(self.sizes[name] for name in names) <= room:
                return tuple(names)
        return self.measured[-1:]


def anatomy(subject: Subject) -> Values:
    """Of every layer its shape, receptive field and cost, in the order of computation; nothing is run."""
    struct = jax.ShapeDtypeStruct((1, *subject.images.pixels.shape[1:]), jnp.float32)
    rows = analysis.table(_flat(subject.apply), struct, subject.variables, measured=False).rows
    shapes = jax.eval_shape(subject.forward(), struct)
    found = {}
    for row in rows:
        field = row.field
        found[row.name] = {
            "shape": list(shapes[row.name].shape[1:]),
            "size": [float(n) for n in field.size],
            "stride": [float(n) for n in field.stride],
            "padding": [float(n) for n in field.padding],
            "map": row.map is not None and max(row.map[:-1]) > 1,
            "parameters": row.cost.parameters,
            "multiply_adds": row.cost.multiply_adds,
            "bytes": row.cost.activation_bytes,
        }
    return found


@functools.lru_cache(maxsize=64)
def _flat(apply: Apply) -> Callable[[Any, Array], dict[str, Array]]:
    return lambda variables, images: with_logits(*apply(variables, images))


def layers_of(subject: Subject, anatomy: Mapping[str, Any], most: int) -> Layers:
    """The layers to measure of a network whose `anatomy` is known."""
    names = (*chosen([name for name in anatomy if name != LOGITS], most - 1), LOGITS)
    struct = jax.ShapeDtypeStruct((1, *subject.images.pixels.shape[1:]), jnp.float32)
    fields = analysis.receptive_field(subject.forward(only=names), struct)
    maps = tuple(name for name in names if anatomy[name]["map"])
    every = {name: layer["bytes"] for name, layer in anatomy.items()}
    return Layers(names, maps, {name: every[name] for name in names}, fields, sum(every.values()))


def chosen(names: Sequence[str], most: int) -> list[str]:
    """At most so many of the names: those of the deepest level, as "layer1.0" is of the second, that are not more.

    Where that level has only a handful, some of the next at even steps.
    """
    levels = {name: len(re.split(r"[./]", name)) for name in names}
    best: list[str] = []
    for level in sorted({*levels.values()}):
        some = [name for name in names if levels[name] <= level]
        if len(some) > most:
            return best if len(best) >= min(LEAST, most) else even(some, most)
        best = some
    return best
