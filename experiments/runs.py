"""Lists runs: what each asks, by which options, since when, with how many seeds, how far it is and what it found.

    python -m experiments.runs
    python -m experiments.runs elsewhere/runs

`python -m experiments.report RUN...` then makes a page of one of them, or lays several side by side.
"""

import dataclasses
import shlex
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tyro

from cnnjax.errors import InputError
from cnnjax.runs import main, read_config
from cnnjax.runs.begun import TABLES
from cnnjax.runs.tables import read_tables
from cnnjax.stats import Interval


@dataclasses.dataclass(frozen=True)
class Listing:
    """Options of the list."""

    folder: tyro.conf.Positional[Path] = Path("runs")
    """Where the runs lie, at any depth."""


def show(listing: Listing) -> Path:
    """Print the list, and return its folder; raises InputError where no run lies in it."""
    width = min(100, shutil.get_terminal_size().columns)
    lines = [text_of(path, listing.folder, width) for path in runs_in(listing.folder)]
    if not lines:
        raise InputError(f"{listing.folder} holds no run: name another folder, or make one (`python -m experiments`)")
    print("\n".join(lines))
    return listing.folder.absolute()


def runs_in(folder: Path) -> Iterator[Path]:
    """The run directories in a folder, at any depth, those begun first before others."""
    found = [file.parent for file in folder.rglob("config.json") if (file.parent / "metrics.jsonl").exists()]
    return iter(sorted(found, key=lambda path: (_started(path), path)))


def _started(path: Path) -> str:
    """When a run was begun; of one that cannot be read, after all others."""
    try:
        return read_config(path)["started"]
    except InputError:
        return "~"


def text_of(path: Path, folder: Path, width: int) -> str:
    """What the list says of a run, in lines of at most so many letters; of one that cannot be read, why not."""
    try:
        told = _told(path)
    except InputError as error:
        told = [str(error)]
    parts = [textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    ") for text in told]
    return "\n".join([str(path.relative_to(folder)), *parts])


def _told(path: Path) -> list[str]:
    config = read_config(path)
    finished = (path / TABLES).exists()
    facts = [
        f"begun {config['started'][:16].replace('T', ' ')}",
        *(_seeds(config["config"], several, first) for several, first in COUNTED.items()),
        "finished" if finished else f"unfinished, cells begun: {_cells(path)}",
        main_score(path) if finished else "",
    ]
    command = (config["resumed"] or [config])[-1]["command"]  # a run that has grown has others than it was begun with
    return ["; ".join(filter(None, facts)), options_of(command) or "with the defaults"]


COUNTED = {"seeds": "first_seed", "draws": "first_draw", "repetitions": ""}
"""Settings that say how often everything was done, and from which number on."""


def _seeds(settings: Mapping[str, Any], several: str, first: str) -> str:
    if several not in settings:
        return ""
    count = settings[several]
    begun = f" from {settings[first]} on" if settings.get(first) else ""
    return f"{count} {several if count != 1 else several[:-1]}{begun}"


def options_of(command: str) -> str:
    """What of a command was given beside the experiment's name, but for where the run lies."""
    words = shlex.split(command)
    rest = words[words.index("-m") + 2 :] if "-m" in words else words[2:]
    kept, skip = [], False
    for word in rest:
        skip, now = word == "--out", skip
        if not (now or skip or word.startswith("--out=")):
            kept.append(word)
    return shlex.join(kept)


def main_score(path: Path) -> str:
    """The first column of intervals in a run's first table that has one, from its lowest mean to its highest."""
    tables, _ = read_tables(path / TABLES)
    for table in tables:
        for name in table.rows[0]:
            means = [row[name].mean for row in table.rows if isinstance(row.get(name), Interval)]
            if means:
                percent = table.percent is True or (table.percent is not False and name in table.percent)
                scale = 100 if percent else 1
                low, high = (f"{scale * value:.{table.digits}f}" for value in (min(means), max(means)))
                return f"{name} {low if low == high else f'{low} to {high}'}{' %' * percent}"
    return ""


def _cells(path: Path) -> int:
    folder = path / "cells"
    return sum(1 for cell in folder.iterdir() if cell.is_dir()) if folder.is_dir() else 0


if __name__ == "__main__":
    main(Listing, show, prog="python -m experiments.runs", can_tell=False)
