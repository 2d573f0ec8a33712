"""From the images that networks need to tables, with exponents beside the theory's, and a figure."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures import save
from cnnjax.runs import RunDirectory, Table, show_tables
from cnnjax.stats import Interval
from cnnjax.stats.intervals import describe_methods, method_over_seeds
from experiments.sample_complexity.exponents import THEORY, Axis, Measured, along, exponent, geometric, theory_exponent
from experiments.sample_complexity.figures import needs_figure

if TYPE_CHECKING:
    from experiments.sample_complexity import Config

NAMES = {"cnn": "CNN", "lcn": "LCN", "fcn": "FCN"}


def write(run: RunDirectory, config: "Config", found: Sequence[Measured]) -> None:
    """Print the tables and write them, `summary.csv`, `needs.csv`, `exponents.csv` and the figure."""
    import pandas as pd

    axes = [
        Axis("k", "patches", "dimension", config.at_dimension),
        Axis("d", "dimension", "patches", config.at_patches),
    ]
    run.write_table("summary", pd.DataFrame([row for one in found for row in _repetitions(one)]))
    run.write_table("needs", pd.DataFrame([_need(one) for one in found]))
    slopes = {(kind, axis.name): exponent(along(found, kind, axis), axis) for kind in config.networks for axis in axes}
    rows = [_slope(kind, axis, slopes[kind, axis.name], found) for kind in config.networks for axis in axes]
    run.write_table("exponents", pd.DataFrame(rows))
    method = describe_methods([method_over_seeds(config.repetitions)])
    about = (
        f"Images to an error of {100 * config.target:g} % on {config.test_images:,} others; σ = {config.noise:g}. "
        f"Geometric mean of n = {config.repetitions} repetitions and, in brackets, its 95 % {method} interval. "
        f"Thresholds were chosen by other repetitions ({config.pilots} for each)."
    )
    tables = [
        Table(_by_size(found, config.networks, axis), f"Images needed, by {axis.name} ({_other(axis)})", about)
        for axis in axes
    ]
    if times := _savings(found):
        caption = (
            "LCN / CNN: what sharing saves; FCN / LCN: what locality saves. Of the same repetitions; geometric mean "
            "and its interval."
        )
        tables.append(Table(times, "How many times as many images", caption))
    caption = (
        "Slope of the logarithm of images against that of k or d, over the sizes at which every repetition reached the "
        "error; a seed is a repetition. Theory: the same slope of the bound, which is up to constants and logarithms."
    )
    tables.append(Table(_exponents(config.networks, axes, slopes, found), "Exponents", caption, digits=2))
    show_tables(run, tables, notes=_notes(found, axes, config))
    bounds = {kind: function for kind, ((_, function), *_) in THEORY.items()}
    figure = needs_figure(found, axes, slopes, NAMES, bounds, target=config.target, noise=config.noise)
    save(figure, run.figures / "needs.png")


def _repetitions(one: Measured) -> list[dict[str, Any]]:
    cell = f"network={one.kind},patches={one.patches},dimension={one.dimension}"
    return [
        {"cell": cell, "seed": seed, "status": "ok" if math.isfinite(images) else "too few images", "images": images}
        | {"training_error": error}
        for seed, (images, error) in enumerate(zip(one.images.tolist(), one.training_error.tolist(), strict=True))
    ]


def _need(one: Measured) -> dict[str, Any]:
    row: dict[str, Any] = {"network": one.kind, "patches": one.patches, "dimension": one.dimension}
    row["threshold"] = one.threshold
    row["reached"] = int(np.isfinite(one.images).sum())
    row["repetitions"] = len(one.images)
    if one.reached:
        found = geometric(one.images)
        row |= {"images": found.mean, "low": found.low, "high": found.high}
    return row | {"training_error": float(one.training_error.mean())}


def _by_size(found: Sequence[Measured], kinds: Sequence[str], axis: Axis) -> list[dict[str, str]]:
    sizes = sorted({getattr(one, axis.field) for one in found if getattr(one, axis.fixed) == axis.at})
    rows = []
    for kind in kinds:
        row = {"network": NAMES[kind]}
        for size in sizes:
            mine = [
                one
                for one in found
                if (one.kind, getattr(one, axis.field), getattr(one, axis.fixed)) == (kind, size, axis.at)
            ]
            row[f"{axis.name} = {size}"] = _images(mine[0]) if mine else "–"
        rows.append(row)
    return rows


def _images(one: Measured) -> str:
    if not one.reached:
        return "not reached"
    return _ends(geometric(one.images))


def _ends(found: Interval) -> str:
    digits = 0 if found.mean >= 100 else 1
    if not math.isfinite(found.low):
        return f"{found.mean:,.{digits}f}"
    return f"{found.mean:,.{digits}f} ({found.low:,.{digits}f} to {found.high:,.{digits}f})"


def _other(axis: Axis) -> str:
    return f"{'d' if axis.name == 'k' else 'k'} = {axis.at}"


def _savings(found: Sequence[Measured]) -> list[dict[str, str]]:
    """Ratios of LCN to CNN (what sharing saves) and of FCN to LCN (what locality saves): a row for each size."""
    of: Mapping[tuple[str, int, int], Measured] = {(one.kind, one.patches, one.dimension): one for one in found}
    rows = []
    for k, d in sorted({(one.patches, one.dimension) for one in found}):
        row = {"k": f"{k}", "d": f"{d}"}
        for title, more, fewer in (("LCN / CNN", "lcn", "cnn"), ("FCN / LCN", "fcn", "lcn")):
            pair = [of.get((kind, k, d)) for kind in (more, fewer)]
            both = [one.images for one in pair if one is not None and one.reached]
            row[title] = _ends(geometric(both[0] / both[1])) if len(both) == 2 else "–"
        rows.append(row)
    return rows if any({row["LCN / CNN"], row["FCN / LCN"]} - {"–"} for row in rows) else []


def _slope(kind: str, axis: Axis, found: Interval | None, measured: Sequence[Measured]) -> dict[str, Any]:
    row: dict[str, Any] = {"network": kind, "in": axis.name, "sizes": len(along(measured, kind, axis))}
    if found is not None:
        row |= {"exponent": found.mean, "low": found.low, "high": found.high}
    return row


def _exponents(
    kinds: Sequence[str],
    axes: Sequence[Axis],
    slopes: Mapping[tuple[str, str], Interval | None],
    found: Sequence[Measured],
) -> list[dict[str, Any]]:
    rows = []
    for kind in kinds:
        row: dict[str, Any] = {"network": NAMES[kind]}
        for axis in axes:
            needs = along(found, kind, axis)
            row[f"in {axis.name}"] = slopes[kind, axis.name]
            texts = [f"{text}: {theory_exponent(bound, needs):.2f}" for text, bound in THEORY[kind] if len(needs) > 1]
            row[f"theory in {axis.name}"] = "; ".join(texts) or None
        rows.append(row)
    return rows


def _notes(found: Sequence[Measured], axes: Sequence[Axis], config: "Config") -> list[str]:
    reached = [one for one in found if one.reached]
    notes = []
    if reached:
        worst = max(reached, key=lambda one: one.training_error.mean())
        mean, most = (100 * np.mean([one.training_error.mean() for one in some]) for some in (reached, [worst]))
        notes.append(
            f"Networks that reached the error had {mean:.1f} % of their training images wrong in the mean over sizes, "
            f"{most:.1f} % at the most ({NAMES[worst.kind]}, k = {worst.patches}, d = {worst.dimension})."
        )
    for kind in config.networks:
        chosen = [(axis.name, [f"{one.threshold:g}" for one in along(found, kind, axis)]) for axis in axes]
        texts = [f"{', '.join(values) or 'none'} along {name}" for name, values in chosen]
        notes.append(f"Thresholds of {NAMES[kind]}, in units of σ √(log k): {'; '.join(texts)}.")
    for one in (one for one in found if not one.reached):
        missed = int(np.isnan(one.images).sum())
        who = (
            "no pilot" if math.isnan(one.threshold) else f"{len(one.images) - missed} of {len(one.images)} repetitions"
        )
        notes.append(
            f"{NAMES[one.kind]}, k = {one.patches}, d = {one.dimension}: {who} reached the error with {config.most:,} "
            "images."
        )
    return notes
