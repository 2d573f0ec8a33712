"""Makes one page of one or more runs: tables, figures, every score, the configuration and the commands.

    python -m experiments.report runs/augmentation/digits-all_conv-0a1b2c3d
    python -m experiments.report runs/augmentation/* --out invariance.html

The page is one file that carries its figures and opens without a network: to keep, to send, to print.
"""

import dataclasses
from pathlib import Path

import tyro

from cnnjax.errors import InputError
from cnnjax.files import printable, read_file
from cnnjax.runs import main, read_config, write_page
from cnnjax.runs.sections import sections_of
from experiments.modules import experiments

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
        sections = [
            dataclasses.replace(section, title=printable(f"{run.parent.name}/{run.name}: {section.title}"))
            for run in runs
            for section in sections_of(run)
        ]
    where = "Run: " if len(runs) == 1 else "Runs: "
    try:
        names = (printable(f"{run.parent.name}/{run.name}") for run in runs)
        write_page(out, title, sections, about=where + ", ".join(names))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}; name another with --out") from error
    return out


def title_of(run: Path) -> str:
    """The question that a run answers, or its experiment's name where no module of that name is here."""
    name = read_config(run)["experiment"]
    # A benchmark's run is called benchmarks_NAME.
    named = {module.name.removeprefix("experiments.").replace(".", "_"): module.question for module in experiments()}
    return named.get(name) or str(name)


if __name__ == "__main__":
    main(Report, write, prog="python -m experiments.report", can_tell=False)
