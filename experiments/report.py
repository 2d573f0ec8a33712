"""Makes one page of one or more runs: tables, figures, every score, the configuration and the commands.

    python -m experiments.report runs/augmentation/digits-all_conv-0a1b2c3d
    python -m experiments.report runs/augmentation/* --out invariance.html

Of several runs it says first which settings differ, shows their scores on one scale and, where they are of the same
images, what each differs by from the first, seed by seed. `python -m experiments.runs` lists what runs there are.

The page is one file that carries its figures and opens without a network: to keep, to send, to print.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from cnnjax.errors import InputError
from cnnjax.figures import score_dots
from cnnjax.figures.style import png
from cnnjax.files import printable, read_file
from cnnjax.runs import (
    Picture,
    Section,
    Table,
    compare_runs,
    compare_settings,
    main,
    read_config,
    run_labels,
    write_page,
)
from cnnjax.runs.records import read_table
from cnnjax.runs.sections import sections_of
from experiments.modules import experiments

SHOWN, MOST = re.compile(r"test\.accuracy|\w+\.(mean_accuracy|worst_accuracy|consistency)"), 12
"""Scores that several runs are compared by, and how many at most."""
SCORED = ("cell", "score", "mean", "low", "high", "seeds")
"""Columns of a `scores.csv` that can be drawn."""

MARK = '<meta name="generator" content="cnnjax">'


@dataclasses.dataclass(frozen=True)
class Report:
    """Options of the report."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories."""
    out: Path | None = None
    """The page (by default report.html, in the run's directory, or here for several runs)."""


def write(report: Report) -> Path:
    """Write the page and return its path; raises InputError for what is not a run, or a file that is not a page."""
    if not report.runs:
        raise InputError("there is no run to report on: name one or more run directories")
    runs = [run.expanduser().absolute() for run in report.runs]
    places = [run.resolve() for run in runs]  # one run may be named in several ways
    if twice := {run for run, place in zip(runs, places, strict=True) if places.count(place) > 1}:
        raise InputError(f"runs has {', '.join(map(str, sorted(twice)))} more than once: give every run once")
    out = (report.out or (runs[0] if len(runs) == 1 else Path()) / "report.html").expanduser().absolute()
    if out.is_dir():
        raise InputError(f"{out} is a directory: name a file with --out")
    elsewhere = "name another file with --out"
    if out.exists() and MARK.encode() not in read_file(out, elsewhere)[:1000]:
        raise InputError(f"{out} is not a page of this command, and is not overwritten: {elsewhere}")
    if len(runs) == 1:
        title, sections = title_of(runs[0]), sections_of(runs[0])
    else:
        title = "; ".join(dict.fromkeys(title_of(run) for run in runs))
        sections = comparison(runs) + [
            dataclasses.replace(section, title=printable(f"{label}: {section.title}"))
            for run, label in zip(runs, run_labels(runs), strict=True)
            for section in sections_of(run)
        ]
    where = "Run: " if len(runs) == 1 else "Runs: "
    try:
        names = (printable(f"{run.parent.name}/{run.name}") for run in runs)
        write_page(out, title, sections, about=where + ", ".join(names))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}; name another with --out") from error
    return out


def comparison(runs: Sequence[Path]) -> list[Section]:
    """What runs differ in, their scores in one picture, and their differences seed by seed, where they have pairs."""
    found = [_settings(runs)]
    shared = _shared_scores(runs)
    if shared:
        found.append(
            Section("Side by side", [Picture(_side_by_side(runs, shared), "Scores of all runs, on one scale")])
        )
    try:
        differences = compare_runs(runs, shared or None)
    except InputError as error:
        return [*found, Section("Differences, seed by seed", [f"There are none to show: {str(error).rstrip('.')}."])]
    caption = (
        "Each cell of a run minus that of the first run, over the seeds that both have; low and high end the 95 % "
        "interval. Networks of one seed share their start and the order of their images as far as the runs allow. "
        "p_holm counts every row."
    )
    shown = ("score", "cell", "against", "difference", "low", "high", "n", "p_holm")
    rows = [{name: _short(row[name]) for name in shown} for row in differences.to_dict("records")]
    return [*found, Section("Differences, seed by seed", [Table(rows, caption=caption)])]


def _settings(runs: Sequence[Path]) -> Section:
    """Which settings differ; of runs of several experiments, of those that all have."""
    settings, caption = compare_settings(runs), ""
    if not settings.empty and len({read_config(run)["experiment"] for run in runs}) > 1:
        settings = settings.dropna()
        caption = "Of the settings that all these experiments have; the rest stand under each run's Configuration."
    if settings.empty:
        return Section("What differs", [f"Nothing. {caption}" if caption else "Nothing but where they lie."])
    return Section("What differs", [Table(settings, caption=caption)])


def _short(value: Any) -> Any:
    return value if isinstance(value, str | int) else f"{value:.3g}"


def _shared_scores(runs: Sequence[Path]) -> list[str]:
    """The accuracies and consistencies that all runs have in `scores.csv`: of many, the first."""
    files = [run / "scores.csv" for run in runs]
    tables = [read_table(file) for file in files if file.exists()]
    if len(tables) < len(runs) or not all({*SCORED} <= set(table.columns) for table in tables):
        return []
    named = (score for score in dict.fromkeys(tables[0]["score"]) if SHOWN.fullmatch(str(score)))
    return [score for score in named if all((table["score"] == score).any() for table in tables)][:MOST]


def _side_by_side(runs: Sequence[Path], scores: Sequence[str]) -> bytes:
    import pandas as pd

    parts = []
    for run, label in zip(runs, run_labels(runs), strict=True):
        table = read_table(run / "scores.csv")
        mine = table[table["score"].isin(scores)]
        parts.append(mine.assign(cell=[f"{label}: {cell}" for cell in mine["cell"]], n=mine["seeds"]))
    return png(score_dots(pd.concat(parts, ignore_index=True), title="The runs side by side"))


def title_of(run: Path) -> str:
    """The question that a run answers, or its experiment's name where no module of that name is here."""
    name = read_config(run)["experiment"]
    # A benchmark's run is called benchmarks_NAME.
    named = {module.name.removeprefix("experiments.").replace(".", "_"): module.question for module in experiments()}
    return named.get(name) or str(name)


if __name__ == "__main__":
    main(Report, write, prog="python -m experiments.report", can_tell=False)
