"""Which pixels can each layer of a network see?

Prints, for every activation in forward order, the receptive field: its size r, stride S and padding P, so that unit u
sees the pixels from S u - P to S u - P + r - 1 along each axis. Read off the traced program: exact for branches,
dilation, pooling and attention alike, and nothing is run. And draws the fields on a picture and against depth.

    python -m experiments.receptive_field --model resnet50
    python -m experiments.receptive_field --model resnet50 alexnet --image photo.jpg
    python -m experiments.receptive_field --model all_cnn_c --layer stage1_conv3 class_maps --unit 0 0

Expected: a unit of the last block of ResNet-50 reads 427 pixels (S = 32, P = 213) of an image of 224, and the blocks
from the sixth of stage 3 on are "unproductive": what they read has seen the image already.

A layer is called unproductive where the field of its input already exceeds the image along every axis: its kernel
cannot relate anything that its input has not seen (Richter et al. 2021, "Should You Go Deeper?"). Where branches meet,
the field here is that of the longest path; the paper goes by the shortest, which a shortcut keeps small, so that in a
residual network the mark is a suspicion.

With --effective on (by default for images of up to 64 pixels) the layers that are drawn are also measured before
training: the radius of the disc that holds 95 % of the unit's absolute derivative. It takes one compilation for each.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, models, runtime
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.figures import save
from cnnjax.runs import Progress, Table, open_run, show_tables
from cnnjax.sweep.catalogue import Network, find
from cnnjax.sweep.ranges import check_memory, check_named, check_ranges
from cnnjax.sweep.traced import activations_of
from experiments.receptive_field import figures
from experiments.shared.growing_fields import shown
from experiments.shared.large_numbers import short
from experiments.shared.picture import load_picture

TAKES = "5 seconds on two cores"

GROWS = ("model",)
"""Options of which a run may get more."""

SMALL = 64


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the receptive field experiment."""

    model: tuple[str, ...] = ("resnet50",)
    """The networks, by their names in cnnjax.models."""
    side: int = 0
    """Side of the images in pixels; 0 is what each network was made for."""
    image: str = ""
    """The picture to draw on: a file, or china, flower or digit; by default the flower, for grey images the digit."""
    layer: tuple[str, ...] = ()
    """Layers to draw; by default a few whose fields fit the picture."""
    unit: tuple[int, int] | None = None
    """Row and column of the unit to draw, in each layer's map; by default the middle one, and the first beside it."""
    effective: Literal["auto", "on", "off"] = "auto"
    """Measure effective fields before training, of the layers that are drawn; auto: for images of up to 64 pixels."""
    out: Path | None = None
    """The run directory (by default runs/receptive_field/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Find every field, print the tables, write them and the figures, and return the run directory."""
    _check(config)
    runtime.configure()
    networks = [find(name, side=config.side or None) for name in config.model]
    with open_run("receptive_field", config, out=config.out, grows=GROWS) as directory:
        import pandas as pd

        rows, tables, drawn = [], [], {}
        with Progress(len(networks)) as progress:
            for network in networks:
                progress.cell(network.name)
                _, side, _, channels = network.images.shape
                picture = load_picture(config.image, side=side, channels=channels)
                fields, cost = observe(network)
                layers = _layers(config, network.name, fields)
                effective = {}
                if config.effective == "on" or (config.effective == "auto" and side <= SMALL):
                    effective = measure(network, fields, picture, layers, config.unit, progress)
                found = table(network.name, fields, cost, effective)
                tables.append(_table(found, side))
                drawn |= figures.draw(
                    network.name,
                    fields,
                    effective,
                    picture,
                    layers=layers,
                    unit=config.unit,
                    unproductive=[row["layer"] for row in found if row["unproductive"]],
                )
                rows += found
        # Nothing is written of a command that is refused at its last network.
        directory.write_table("summary", pd.DataFrame(rows))
        show_tables(directory, tables)
        for name, figure in drawn.items():
            save(figure, directory.figures / f"{name}.png")
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "model")
    if twice := {name for name in config.model if config.model.count(name) > 1}:
        raise InputError(f"model has {', '.join(sorted(twice))} more than once: give every name once")
    # As measured, whatever the network.
    check_memory(200 * config.side**2, f"side={config.side}", "give a smaller one")


def observe(network: Network) -> tuple[dict[str, analysis.ReceptiveField], analysis.Cost]:
    """The receptive field of every activation in forward order, and what each costs."""
    cost = analysis.cost(network.model.apply, network.images, network.variables)
    fields = analysis.receptive_field(activations_of(network.model, network.variables), network.images)
    return {name: fields[name] for name in cost.layers}, cost


