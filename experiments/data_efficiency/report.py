"""Summary, tables and figures of the data efficiency experiment."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from cnnjax.figures import save
from cnnjax.figures.style import colors, draw_chance, frame, styled, tidy
from cnnjax.runs import Table, show_tables
from cnnjax.stats import compare
from cnnjax.stats.intervals import over_seeds
from cnnjax.sweep.cells import Sweep
from experiments.shared.fitting import TRAINING, training_accuracy, unfitted
from experiments.shared.large_numbers import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"mlp": "MLP", "local": "local", "cnn": "CNN", "vit": "ViT"}
PIXELS = {"ordered": "as they are", "permuted": "permuted"}


class Costs(NamedTuple):
    """What a network costs: its parameters, and its multiply-adds for one image."""

    parameters: int
    multiply_adds: int


class Cell(Protocol):
    """The settings of a cell (see `experiments.data_efficiency.Treatment`)."""

    @property
    def network(self) -> str: ...
    @property
    def width(self) -> float: ...
    @property
    def images(self) -> int: ...
    @property
    def pixels(self) -> str: ...
    @property
    def draw(self) -> int: ...


def write(of: Sweep, cells: Mapping[str, Cell], costs: Mapping[tuple[str, float], Costs]) -> None:
    """Print and write the tables; write `summary.csv`, a row for each cell, `comparisons.csv` and the figures.

    Raises InputError if every cell failed.
    """
    import pandas as pd

    run, dataset = of.run, of.dataset
    rows = []
    for name, outcome in of.outcomes.items():
        cell = cells[name]
        accuracy = None
        if outcome.predictions is not None:
            accuracy = float((outcome.predictions["test/classes"] == dataset.test.labels).mean())
        rows.append(
            {
                "cell": name,
                "seed": cell.draw,
                "status": outcome.failure or "ok",
                "network": cell.network,
                "width": cell.width,
                "images": cell.images,
                "pixels": cell.pixels,
                **costs[cell.network, cell.width]._asdict(),
                "accuracy": accuracy,
            }
        )
    summary: Any = pd.DataFrame(rows)
    run.write_table("summary", summary)
    of.check_any()
    done = summary.dropna(subset=["accuracy"])
    comparisons = _comparisons(done)
    run.write_table("comparisons", comparisons)
    everything, fits = len(dataset.train.labels), training_accuracy(of)
    done = done.assign(training=[float(fits[name][0]) if name in fits else np.nan for name in done["cell"]])
    note = f"{dataset.name}: {len(dataset.test.labels):,} test images"
    tables = [
        Table(
            _by_images(done, images=len(dataset.test.labels)),
            "Accuracy by number of training images, pixels as they are and permuted",
            f"{note}. {dataset.note}. Every training takes equally many steps.",
            percent=True,
        ),
        Table(
            _by_images(done, of="training"),
            "Accuracy on these training images",
            f"{TRAINING} The images are moved once, and not augmented.",
            percent=True,
        ),
        Table(
            _differences(comparisons),
            f"What the order of the pixels is worth, and what the CNN is ahead of the MLP, in points, of {note}",
            "Differences of the same draws. p: that of the paired t test, by Holm's method for all rows.",
            percent=True,
        ),
        Table(
            _by_cost(done, everything, images=len(dataset.test.labels)),
            f"Accuracy of all {everything:,} training images, by parameters and multiply-adds",
            "Multiply-adds: for one image, forward. Width: the factor of the network's own widths.",
            percent=True,
        ),
    ]
    show_tables(run, tables, notes=[*unfitted(_named_fits(done)), *of.failures])
    save(by_images(done, note=note, chance=dataset.chance), run.figures / "images.png")
    save(
        by_cost(done[done["images"].eq(everything) & done["pixels"].eq("ordered")], note=note, chance=dataset.chance),
        run.figures / "cost.png",
    )


def _named_fits(done: Any) -> dict[str, np.ndarray]:
    """Accuracies on training images (draws,) by network, images and pixels."""
    known = done[done["width"].eq(1)].dropna(subset=["training"])
    return {
        f"{NAMES[network]} on {images:,} images, pixels {PIXELS[pixels]}": mine["training"].to_numpy()
        for (network, images, pixels), mine in known.groupby(["network", "images", "pixels"], sort=False)
    }


def _values(done: Any, score: str = "accuracy", **what: Any) -> Any:
    """Accuracies by draw of the cells with these settings."""
    for column, value in what.items():
        done = done[done[column].eq(value)]
    return done.set_index("seed")[score].dropna().sort_index()


def _comparisons(done: Any) -> Any:
    """`stats.compare` of permuted with ordered pixels for each network, and of the networks with the MLP."""
    import pandas as pd

    from cnnjax.stats import holm

    frames = []
    usual = done[done["width"].eq(1)]
    networks = list(dict.fromkeys(usual["network"]))
    for images in sorted(set(usual["images"])):
        pairs = [(network, "permuted", network, "ordered") for network in networks]
        if "mlp" in networks:
            pairs += [(network, "ordered", "mlp", "ordered") for network in networks if network != "mlp"]
            pairs += [(network, "permuted", "mlp", "permuted") for network in networks if network != "mlp"]
        for network, pixels, other, others in pairs:
            both = {
                f"{network} {pixels}": _values(usual, network=network, images=images, pixels=pixels),
                f"{other} {others}": _values(usual, network=other, images=images, pixels=others),
            }
            known = sorted(set.intersection(*(set(values.index) for values in both.values())))
            if known:
                found = compare({k: v.loc[known].to_numpy() for k, v in both.items()}, baseline=f"{other} {others}")
                frames.append(found.assign(images=images))
    frame = pd.concat(frames, ignore_index=True)
    frame["p_holm"] = holm(frame["p"])
    frame.insert(0, "images", frame.pop("images"))
    return frame


def _by_images(done: Any, *, of: str = "accuracy", images: int | None = None) -> list[dict[str, Any]]:
    rows = []
    usual = done[done["width"].eq(1)]
    for network in dict.fromkeys(usual["network"]):
        for pixels, text in PIXELS.items():
            row: dict[str, Any] = {"network": NAMES[network], "pixels": text}
            for trained in sorted(set(usual["images"])):
                values = _values(usual, of, network=network, pixels=pixels, images=trained)
                row[f"{trained:,}"] = over_seeds(values, images=images or int(trained)) if len(values) else None
            rows.append(row)
    return rows


def _differences(comparisons: Any) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for found in comparisons.to_dict("records"):
        (network, pixels), (other, _) = found["cell"].split(), found["against"].split()
        if network == other:
            label = f"{NAMES[network]}: permuted − as they are"
        elif network == "cnn":
            label = f"CNN − MLP, pixels {PIXELS[pixels]}"
        else:
            continue
        row = rows.setdefault((network, label), {"difference": label})
        half = (found["high"] - found["low"]) / 2 * 100
        two = "n = 2, " * (found["n"] == 2)
        spread = f" ± {half:.1f} ({two}p {_p(found['p_holm'])})" if np.isfinite(half) else ""
        row[f"{found['images']:,}"] = f"{found['difference'] * 100:+.1f}{spread}"
    return list(rows.values())


def _p(value: float) -> str:
    return "–" if not np.isfinite(value) else "< .001" if value < 1e-3 else f"{value:.3f}".lstrip("0")


def _by_cost(done: Any, everything: int, *, images: int) -> list[dict[str, Any]]:
    rows = []
    ordered = done[done["images"].eq(everything) & done["pixels"].eq("ordered")]
    for (network, width), found in ordered.groupby(["network", "width"], sort=False):
        rows.append(
            {
                "network": NAMES[network],
                "width": f"{width:g}",
                "parameters": short(found["parameters"].iloc[0]),
                "multiply-adds": short(found["multiply_adds"].iloc[0]),
                "accuracy": over_seeds(found["accuracy"], images=images),
            }
        )
    return sorted(rows, key=lambda row: (list(NAMES.values()).index(row["network"]), float(row["width"])))


@styled()
def by_images(done: Any, *, note: str, chance: float) -> "Figure":
    """Accuracy against the number of images: a panel for either order of the pixels, a line for each network."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    panels, dotted = figure.subplots(1, 2, sharey=True), []
    usual = done[done["width"].eq(1)]
    shades = colors(list(NAMES))
    numbers = sorted(set(usual["images"]))
    for axes, (pixels, text) in zip(panels, PIXELS.items(), strict=True):
        for network in dict.fromkeys(usual["network"]):
            each = [_values(usual, network=network, pixels=pixels, images=n) * 100 for n in numbers]
            known = [(n, values) for n, values in zip(numbers, each, strict=True) if len(values)]
            x = [n for n, _ in known]
            axes.plot(x, [v.mean() for _, v in known], "o-", color=shades[network], markersize=4, label=NAMES[network])
            low, high = [v.min() for _, v in known], [v.max() for _, v in known]
            axes.fill_between(x, low, high, color=shades[network], alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(numbers, [f"{n:,}" for n in numbers])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("training images")
        axes.set_title(f"Pixels {text}")
        dotted = draw_chance(axes, chance)
        tidy(axes)
    panels[0].set_ylim(0, 101)  # of both
    panels[0].set_ylabel("test accuracy (%)")
    draws = usual["seed"].nunique()
    notes = [f"{note}. Line: mean over {draws} draw{'s' * (draws > 1)} of images; band: lowest to highest.", *dotted]
    frame(figure, "What a prior is worth when images are few, and without its order of pixels", notes, panels[0])
    return figure


@styled()
def by_cost(done: Any, *, note: str, chance: float) -> "Figure":
    """Accuracy after learning from all images, against parameters and against multiply-adds, at each width.

    Above from 0 to 100 %, the scale of all runs; below enlarged.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullLocator

    figure = Figure(figsize=(8.4, 6.6), layout="constrained")
    panels, dotted = figure.subplots(2, 2, sharey="row", sharex="col"), []
    shades = colors(list(NAMES))
    texts = {"parameters": "parameters", "multiply_adds": "multiply-adds for one image"}
    for axes, column in zip(panels.flat, [*texts, *texts], strict=True):
        for network in dict.fromkeys(done["network"]):
            mine = done[done["network"].eq(network)].groupby(column)["accuracy"].agg(["mean", "min", "max"]) * 100
            x = mine.index.to_numpy()
            axes.vlines(x, mine["min"], mine["max"], color=shades[network], linewidth=2, alpha=0.4)
            axes.plot(x, mine["mean"], "o-", color=shades[network], markersize=4, label=NAMES[network])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        tidy(axes)
    for axes, text in zip(panels[1], texts.values(), strict=True):
        axes.set_xlabel(text)
    for axes in panels[0]:
        dotted = draw_chance(axes, chance)
    panels[0, 0].set_ylim(0, 101)
    panels[0, 0].set_ylabel("test accuracy (%)")
    panels[1, 0].set_ylabel("the same, enlarged (%)")
    notes = [
        f"{note}. All training images, {done['width'].nunique()} widths of each network. Bar: lowest to highest draw.",
        *dotted,
    ]
    frame(figure, "Accuracy for parameters and for work", notes, panels[0, 0])
    return figure
