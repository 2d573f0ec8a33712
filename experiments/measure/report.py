"""Tables, pages and figures of networks that were measured: one page for each, one that compares them."""

from collections.abc import Mapping
from typing import Any

from cnnjax.data import Dataset
from cnnjax.figures import save
from cnnjax.runs import Picture, RunDirectory, Section, Table, read_config, show_tables, write_page
from cnnjax.runs.sections import making_section, settings_section
from cnnjax.stats import Interval
from experiments.measure import figures, tables
from experiments.measure.compare import comparison_tables
from experiments.measure.comparison_figures import comparison_figures
from experiments.measure.found import Found
from experiments.measure.invariance import columns, compared, scores
from experiments.measure.scope import Scope
from experiments.measure.units import why_none
from experiments.shared.classes import Classes
from experiments.shared.subject import Subject

TITLES = {
    "circle": "Round the circle",
    "translation": "Under every shift",
    "lie": "Lie derivatives, layer by layer",
    "terms": "Aliasing, border and content",
    "fields": "Receptive fields",
    "signals": "Variance and gradient",
}


def write(
    run: RunDirectory,
    networks: Mapping[str, Subject],
    found: Mapping[str, Found],
    classes: Mapping[str, Classes],
    scope: Scope,
    dataset: Dataset,
) -> None:
    """Print the tables; write them, `summary.csv`, `scores.csv`, `layers.csv`, `comparisons.csv`, figures and pages."""
    import pandas as pd

    by_image = {name: columns(one.predictions, one.todo, networks[name].images.labels) for name, one in found.items()}
    labelled = [name for name in networks if networks[name].images.labels is not None]
    every = {name: scores(of, labelled=name in labelled) for name, of in by_image.items()}
    run.write_table("summary", pd.DataFrame([_summary(name, found[name], every[name]) for name in networks]))
    scored = [row for name in networks for row in _score_rows(name, every[name])]
    run.write_table("scores", pd.DataFrame(scored))
    layers = [{"network": name, **row} for name in networks for row in tables.layer_rows(found[name])]
    run.write_table("layers", pd.DataFrame(layers))
    paired = compared(by_image, labelled) if len(networks) > 1 else None
    if paired is not None:
        run.write_table("comparisons", paired)
    config = read_config(run.path)
    ending = [settings_section(config), making_section(config)]
    about = f"{dataset.note}. {scope.protocol.images} images; layers over {scope.layer_images} of them at most."
    if len(networks) == 1:
        ((name, subject),) = networks.items()
        sections = _network(run, name, subject, found[name], classes[name], every[name])
        show_tables(run, [b for section in sections for b in section.blocks if isinstance(b, Table)])
        write_page(run.path / "page.html", f"How invariant is {name}?", [*sections, *ending], about=about)
        return
    shown = comparison_tables(every, found, paired)
    show_tables(run, shown)
    drawn = comparison_figures(every, found, networks, scope)
    pictures = [_picture(run, "", key, figure) for key, figure in drawn.items()]
    notes = {name: classes[name].note for name in networks}
    alike = len({*notes.values()}) == 1
    told = notes[next(iter(notes))] if alike else "\n".join(f"{name}: {note}" for name, note in notes.items())
    sections = [
        Section("Networks", [*shown[:2], told, *pictures]),
        *(Section(table.title, [table], folded=len(table.rows) > 20) for table in shown[2:]),
    ]
    write_page(run.path / "page.html", "How invariant are these networks?", [*sections, *ending], about=about)
    for name, subject in networks.items():
        own = _network(run, name, subject, found[name], classes[name], every[name])
        folder = run.path / "networks" / name
        write_page(folder / "page.html", f"How invariant is {name}?", [*own, *ending], about=about)


def _network(
    run: RunDirectory, name: str, subject: Subject, found: Found, classes: Classes, every: Mapping[str, Interval]
) -> list[Section]:
    drawn = {key: _picture(run, name, key, figure) for key, figure in figures.of_network(subject, found).items()}
    first: list[Any] = [tables.orbit_table(every, found), classes.note]
    if "accuracy" in every:
        first.insert(0, Table([{"network": name, "accuracy": every["accuracy"]}], "Accuracy", percent=True))
    sections = [Section("Answers under transforms", first)]
    sections += [Section(TITLES[key], [picture]) for key, picture in drawn.items() if key in TITLES]
    if "logits" in found.lie:
        place = next(i for i, section in enumerate(sections) if section.title == TITLES["lie"])
        sections[place] = Section(TITLES["lie"], [*sections[place].blocks, tables.generator_table(found)])
    sections.append(Section("Layers", [tables.layer_table(found)]))
    if found.units:
        units = [picture for key, picture in drawn.items() if key.startswith("units_")]
        sections.append(Section("What units respond to", [*units, tables.check_table(found.units)]))
    else:
        sections.append(Section("What units respond to", [why_none(subject, found.layers)]))
    return sections


def _picture(run: RunDirectory, network: str, key: str, figure: Any) -> Picture:
    path = run.figures / network / f"{key}.png"
    save(figure, path)
    return Picture(path, alt=key.replace("_", " "))


def _summary(name: str, found: Found, every: Mapping[str, Interval]) -> dict[str, Any]:
    cost = found.anatomy.values()
    row: dict[str, Any] = {
        "network": name,
        "parameters": sum(layer["parameters"] for layer in cost),
        "multiply_adds": sum(layer["multiply_adds"] for layer in cost),
    }
    row |= {score: interval.mean for score, interval in every.items()}
    for kind, part in (("lie", found.lie), ("shift", found.terms)):
        row |= {f"{kind}.{key}".replace(" ", "_"): value for key, value in part.get("logits", {}).items()}
    return row


def _score_rows(name: str, every: Mapping[str, Interval]) -> list[dict[str, Any]]:
    return [
        {"network": name, "score": score, "mean": i.mean, "low": i.low, "high": i.high, "images": i.n}
        for score, i in every.items()
    ]
