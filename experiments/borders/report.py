"""Summary, table and figure of the borders experiment."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.figures import save
from cnnjax.figures.style import FAINT, INK, colors, draw_chance, frame, styled, tidy
from cnnjax.ops import Padding
from cnnjax.runs import Table, show_tables
from cnnjax.stats import over_seeds
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.paired import write_comparisons
from cnnjax.sweep.traced import activations_of, shapes_of
from experiments.borders.red_green import SIDE, TEST_SETS, RedGreenNet, ceiling
from experiments.shared.fitting import unfitted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PUBLISHED = {"valid": (1.0, 0.002), "same": (0.998, 0.084), "full": (0.897, 0.897)}
"""Similar and dissimilar accuracy, over 1,000 images and 10 networks (Kayhan & van Gemert 2020, section 4.2)."""
PUBLISHED_IMAGES = 1000
TITLE = "Accuracy where the class was seen in training and where only the other was, by padding"


def write(of: Sweep, paddings: Mapping[str, str]) -> None:
    """Print and write the table; write `summary.csv`, a row for each cell and seed, `comparisons.csv`, and the figure.

    Raises InputError if every cell failed.
    """
    import pandas as pd

    run, dataset, seeds = of.run, of.dataset, of.seeds
    labels = dataset.test.labels.reshape(len(TEST_SETS), -1)
    rows, accuracies = [], {}
    for cell, outcome in of.outcomes.items():
        padding = paddings[cell]
        if outcome.predictions is not None:
            answers = outcome.predictions["test/classes"].reshape(seeds, *labels.shape)
            accuracies[padding] = dict(zip(TEST_SETS, (answers == labels).mean(-1).T, strict=True))
        for seed in range(seeds):
            each = {name: float(values[seed]) for name, values in accuracies.get(padding, {}).items()}
            rows.append(
                {
                    "cell": cell,
                    "seed": of.first_seed + seed,
                    "status": outcome.failure or "ok",
                    "padding": padding,
                    **each,
                }
            )
    run.write_table("summary", pd.DataFrame(rows))
    cells = [*of.outcomes]
    write_comparisons(run, TEST_SETS, [(cell, other) for i, other in enumerate(cells) for cell in cells[i + 1 :]])
    of.check_any()
    bound = ceiling(last_field("full"))
    caption = (
        f"{dataset.note}; each accuracy over {labels.shape[1]:,}. Similar: class 0 above and class 1 below, as in "
        "training; dissimilar: the same images with the halves exchanged. Seen: the first training images, as in the "
        "published program; new: others. In brackets: the published accuracy, and how many standard errors lie between "
        "(of these seeds, and of the published share over its 1,000 images). A network that cannot tell place at all "
        f"is right on at most {bound * 100:.1f} % of new images: further apart than units of the last map see, the "
        "order of two squares is unknown."
    )
    rows = [_row(padding, values, labels.shape[1]) for padding, values in accuracies.items()]
    table = Table(rows, TITLE, caption, percent=True)
    fits = {padding: values["seen.similar"] for padding, values in accuracies.items()}
    show_tables(run, [table], notes=[*unfitted(fits), *of.failures])
    save(figure(accuracies, dataset, bound=bound), run.figures / "borders.png")


def last_field(padding: Padding) -> analysis.ReceptiveField:
    """What a unit of the last map sees."""
    model = RedGreenNet(padding)
    images, variables = shapes_of(model, (SIDE, SIDE, 3))
    activations = activations_of(model, variables)
    return analysis.receptive_field(lambda x: activations(x)["conv4"], images)


def errors_apart(values: np.ndarray, published: float) -> float:
    """Standard errors between the mean of `values` (seeds,) and a published share of 1,000 images; NaN for one seed.

    Both vary: ours from seed to seed, theirs with the images. No difference is 0, whatever the errors.
    """
    difference = float(values.mean()) - published
    if len(values) < 2:
        return math.nan
    ours, theirs = values.var(ddof=1) / len(values), published * (1 - published) / PUBLISHED_IMAGES
    return difference / math.sqrt(ours + theirs) if difference else 0.0


def _row(padding: str, values: Mapping[str, np.ndarray], images: int) -> dict[str, Any]:
    row: dict[str, Any] = {"padding": padding}
    for index, name in enumerate(TEST_SETS):
        kind, which = name.split(".")
        row[f"{kind}, {which}"] = over_seeds(values[name], images=images)
        if kind == "seen":
            apart = errors_apart(values[name], PUBLISHED[padding][index]) if padding in PUBLISHED else None
            known = f"{PUBLISHED[padding][index] * 100:.1f}" if padding in PUBLISHED else "–"
            text = known if apart is None or math.isnan(apart) else f"{known}; {apart:+.1f}"
            row[f"({which})"] = f"({text})"
    return row


@styled()
def figure(accuracies: Mapping[str, Mapping[str, np.ndarray]], dataset: Dataset, *, bound: float) -> "Figure":
    """Images of each class where it was trained and where not; below, each network's accuracy on either, by padding."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.5))  # pyright: ignore[reportGeneralTypeIssues]
    count = len(dataset.test.labels) // len(TEST_SETS)
    shown = {
        "class 0, similar": 0,
        "class 1, similar": 1,
        "class 0, dissimilar": count,
        "class 1, dissimilar": count + 1,
    }
    for axes, (title, index) in zip(upper.subplots(1, 4), shown.items(), strict=True):
        axes.imshow(dataset.test.images[index], interpolation="nearest")
        axes.set_title(title, loc="center", weight="normal", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    axes = lower.subplots()
    shades = colors(["", "similar", "dissimilar"])
    for place, padding in enumerate(accuracies):
        for part, which in enumerate(("similar", "dissimilar")):
            for marker, kind, offset in (("o", "seen", 0.0), ("s", "new", 0.16)):
                values = accuracies[padding][f"{kind}.{which}"] * 100
                x = place + (part - 0.5) * 0.42 + offset - 0.08
                spread = np.linspace(-0.05, 0.05, len(values)) if len(values) > 1 else [0.0]
                label = f"{which}, {kind} images" if place == 0 else None
                fill = shades[which] if kind == "seen" else "white"
                axes.plot(
                    x + np.asarray(spread),
                    values,
                    marker,
                    color=shades[which],
                    markerfacecolor=fill,
                    markersize=4,
                    linestyle="none",
                    label=label,
                )
            if padding in PUBLISHED:
                x, published = place + (part - 0.5) * 0.42 - 0.08, PUBLISHED[padding][part] * 100
                label = "published" if place == part == 0 else None
                axes.hlines(published, x - 0.09, x + 0.09, color=INK, linewidth=1.4, label=label)
    axes.axhline(bound * 100, color=FAINT, linewidth=0.8, linestyle=":")
    axes.annotate(
        "most that can be right on new images without place",
        ((len(accuracies) - 1) / 4, bound * 100),
        ha="center",
        va="top",
        xytext=(0, -3),
        textcoords="offset points",
        fontsize=7.5,
        color=FAINT,
    )
    axes.set_xticks(range(len(accuracies)), list(accuracies))
    axes.set_xlim(-0.5, len(accuracies) - 0.5)
    axes.set_ylim(-4, 104)
    dotted = draw_chance(axes, dataset.chance)
    axes.set_ylabel("accuracy (%)")
    tidy(axes, grid="y")
    axes.tick_params(axis="x", labelcolor=INK, labelsize=9)
    seeds = len(next(iter(next(iter(accuracies.values())).values())))
    notes = [f"A dot is a network: {seeds} of each padding. Dissimilar: moved by 16 rows, to the other class's half."]
    notes += dotted
    frame(figure, "What is cut off at the border tells a network where it is", notes, axes)
    return figure