def _layers(config: Config, network: str, fields: Mapping[str, analysis.ReceptiveField]) -> list[str]:
    """The layers to draw; raises InputError where there is none of that name or without that unit."""
    for name in config.layer:
        check_choice(f"{network}: layer", name, fields)
    layers = list(dict.fromkeys(config.layer)) or shown(fields)
    if config.unit is not None:
        for name in layers:
            try:
                fields[name].span(config.unit)
            except InputError as error:
                raise InputError(f"{network} has no such unit in {name}: {error}") from error
    return layers


def measure(
    network: Network,
    fields: Mapping[str, analysis.ReceptiveField],
    picture: np.ndarray,
    layers: list[str],
    unit: tuple[int, int] | None,
    progress: Progress,
) -> dict[str, analysis.EffectiveField]:
    """The effective field of each layer that has a map, over the eight orientations of the picture, before training."""
    turned = [np.rot90(picture, turns) for turns in range(4)]
    images = jnp.asarray(np.stack([*turned, *(image[:, ::-1] for image in turned)]))
    variables = network.model.init(jax.random.key(0), images[:1])
    forward = models.bind(network.model, variables)
    shapes = jax.eval_shape(forward, images)[1]
    # Tokens in a row have no middle unit, and those that see the whole image have no place.
    maps = [name for name in layers if shapes[name].ndim > 3 and shapes[name].shape[1:3] == fields[name].units]
    found = {}
    for done, name in enumerate(maps):
        progress.advance(done, len(maps), f"effective field of {name}")
        found[name] = analysis.effective_receptive_field(forward, images, name, unit)
    return found


def table(
    network: str,
    fields: Mapping[str, analysis.ReceptiveField],
    cost: analysis.Cost,
    effective: Mapping[str, analysis.EffectiveField],
) -> list[dict[str, Any]]:
    """A row for each layer, in forward order. Images are square here, so one axis stands for both."""
    rows, seen = [], 0.0
    for name, field in fields.items():
        side, has_map = field.image_size[0], bool(field.stride[0])
        rows.append(
            {
                "network": network,
                "layer": name,
                "units": field.units[0],
                "receptive_field": float(field.size[0]),
                "stride": float(field.stride[0]),
                "padding": float(field.padding[0]),
                "share": float(field.size[0]) / side,
                "whole_image": not has_map,
                "aligned": all(field.aligned),
                "exact": all(field.exact),
                "border": field.border[0],
                "unproductive": has_map and seen > side,
                "parameters": cost.layers[name].parameters,
                "multiply_adds": cost.layers[name].multiply_adds,
                "effective_radius": effective[name].radius() if name in effective else float("nan"),
                "effective_sigma": float(np.mean(effective[name].sigma)) if name in effective else float("nan"),
            }
        )
        seen = float(field.size[0])
    return rows


def _table(rows: list[dict[str, Any]], side: int) -> Table:
    """A network's table."""
    network = rows[0]["network"]
    title = f"Receptive fields of {network} on images of {side}×{side} pixels"
    caption = "Unit u sees the pixels from S u − P to S u − P + r − 1 along each axis."
    if dead := [row for row in rows if row["unproductive"]]:
        weights, products = (
            100 * sum(row[key] for row in dead) / sum(row[key] for row in rows)
            for key in ("parameters", "multiply_adds")
        )
        caption += (
            " Unproductive: the field of the layer's input already exceeds the image; "
            f"{len(dead)} of {sum(not row['whole_image'] for row in rows)} maps, with {weights:.0f} % of the "
            f"parameters and {products:.0f} % of the multiply-adds."
        )
    if any(np.isfinite(row["effective_radius"]) for row in rows):
        caption += " Effective radius: of the disc with 95 % of the unit's absolute derivative, before training, n = 1."
    return Table([_printed(row) for row in rows], title, caption)


def _printed(row: dict[str, Any]) -> dict[str, str]:
    whole = row["whole_image"]
    cells = {
        "layer": row["layer"],
        "map": "–" if whole else f"{row['units']}²",
        "r": "image" if whole else f"{row['receptive_field']:g}",
        "S": "–" if whole else f"{row['stride']:g}",
        "P": "–" if whole else f"{row['padding']:g}",
        "r / image": f"{row['share']:.2f}",
        "aligned": "yes" if row["aligned"] else "no",
        "exact": "yes" if row["exact"] else "no",
        "unproductive": "–" if whole else "yes" if row["unproductive"] else "no",
        "parameters": short(row["parameters"]),
    }
    if np.isfinite(row["effective_radius"]):
        cells["effective radius"] = f"{row['effective_radius']:.1f}"
    return cells
