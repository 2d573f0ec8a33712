"""Networks drawn from their own programs: maps as boxes to scale, or the operations within one layer."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnjax.analysis import table
from cnnjax.door import checked
from cnnjax.door.words import in_line, shown
from cnnjax.errors import InputError
from cnnjax.figures.box_drawing import Column, boxes_drawing
from cnnjax.figures.drawing import Drawing
from cnnjax.figures.operation_drawing import operations_drawing
from cnnjax.program.structure import IMAGES, Link, Structure

MOST_COLUMNS = 14
"""Before like layers in a row are drawn as one."""
LONGEST_PERIOD = 4
"""Layers that together come again and again."""
MOST_TOWERS = 4
"""Groups of a convolution that are drawn apart; more are no towers."""


@checked("image_shape")
def architecture(
    model: Callable[..., Any], image_shape: Sequence[int], *, layer: str | None = None, title: str = ""
) -> Drawing:
    """Draw a network from its own program: a box for each activation that it returns, as large as its map.

    Height and width of all boxes have one scale, channels another, and units of dense layers a third. Below a box stand
    its name, its size, the convolutions that make it and its parameters. Maps that a convolution reads in groups, as
    AlexNet's towers, are drawn apart, with crossing lines where a layer reads all of them. Arcs are shortcuts, which
    add what has come by more convolutions to what has come by fewer. In deep networks like layers in a row are one box.

    With `layer`, the name of an activation, it is the operations within that layer instead: a residual block's
    convolutions and its shortcut.

    `model` is a Flax Linen module, which needs no parameters, or any function of images (batch, height, width,
    channels); `image_shape` is (height, width, channels) or (length, channels). Nothing is run. Raises InputError for a
    shape that the model cannot take and for a layer that it does not return.
    """
    shape = tuple(image_shape) if isinstance(image_shape, Sequence) else (image_shape,)
    if len(shape) not in (2, 3) or not all(type(n) is int and n > 0 for n in shape):
        raise InputError(f"image_shape={in_line(image_shape)} must be (height, width, channels) or (length, channels).")
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    f, given = _function(model, images)
    structure = Structure(f, *given, images)
    heading = title or _name(model)
    if layer is not None:
        names = [link.name for link in structure.links()]
        if layer not in names:
            raise InputError(f"layer={shown(layer)} is not a layer; the layers are {', '.join(names)}.")
        return operations_drawing(structure.parts(layer), title or f"{heading}, {layer}")
    rows = {row.name: row for row in table(f, images, *given, measured=False).rows}
    links = structure.links()
    towers = _towers(links)
    columns = [Column(IMAGES, shape, "", 0)]
    for link in links:
        row = rows[link.name]
        size = row.map or (_units(link.shape),)
        made = ", ".join(map(str, link.products)) if len(link.products) < 4 else f"{len(link.products)} products"
        columns.append(
            Column(link.name, size, made, row.cost.parameters, towers.get(link.name, 1), link.shortcut, link.reads)
        )
    total = sum(row.cost.parameters for row in rows.values())
    work = sum(row.cost.multiply_adds for row in rows.values())
    about = f"{heading}: {total:,} parameters, {work:,} multiply-adds"
    return boxes_drawing(_together(columns), about)


class _Bound(NamedTuple):
    f: Callable[..., Any]
    given: tuple[Any, ...]


def _function(model: Any, images: jax.ShapeDtypeStruct) -> _Bound:
    """A function of (parameters, images), or of images; parameters are only described."""
    if not isinstance(model, nn.Module):
        return _Bound(model, ())
    train = inspect.signature(type(model).__call__).parameters.get("train")
    mode: dict[str, Any] = {"train": False} if train is not None else {}
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    variables = jax.eval_shape(lambda images: model.init(keys, images, **mode), images)
    return _Bound(lambda variables, images: model.apply(variables, images, **mode), (variables,))


def _name(model: Any) -> str:
    return type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "")


def _units(shape: Sequence[int]) -> int:
    total = 1
    for n in shape[1:]:
        total *= n
    return total


def _towers(links: Sequence[Link]) -> dict[str, int]:
    """Into how many parts the maps of each layer are split by the convolutions that make or read them in groups."""
    by_name, parts = {link.name: link for link in links}, dict[str, int]()
    for link in links:
        groups = link.products[0].groups if len(link.products) == 1 else 1
        if 1 < groups <= MOST_TOWERS:
            parts[link.name], before = groups, link.reads
            # What is read in groups is split from the last product on, whatever comes between.
            while before and before[0] in by_name:
                parts[before[0]] = groups
                before = () if by_name[before[0]].products else by_name[before[0]].reads
        elif not link.products and len(link.reads) == 1 and link.reads[0] in parts:
            parts[link.name] = parts[link.reads[0]]
    return parts


def _together(columns: list[Column]) -> list[Column]:
    """The columns, or where they are many, those once that come again in a row with another number in their names."""
    if len(columns) <= MOST_COLUMNS:
        return columns
    found: list[Column] = []
    kinds = [_kind(column) for column in columns]
    at = 0
    while at < len(columns):
        saved, length, times = max(
            ((times - 1) * length, -length, times)
            for length in range(1, LONGEST_PERIOD + 1)
            for times in [_repeats(kinds, at, length)]
        )
        length = -length if saved else 1
        for first in range(at, at + length):
            parameters = sum(columns[first + length * i].parameters for i in range(times if saved else 1))
            found.append(columns[first]._replace(times=times if saved else 1, parameters=parameters))
        at += length * (times if saved else 1)
    return found


def _repeats(kinds: list[tuple[Any, ...]], at: int, length: int) -> int:
    """How often the columns from `at` on, so many, come in a row."""
    times = 1
    while kinds[at : at + length] == kinds[at + length * times : at + length * (times + 1)]:
        times += 1
    return times


def _kind(column: Column) -> tuple[Any, ...]:
    return re.sub(r"\d+", "", column.name), column.size, column.made, column.towers, column.shortcut
