"""The page of one network that was looked at, with its tables and figures beside it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from cnnjax import analysis
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.figures import save
from cnnjax.runs import Picture, RunDirectory, Section, Table, read_config, show_tables, write_page
from cnnjax.runs.sections import making_section, settings_section
from experiments.shared.subject import Subject
from experiments.visualise.figures import figures, of_filters, of_layer
from experiments.visualise.found import Arrays, Found
from experiments.visualise.tables import (
    CAPTIONS,
    POINTING,
    RESPONSES,
    ROBUST,
    check_rows,
    check_tables,
    layer_rows,
    shown_layers,
)

BEWARE = (
    "A projection shows which pixels, in this image, a unit's activation was made of, through the switches and the "
    "weights. It is no template of what the unit looks for. The checks below say how much of such pictures does not "
    "need the trained weights, and so says nothing about what was learnt; how much of them is a copy of the image; and "
    "whether they find what decides the class."
)


def write(
    run: RunDirectory,
    subject: Subject,
    fields: Mapping[str, analysis.ReceptiveField],
    found: Found,
    *,
    rule: Rule,
) -> None:
    """Print the tables; write them, summary.csv, the figures and page.html."""
    import pandas as pd

    rows = layer_rows(subject, fields, found)
    run.write_table("summary", pd.DataFrame(rows))
    run.write_table("checks", pd.DataFrame(check_rows(found)))
    tables = {RESPONSES: Table(shown_layers(rows, found, subject), percent=True)}
    tables |= check_tables(found)
    tables = {title: dataclasses.replace(table, caption=CAPTIONS[title]) for title, table in tables.items()}
    show_tables(run, [dataclasses.replace(table, title=title) for title, table in tables.items()])
    for name, figure in figures(subject, fields, found, rule).items():
        save(figure, run.figures / f"{name}.png")
    _write_page(run, subject, found, tables)


def write_so_far(
    run: RunDirectory,
    subject: Subject,
    fields: Mapping[str, analysis.ReceptiveField],
    tops: Mapping[str, Arrays],
    pasts: Mapping[str, Arrays],
    kernel: np.ndarray | None,
    *,
    rule: Rule,
) -> None:
    """Write page.html with the filters and with what is done of the layers that have `fields`, while others are not."""
    for layer, top in tops.items():
        if not (run.figures / f"montage_{layer}.png").exists():
            for name, figure in of_layer(subject, layer, top, pasts.get(layer), fields[layer], rule).items():
                save(figure, run.figures / f"{name}.png")
    if not (run.figures / "filters.png").exists():
        for name, figure in of_filters(subject, kernel).items():
            save(figure, run.figures / f"{name}.png")
    about = (
        f"{len(tops)} of {len(fields)} layers are done; checks and tables follow. This page grows while the command "
        "works: load it again."
    )
    _write(run, subject, [Section("Not finished yet", [about]), *_layers(run, [*tops]), *_filters(run)])


def _pictures(run: RunDirectory, *names: str) -> list[Picture]:
    paths = [run.figures / f"{name}.png" for name in names]
    return [Picture(path, alt=path.stem.replace("_", " ")) for path in paths if path.exists()]


def _layers(run: RunDirectory, layers: Sequence[str]) -> list[Section]:
    return [Section(f"Layer {layer}", _pictures(run, f"montage_{layer}", f"evolution_{layer}")) for layer in layers]


def _filters(run: RunDirectory) -> list[Section]:
    shown = _pictures(run, "filters")
    return [Section("Filters", shown)] if shown else []


def _write_page(run: RunDirectory, subject: Subject, found: Found, tables: Mapping[str, Table]) -> None:
    first, *others = tables
    sections = [Section("What the units respond to", [BEWARE, tables[first]])]
    sections += [*_layers(run, [*found.tops]), *_filters(run)]
    sections.append(Section("Occlusion", _pictures(run, "occlusion")))
    sections.append(Section("Features under transforms", _pictures(run, "invariance", "confidence")))
    sections += [
        Section(title, [tables[title], *(_pictures(run, "cascade", "cascade_pictures") if title == ROBUST else [])])
        for title in others
    ]
    if POINTING not in tables:
        sections.append(Section(POINTING, ["Not asked: it takes labels of four classes, and a network for any size."]))
    _write(run, subject, sections)


def _write(run: RunDirectory, subject: Subject, sections: Sequence[Section]) -> None:
    config = read_config(run.path)
    write_page(
        run.path / "page.html",
        f"What the units of a network respond to: {subject.title}",
        [*sections, settings_section(config), making_section(config)],
        about=subject.images.note,
    )
