"""How many parameters and multiply-adds does a network need, and what does it save to share weights over the image?

Draws the textbook's example as matrices: from 5 pixels to 5 units a dense layer has 25 weights, a convolution with
windows of 3 has the same 3 in every row. Counts, for every network at the image size it was made for: parameters,
multiply-adds, the size of its activations, the receptive field and the total stride. And for images of growing side n
the two answers to "connect an n×n image of c channels to m features": a dense layer with n²cm weights, a convolution
with k²cm; alone, and as networks (the MLP and All-CNN-C). Everything is read off traced programs; nothing is
initialised or run.

    python -m experiments.parameters
    python -m experiments.parameters --models resnet20 vit_tiny --size 64

Expected: a convolution's weights stay the same while a dense layer's grow with the area, but it multiplies k² times as
often; 0.3 million parameters see a 32-pixel image through 41 million multiply-adds in ResNet-20, 0.9 million through
0.9 million in the MLP.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, ops
from cnnjax.errors import InputError
from cnnjax.figures import save
from cnnjax.runs import Progress, Table, open_run, show_tables
from cnnjax.sweep.catalogue import CATALOGUE, Network, find
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.traced import activations_of
from cnnjax.training import save_tree
from experiments.parameters import figures as parameter_figures
from experiments.shared.large_numbers import short

TAKES = "half a minute on two cores"

GROWS = ("models", "sides")
"""Options of which a run may get more."""

GROWING = ("mlp", "all_cnn_c")

LARGEST = 2**13
"""Side of an image whose dense layers can still be counted."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the parameters experiment."""

    models: tuple[str, ...] = tuple(name for name in CATALOGUE if not name.endswith(("_bn", "_lpf4")))
    """The networks to count, by their names in cnnjax.models. By default all but those that only normalise or blur what
    another network does not."""
    size: int = 0
    """Side of the images in pixels; 0 is what each network was made for."""
    sides: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    """Sides of the images on which dense layers and convolutions are compared."""
    channels: int = 3
    """For the comparison: channels of the image, c."""
    features: int = 64
    """For the comparison: features of the layer, m."""
    kernel_size: int = 3
    """For the comparison: side of the convolution's window, k."""
    signal: int = 5
    """For the picture of the matrices: pixels of a signal."""
    window: int = 3
    """For the picture of the matrices: pixels in a convolution's window."""
    out: Path | None = None
    """The run directory (by default runs/parameters/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Count everything, print the tables, write them and the figures, and return the run directory."""
    _check(config)
    import pandas as pd

    with open_run("parameters", config, out=config.out, grows=GROWS) as directory:
        networks, layers, growth = [], [], []
        with Progress(len(config.models) + len(config.sides)) as progress:
            for name in config.models:
                progress.cell(name)
                rows = count(find(name, side=config.size or None))
                networks.append(summarise(rows, side=config.size or CATALOGUE[name].side))
                layers += rows
            for side in config.sides:
                progress.cell(f"{side}×{side} pixels")
                growth += compare(config, side)
        frames = {"layers": pd.DataFrame(layers), "growth": pd.DataFrame(growth)}
        directory.write_table("summary", pd.DataFrame(networks))
        for name, frame in frames.items():
            directory.write_table(name, frame)
        show_tables(directory, _tables(networks, growth, config))
        matrices = connections(config.signal, config.window)
        save_tree(directory.path / "matrices.safetensors", matrices)
        figures = {
            "matrices": parameter_figures.matrices(matrices, signal=config.signal, window=config.window),
            "networks": parameter_figures.networks(
                pd.DataFrame(networks), note=f"Images of {_sizes(networks)} pixels."
            ),
            "growth": parameter_figures.growth(
                frames["growth"],
                channels=config.channels,
                features=config.features,
                kernel_size=config.kernel_size,
            ),
        }
        for name, figure in figures.items():
            save(figure, directory.figures / f"{name}.png")
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "models", "sides")
    if twice := {name for name in config.models if config.models.count(name) > 1}:
        raise InputError(f"models has {', '.join(sorted(twice))} more than once: give every name once")
    for name in ("signal", "window"):
        if getattr(config, name) < 1:
            raise InputError(f"{name}={getattr(config, name)} must be at least 1")
    if config.window > config.signal or config.signal > 12:
        raise InputError(
            f"window={config.window} must be at most signal={config.signal}, and that at most 12 for a legible picture"
        )
    if not 1 <= min(config.sides) <= max(config.sides) <= LARGEST:
        raise InputError(f"sides={config.sides} must be from 1 to {LARGEST}")


def count(network: Network) -> list[dict[str, Any]]:
    """A row for each layer of a network, in forward order, for one image."""
    activations = activations_of(network.model, network.variables)
    cost = analysis.cost(network.model.apply, network.images, network.variables)
    fields = analysis.receptive_field(activations, network.images)
    shapes = jax.eval_shape(activations, network.images)
    return [
        {
            "network": network.name,
            "layer": name,
            "shape": "×".join(map(str, shapes[name].shape[1:])),
            "parameters": layer.parameters,
            "multiply_adds": layer.multiply_adds,
            "activation_bytes": layer.activation_bytes,
            "receptive_field": fields[name].size[0],
            "stride": fields[name].stride[0],
        }
        for name, layer in cost.layers.items()
    ]


