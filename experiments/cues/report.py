"""From answers to numbers, pictures and a page."""

from collections.abc import Sequence
from typing import Any

from cnnjax.figures import save
from cnnjax.runs import Picture, Section, Table, read_config, show_tables, write_page
from cnnjax.runs.sections import making_section, settings_section
from cnnjax.stats import over_images, over_seeds
from cnnjax.sweep.cells import Sweep
from experiments.cues import figures
from experiments.cues.cells import Network
from experiments.cues.tables import accuracy_table, comparison_table, comparisons, control_table, left
from experiments.cues.views import WHOLE, View
from experiments.shared.fitting import unfitted


def write(of: Sweep, networks: Sequence[Network], views: Sequence[View]) -> None:
    """Print the tables; write them, `summary.csv`, `scores.csv`, `comparisons.csv`, the figures and `page.html`.

    The summary has a row for each network and seed, and for each view that networks were trained on; the scores a row
    for each network, view and way of training, with intervals over seeds and over images.
    """
    import pandas as pd

    run, dataset = of.run, of.dataset
    run.write_table("summary", pd.DataFrame(_summary(networks, views)))
    run.write_table("scores", pd.DataFrame(_scores(networks, views)))
    tables = [accuracy_table(networks, views, dataset)]
    if (controls := control_table(networks, views)) is not None:
        tables.append(controls)
    if (frame := comparisons(networks, views)) is not None:
        run.write_table("comparisons", frame)
        tables.append(comparison_table(frame))
    fits = {network.title: network.fitted[WHOLE.key] for network in networks if WHOLE.key in network.fitted}
    show_tables(run, tables, notes=[*unfitted(fits), *of.failures])
    pictures = {
        "montage": figures.montage(dataset, views),
        "accuracies": figures.accuracies(networks, views, dataset),
    }
    for name, figure in pictures.items():
        save(figure, run.figures / f"{name}.png")
    _page(of, tables)


def _page(of: Sweep, tables: Sequence[Table]) -> None:
    run, config = of.run, read_config(of.run.path)
    shown = [
        Picture(run.figures / f"{name}.png", alt=alt)
        for name, alt in (("montage", "the same images as each view shows them"), ("accuracies", "accuracy by view"))
    ]
    sections = [
        Section("The images", [shown[0]]),
        Section("Accuracies", [shown[1], tables[0]]),
        *(Section(table.title, [table]) for table in tables[1:]),
        settings_section(config),
        making_section(config),
    ]
    write_page(run.path / "page.html", "What do networks go by?", sections, about=f"{of.dataset.note}.")


def _summary(networks: Sequence[Network], views: Sequence[View]) -> list[dict[str, Any]]:
    """Rows whose columns cell and seed say which network; one trained on a view has only its accuracy there."""
    rows = []
    for network in networks:
        for seed in range(len(network.right[WHOLE.key])):
            row: dict[str, Any] = {"cell": network.title, "seed": network.first_seed + seed, "trained on": WHOLE.title}
            row["fitted"] = _fitted(network, WHOLE.key, seed)
            rows.append(row | {view.title: float(network.right[view.key][seed].mean()) for view in views})
    for network in networks:
        for view in views:
            for seed, right in enumerate(network.trained.get(view.key, ())):
                name = f"{network.title}, {view.title}"
                row = {"cell": name, "seed": network.first_seed + seed, "trained on": view.title}
                rows.append(row | {"fitted": _fitted(network, view.key, seed), view.title: float(right.mean())})
    return rows


def _fitted(network: Network, key: str, seed: int) -> float | None:
    return float(network.fitted[key][seed]) if key in network.fitted else None


def _scores(networks: Sequence[Network], views: Sequence[View]) -> list[dict[str, Any]]:
    rows = []
    for network in networks:
        for trained, of in ((WHOLE.title, network.right), ("the same", network.trained)):
            for view in views:
                if view.key not in of:
                    continue
                right = of[view.key]
                seeds = over_seeds(right.mean(1), images=right.shape[1])
                images = over_images({"right": right}, lambda means: means["right"], shares=True)
                row = {"network": network.title, "trained on": trained, "images": view.title, "left": left(view)}
                row |= {"accuracy": seeds.mean, "low": seeds.low, "high": seeds.high, "seeds": seeds.n}
                rows.append(row | {"low_over_images": images.low, "high_over_images": images.high, "n": images.n})
    return rows
