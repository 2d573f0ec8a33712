"""From the first layer's filters to tables and figures: whether two towers divide colour and form among themselves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from cnnjax import analysis
from cnnjax.figures import save
from cnnjax.runs import Table, show_tables
from cnnjax.stats import compare_summary, holm, over_seeds
from cnnjax.sweep.cell import WEIGHTS
from cnnjax.sweep.cells import Sweep
from experiments.alexnet import figures as tower_figures
from experiments.alexnet.separation import Separation, separation
from experiments.shared.fitting import TRAINING, training_accuracy, training_figure, training_interval, unfitted

if TYPE_CHECKING:
    import pandas as pd

PROPERTIES = ("chroma", "orientation")
"""The share of a filter's energy that grey cannot excite, and how much it prefers one orientation."""

TESTS = ("p (ungrouped)", "p")
SEPARATION = (
    "Separation: the rank-biserial correlation of the filters' values in one tower and in the other, without its sign; "
    "1 where every filter of one tower is above every one of the other. The network without towers is cut in its "
    "middle. By chance: the same of random halves of the same filters. p: how often random halves are as far apart in "
    "the mean over seeds; p (ungrouped): of the rank-sum test over seeds against the halves of the network without "
    "towers, one-sided; Holm: corrected for the number of rows. Low, high: the mean of the tower that has less, and of "
    "the one that has more, in each network."
)


def write(of: Sweep, treatments: Mapping[str, Mapping[str, Any]], *, splits: int) -> None:
    """Print the tables and write them, `summary.csv`, `filters.csv`, `comparisons.csv` and the figures.

    The summary has a row for each cell and seed, filters one for each of their filters, comparisons one for each cell
    whose accuracy is compared with the first's. `treatments` says of each cell its network and regularization.
    """
    import pandas as pd

    run, dataset, done = of.run, of.dataset, [*of.predictions]
    if not done:
        run.write_table("summary", _summary(of, treatments, {}))
        of.check_any()
    kernels = {name: run.cell(name).arrays(WEIGHTS)[KERNEL] for name in done}
    filters = pd.concat(
        [_filters(name, treatments[name], kernels[name], of.numbers) for name in done], ignore_index=True
    )
    run.write_table("filters", filters)
    cells = {name: pd.DataFrame(filters[filters["cell"] == name]) for name in done}
    apart = {name: {what: _separation(cell, what, splits) for what in PROPERTIES} for name, cell in cells.items()}
    summary = _summary(of, treatments, apart)
    run.write_table("summary", summary)
    images, fits = len(dataset.test.labels), training_accuracy(of)
    accuracies = [
        {"network": treatments[name]["network"], "training": treatments[name]["regularization"]}
        | {"test accuracy": over_seeds(summary[summary["cell"] == name]["test.accuracy"], images=images)}
        | {"training accuracy": training_interval(fits, name)}
        for name in done
    ]
    tables = [
        Table(_shown(_separations(treatments, filters, apart)), "Do the towers separate?", SEPARATION, digits=2),
        Table(accuracies, "Accuracy, in percent", f"{dataset.note}. {TRAINING}", percent=True),
    ]
    show_tables(run, tables, notes=[*unfitted(fits), *of.failures])
    if len(done) > 1 and of.seeds > 1:
        finished = pd.DataFrame(summary[summary["status"] == "ok"])
        compared = compare_summary(finished, ["test.accuracy"], baseline=done[0])
        run.write_table("comparisons", compared)
    # Of each network the first cell, which is the one that the others are compared under.
    first = {treatments[name]["network"]: name for name in reversed(done)}
    shown = {name: treatments[name]["network"] for name in done if first[treatments[name]["network"]] == name}
    figures = tower_figures.draw(filters, {name: kernels[name][0] for name in shown}, apart, shown, note=dataset.note)
    if (training := training_figure(of)) is not None:
        figures["training"] = training
    for name, figure in figures.items():
        save(figure, run.figures / f"{name}.png")