def summarise(layers: list[dict[str, Any]], *, side: int) -> dict[str, Any]:
    """A network's row: sums over its layers, the receptive field of its last map or tokens, its coarsest stride."""
    maps = [layer for layer in layers if "×" in layer["shape"]] or layers
    sums = {name: sum(layer[name] for layer in layers) for name in ("parameters", "multiply_adds", "activation_bytes")}
    return {
        "network": layers[0]["network"],
        "side": side,
        **sums,
        "receptive_field": maps[-1]["receptive_field"],
        "whole_image": maps[-1]["stride"] == 0,
        "stride": max(layer["stride"] for layer in layers),
    }


def connections(signal: int, window: int) -> dict[str, np.ndarray]:
    """Which weight, counted from 1, joins a unit (row) to a pixel (column) of a signal; 0: none does.

    A dense layer, windows with weights of their own at every place, and a convolution, all with zeros at the borders.
    """
    # Matrix and map have the convolution's own places, whatever its weights are.
    shared = np.asarray(ops.conv_matrix(jnp.arange(1.0, window + 1).reshape(-1, 1, 1), signal), np.int64)
    local = np.zeros_like(shared)
    local[shared > 0] = np.arange(1, np.count_nonzero(shared) + 1)
    return {"dense": np.arange(1, signal**2 + 1).reshape(signal, signal), "local": local, "convolution": shared}


def compare(config: Config, side: int) -> list[dict[str, Any]]:
    """Dense layers, a convolution and networks on one image of this side: a row for each, counted from its program."""
    images = jax.ShapeDtypeStruct((1, side, side, config.channels), jnp.float32)
    pixels, k = side**2 * config.channels, config.kernel_size
    kernels = {
        "dense": (pixels, config.features),
        "dense_map": (pixels, side**2 * config.features),
        "convolution": (k, k, config.channels, config.features),
    }

    def layer(kernel: jax.Array, x: jax.Array) -> jax.Array:
        return x.reshape(1, -1) @ kernel if kernel.ndim == 2 else ops.conv(x, kernel)

    costs = {
        name: analysis.cost(layer, images, jax.ShapeDtypeStruct(shape, jnp.float32)) for name, shape in kernels.items()
    }
    for name in GROWING:
        network = find(name, side=side)
        costs[name] = analysis.cost(network.model.apply, network.images, network.variables)
    return [
        {"side": side, "what": name, "parameters": cost.parameters, "multiply_adds": cost.multiply_adds}
        for name, cost in costs.items()
    ]


def _sizes(networks: list[dict[str, Any]]) -> str:
    *others, last = sorted({row["side"] for row in networks})
    return f"{', '.join(map(str, others))} or {last}" if others else f"{last}"


def _tables(networks: list[dict[str, Any]], growth: list[dict[str, Any]], config: Config) -> list[Table]:
    c, m, k = config.channels, config.features, config.kernel_size
    about = (
        "For one image, in float32. Activations: the arrays that the network returns, as the output of each block. "
        "Receptive field: that of a unit of the last map or of a token, padding included. Stride: that of the coarsest "
        "map, in pixels."
    )
    tables = [Table([_network_row(row) for row in networks], "What networks cost", about)]
    for column, (key, name) in enumerate(parameter_figures.QUANTITIES.items()):
        formulas = {what: texts[column] for what, texts in parameter_figures.FORMULAS.items()}
        about = (
            f"One layer from c = {c} channels to m = {m} features: dense ({formulas['dense']}), dense to a map of the "
            f"features ({formulas['dense_map']}), a convolution with k = {k} ({formulas['convolution']}). Then whole "
            "networks."
        )
        rows = [_growth_row(growth, side, key) for side in config.sides]
        tables.append(Table(rows, f"On growing images: {name}", about))
    return tables


def _network_row(row: dict[str, Any]) -> dict[str, str]:
    return {
        "network": row["network"],
        "image": f"{row['side']}²",
        "parameters": short(row["parameters"]),
        "multiply-adds": short(row["multiply_adds"]),
        "per parameter": short(row["multiply_adds"] / row["parameters"]),
        "activations": short(row["activation_bytes"]) + "B",
        "receptive field": "image" if row["whole_image"] else f"{row['receptive_field']}",
        "stride": f"{row['stride']}" if row["stride"] else "–",
    }


def _growth_row(growth: list[dict[str, Any]], side: int, key: str) -> dict[str, str]:
    found = {parameter_figures.NAMES[row["what"]]: short(row[key]) for row in growth if row["side"] == side}
    return {"image": f"{side}²", **found}
