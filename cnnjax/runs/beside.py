"""Several runs beside each other: which settings differ, and by how much their scores do, seed by seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.runs.folder import Folder
from cnnjax.runs.records import read_config, read_summary
from cnnjax.runs.settings import identity
from cnnjax.stats import compare_summary

if TYPE_CHECKING:
    import pandas

_SHOWN = 3  # settings in a label

_WHERE = ("out", "engine")


@checked()
def run_labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each run directory: what tells it from the others, such as `downsample=blur`.

    That is the experiments' names where these differ, and up to three settings in which runs of one experiment do,
    first those that all of these have; the directory's name where that leaves two runs alike. Raises InputError for
    what is not a run.
    """
    configs = [read_config(path) for path in paths]
    settings = [identity(config["config"], _WHERE) for config in configs]
    experiments = [config["experiment"] for config in configs]
    labels = []
    for path, experiment, mine in zip(paths, experiments, settings, strict=True):
        parts = [experiment] if len(set(experiments)) > 1 else []
        alike = [each for name, each in zip(experiments, settings, strict=True) if name == experiment]
        # A version of before has others.
        differing = sorted(_differing(alike), key=lambda name: not all(name in each for each in alike))
        parts += [f"{_short(name, differing)}={_text(mine[name])}" for name in differing[:_SHOWN] if name in mine]
        labels.append(", ".join(parts) or path.name)
    return [
        label if labels.count(label) == 1 else f"{label} ({path.name})"
        for label, path in zip(labels, paths, strict=True)
    ]


@checked()
def compare_settings(paths: Sequence[Path]) -> "pandas.DataFrame":
    """The settings in which run directories differ: a row for each, a column for each run by its label.

    A setting that a run does not have is missing there. Without a row they differ in nothing but where they lie. Raises
    InputError for fewer than two runs, and for what is not a run.
    """
    import pandas as pd

    _check_several(paths)
    settings = [identity(read_config(path)["config"], _WHERE) for path in paths]
    rows = [
        {"setting": name}
        | {
            label: _text(mine[name]) if name in mine else None
            for label, mine in zip(run_labels(paths), settings, strict=True)
        }
        for name in _differing(settings)
    ]
    return pd.DataFrame(rows)


@checked()
def compare_runs(paths: Sequence[Path], scores: Sequence[str] | None = None) -> "pandas.DataFrame":
    """What every other run's scores differ by from the first run's, cell by cell and over the seeds that they share.

    Rows are those of `stats.compare_summary`: score, cell, against, difference with low and high, p, p_holm and others.
    A cell is called `label: cell`, by `run_labels`; a cell of the first run is compared with the one of its name, or,
    where each run has one cell, with that. `scores` are columns of the summaries; None: all numbers that they share.
    Networks of one seed share their start and the order of their images as far as the runs allow.

    Raises InputError for fewer than two runs, those of other images, and runs without cells, seeds or scores in common.
    """
    import pandas as pd

    _check_several(paths)
    check_same_images(paths)
    summaries = [read_summary(path) for path in paths]
    shared = [
        name
        for name in summaries[0].select_dtypes("number").columns.drop("seed", errors="ignore")
        if all(name in summary for summary in summaries)
    ]
    chosen = shared if scores is None else list(scores)
    if absent := [name for name in chosen if name not in shared]:
        raise InputError(f"the runs do not share the score {absent[0]}: they share {', '.join(shared) or 'none'}")
    labels = run_labels(paths)
    frames, pairs = [], []
    first = list(dict.fromkeys(summaries[0]["cell"]))
    for label, summary in zip(labels, summaries, strict=True):
        cells = list(dict.fromkeys(summary["cell"]))
        frames.append(summary.assign(cell=[f"{label}: {cell}" for cell in summary["cell"]]))
        if label == labels[0]:
            continue
        alike = [(cell, cell) for cell in cells if cell in first]
        if not alike and len(cells) == len(first) == 1:
            alike = [(cells[0], first[0])]
        pairs += [(f"{label}: {cell}", f"{labels[0]}: {against}") for cell, against in alike]
    if not pairs:
        raise InputError(
            f"the runs {', '.join(labels)} have no cell in common: there is nothing to compare pair by pair"
        )
    return compare_summary(pd.concat(frames, ignore_index=True), chosen, pairs=pairs)


def check_same_images(paths: Sequence[Path]) -> None:
    """Raise InputError unless all runs were made of the same images, as their `data.json` says."""
    found = []
    for path in paths:
        folder = Folder(path, read_config(path)["identity"])
        if not folder.has("data.json"):
            raise InputError(f"{path} has no data.json, which says what images it is of: its scores have no pairs")
        found.append(folder.json("data.json", remedy="let the run's command write it again"))
    if others := [path for path, one in zip(paths, found, strict=True) if one != found[0]]:
        raise InputError(f"{others[0]} is of other images than {paths[0]}: their scores have no pairs")


def _check_several(paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        raise InputError(f"paths={[str(path) for path in paths]} name {len(paths)} run: give two to compare, or more")


def _differing(settings: Sequence[dict[str, str]]) -> list[str]:
    """The names of settings that are not the same in all."""
    names = dict.fromkeys(name for mine in settings for name in mine)
    return [name for name in names if len({mine.get(name) for mine in settings}) > 1]


def _short(name: str, among: Sequence[str]) -> str:
    """The last part of a dotted name where no other has it too."""
    last = name.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in among) == 1 else name


def _text(value: str) -> str:
    """A canonical JSON value for people: text without its quotes, lists without brackets."""
    found = json.loads(value)
    if isinstance(found, list):
        return " ".join(map(str, found)) or "none"
    return "none" if found is None else str(found)