KERNEL = "params/conv1/kernel"


def _filters(cell: str, treatment: Mapping[str, Any], kernels: np.ndarray, numbers: range) -> "pd.DataFrame":
    """A row for each filter of kernels (seeds, height, width, 3, filters); the tower is that of its half."""
    import pandas as pd

    tables = []
    for seed, kernel in zip(numbers, jnp.asarray(kernels), strict=True):
        angle, selectivity = analysis.filter_orientation(kernel)
        number = np.arange(kernel.shape[-1])
        columns = {
            "filter": number,
            "tower": 2 * number // len(number),
            "rms": np.asarray(analysis.filter_rms(kernel)),
            "chroma": np.asarray(analysis.filter_chroma(kernel)),
            "orientation": np.asarray(selectivity),
            "degrees": np.asarray(angle),
        }
        tables.append(pd.DataFrame({"cell": cell, **treatment, "seed": seed} | columns))
    return pd.concat(tables)


def _separation(filters: "pd.DataFrame", what: str, splits: int) -> Separation:
    # A filter of zeros has no value.
    networks = [mine.dropna(subset=[what]) for _, mine in filters.groupby("seed")]
    values = [mine[what].to_numpy(np.float64) for mine in networks]
    return separation(values, [mine["tower"].to_numpy() == 0 for mine in networks], splits=splits)


def _summary(
    of: Sweep, treatments: Mapping[str, Mapping[str, Any]], apart: Mapping[str, Mapping[str, Separation]]
) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for name, outcome in of.outcomes.items():
        for i, seed in enumerate(of.numbers):
            row: dict[str, Any] = {"cell": name, **treatments[name], "seed": seed, "status": outcome.failure or "ok"}
            if outcome.predictions is not None:
                row["test.accuracy"] = float(np.mean(outcome.predictions["test/classes"][i] == of.dataset.test.labels))
                for what, found in apart[name].items():
                    row[f"{what}.separation"] = float(found.observed[i])
                    row[f"{what}.by_chance"] = float(found.by_chance[i].mean())
            rows.append(row)
    return pd.DataFrame(rows)


def _separations(
    treatments: Mapping[str, Mapping[str, Any]],
    filters: "pd.DataFrame",
    apart: Mapping[str, Mapping[str, Separation]],
) -> "pd.DataFrame":
    """A row for each cell and property, as the table has them, with every p as it is and corrected."""
    import pandas as pd

    ungrouped = next((each for name, each in apart.items() if treatments[name]["network"] == "one_tower"), None)
    rows = []
    for name, each in apart.items():
        for what, found in each.items():
            means = filters[filters["cell"] == name].pivot_table(values=what, index="seed", columns="tower").to_numpy()
            row: dict[str, Any] = {
                "network": treatments[name]["network"],
                "training": treatments[name]["regularization"],
            }
            row |= {"property": what, "separation": over_seeds(found.observed), "by chance": found.by_chance.mean()}
            row |= {"low": over_seeds(means.min(1)), "high": over_seeds(means.max(1)), "p": found.p}
            if ungrouped is not None and treatments[name]["network"] != "one_tower":
                row["p (ungrouped)"] = _rank_sum(found.observed, ungrouped[what].observed)
            rows.append(row)
    table = pd.DataFrame(rows)
    given = [column for column in TESTS if column in table]
    return table.assign(**{f"{column}, Holm": holm(table[column]) for column in given})


def _rank_sum(values: np.ndarray, others: np.ndarray) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(values, others, alternative="greater").pvalue)


def _shown(separations: "pd.DataFrame") -> "pd.DataFrame":
    given = [column for name in TESTS for column in (name, f"{name}, Holm") if column in separations]
    shown = separations.assign(**{column: separations[column].map(_significant) for column in given})
    return shown.drop(columns=["p (ungrouped)"], errors="ignore")


def _significant(p: float) -> str:
    return f"{p:.2g}" if np.isfinite(p) else "–"
