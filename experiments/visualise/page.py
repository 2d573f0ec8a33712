"""The page of one network that was looked at, with its tables and figures beside it."""

import dataclasses
from collections.abc import Mapping

from cnnjax import analysis
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.figures import save
from cnnjax.runs import Picture, RunDirectory, Section, Table, read_config, show_tables, write_page
from cnnjax.runs.sections import making_section, settings_section
from experiments.shared.subject import Subject
from experiments.visualise.figures import figures
from experiments.visualise.found import Found
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


def _write_page(run: RunDirectory, subject: Subject, found: Found, tables: Mapping[str, Table]) -> None:
    first, *others = tables
    titles = {"invariance": "Features under transforms", "filters": "Filters", "occlusion": "Occlusion"}

    def pictures(*names: str) -> list[Picture]:
        paths = [run.figures / f"{name}.png" for name in names]
        return [Picture(path, alt=path.stem.replace("_", " ")) for path in paths if path.exists()]

    sections = [Section("What the units respond to", [BEWARE, tables[first]])]
    sections += [Section(f"Layer {layer}", pictures(f"montage_{layer}", f"evolution_{layer}")) for layer in found.tops]
    if filters := pictures("filters"):
        sections.append(Section(titles["filters"], filters))
    sections.append(Section(titles["occlusion"], pictures("occlusion")))
    sections.append(Section(titles["invariance"], pictures("invariance", "confidence")))
    sections += [
        Section(title, [tables[title], *(pictures("cascade", "cascade_pictures") if title == ROBUST else [])])
        for title in others
    ]
    if POINTING not in tables:
        sections.append(Section(POINTING, ["Not asked: it takes labels of four classes, and a network for any size."]))
    config = read_config(run.path)
    write_page(
        run.path / "page.html",
        f"What the units of a network respond to: {subject.title}",
        [*sections, settings_section(config), making_section(config)],
        about=subject.images.note,
    )
