"""Tables, summary and figures of the effective field experiment."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnjax.analysis import EffectiveField, ReceptiveField
from cnnjax.data import Dataset
from cnnjax.figures import save
from cnnjax.runs import RunDirectory, Table, format_interval, show_tables
from cnnjax.stats import Interval, over_seeds
from experiments.effective_field import figures as effective_field_figures
from experiments.effective_field.stacks import Stack
from experiments.shared.fitting import unfitted

Stacks = Mapping[str, tuple[Stack, np.ndarray]]


def write(
    run: RunDirectory,
    stacks: Stacks,
    fields: Mapping[str, ReceptiveField],
    network: Mapping[str, np.ndarray],
    dataset: Dataset,
    *,
    images: int,
    first_seed: int,
) -> None:
    """Print both tables, and write them, `summary.csv` (a row for each map) and the figures.

    `stacks` has each stack with its maps (seeds, rows, columns), of the absolute derivative; `network` those of the
    layers in `fields`, under "before/LAYER" and "after/LAYER", and each seed's accuracy on test and training images.
    """
    import pandas as pd

    summary: Any = pd.DataFrame(
        [
            *(row for name, (stack, maps) in stacks.items() for row in _stack_rows(name, stack, maps, first_seed)),
            *(row for layer, field in fields.items() for row in _layer_rows(layer, field, network, first_seed)),
        ]
    )
    run.write_table("summary", summary)
    accuracy = format_interval(over_seeds(network["accuracy"], images=len(dataset.test.labels)))
    fitted = format_interval(over_seeds(network["training"], images=len(dataset.train.labels)))
    training = (
        f"{dataset.name}; after training {accuracy} % of test and {fitted} % of training images are right; fields of "
        f"{images} test images."
    )
    tables = [
        (
            "Stacks of n convolutions: σ of the effective field, in pixels",
            "Theory: √(n (k² − 1) / 12), which the absolute derivative g of equal weights and the mean g² of random "
            "ones follow. 4σ / r: the share of the receptive field, for equal weights.",
            _stack_table(summary, stacks),
        ),
        (
            "Before and after training: the effective field of the middle unit, in pixels",
            f"Radius: of the disc that holds 95 % of |g|. {training}",
            _layer_table(summary, fields),
        ),
    ]
    fits = unfitted({"the network": network["training"]})
    show_tables(run, [Table(rows, title, about, digits=2) for title, about, rows in tables], notes=fits)
    figures = {
        "growth": effective_field_figures.growth(summary[summary["when"].isna()]),
        "stacks": effective_field_figures.stack_maps(
            {name: (stack, maps[0]) for name, (stack, maps) in stacks.items()}
        ),
        "training": effective_field_figures.before_and_after(fields, network, note=training),
    }
    for name, figure in figures.items():
        save(figure, run.figures / f"{name}.png")


def _stack_rows(name: str, stack: Stack, maps: np.ndarray, first_seed: int) -> list[dict[str, Any]]:
    middle = (stack.size // 2,) * 2
    rows = []
    for seed, weights in enumerate(maps, first_seed):
        # Of one image and one channel, so this is the map of the square.
        field, squared = EffectiveField(weights, middle), EffectiveField(weights**2 / (weights**2).sum(), middle)
        rows.append(
            {
                "cell": name,
                "seed": seed,
                "weights": stack.weights,
                "layers": stack.layers,
                "layer": None,
                "when": None,
                "receptive_field": stack.size,
                "theory_sigma": stack.sigma,
                "sigma_absolute": _sigma(field),
                "sigma_squared": _sigma(squared),
                "radius": field.radius(),
            }
        )
    return rows


def _layer_rows(
    layer: str, field: ReceptiveField, network: Mapping[str, np.ndarray], first_seed: int
) -> list[dict[str, Any]]:
    rows = []
    for when in ("before", "after"):
        for seed, weights in enumerate(network[f"{when}/{layer}"], first_seed):
            effective = EffectiveField(weights, tuple((n - 1) // 2 for n in field.units))
            rows.append(
                {
                    "cell": "training",
                    "seed": seed,
                    "layer": layer,
                    "when": when,
                    "receptive_field": float(field.size[0]),
                    "sigma_absolute": _sigma(effective),
                    "radius": effective.radius(),
                }
            )
    return rows


def _sigma(field: EffectiveField) -> float:
    """Of both axes together, the root of their mean variance."""
    return float(np.sqrt(np.mean(np.square(field.sigma))))


def _stack_table(summary: Any, stacks: Stacks) -> list[dict[str, Any]]:
    rows = []
    kinds = list(dict.fromkeys(stack.weights for stack, _ in stacks.values()))
    for n in dict.fromkeys(stack.layers for stack, _ in stacks.values()):
        some = next(stack for stack, _ in stacks.values() if stack.layers == n)
        row: dict[str, Any] = {"n": n, "r": some.size, "theory": some.sigma}
        mine = summary[summary["layers"].eq(n)]
        for weights in kinds:
            values = mine[mine["weights"].eq(weights)]
            name = effective_field_figures.NAMES[weights]
            if weights == "equal":
                row[name] = float(values["sigma_absolute"].iloc[0])
                row["4σ / r"] = f"{4 * row[name] / some.size:.3f}"
            else:
                row[f"{name}, g²"] = over_seeds(values["sigma_squared"])
                row[f"{name}, |g|"] = over_seeds(values["sigma_absolute"])
        rows.append(row)
    return rows


def _layer_table(summary: Any, fields: Mapping[str, ReceptiveField]) -> list[dict[str, Any]]:
    rows = []
    for layer, field in fields.items():
        mine = summary[summary["layer"].eq(layer)]
        before, after = (mine[mine["when"].eq(when)].set_index("seed") for when in ("before", "after"))
        change: Interval = over_seeds(after["radius"] / before["radius"])
        rows.append(
            {
                "layer": layer,
                "r": f"{float(field.size[0]):g}",
                "radius before": over_seeds(before["radius"]),
                "after": over_seeds(after["radius"]),
                "after / before": change,
                "4σ / r before": over_seeds(4 * before["sigma_absolute"] / before["receptive_field"]),
                "4σ / r after": over_seeds(4 * after["sigma_absolute"] / after["receptive_field"]),
            }
        )
    return rows
