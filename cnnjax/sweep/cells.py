"""The sweep of an experiment: every cell trained and measured once, whatever was killed in between."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Literal

from jaxtyping import PyTree

from cnnjax.data import Dataset
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.runs import Progress, RunDirectory
from cnnjax.sweep import cluster
from cnnjax.sweep.cell import (
    FAILURE,
    PREDICTIONS,
    STATE,
    CellPlan,
    Outcome,
    Watch,
    conclude,
    outcome,
    side_by_side,
    train_cells,
)
from cnnjax.sweep.kept import Folder, folder_of
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.training import DivergedError

Engine = Literal["process", "ray"]
"""Where cells are computed: in this process, or on the workers of a Ray cluster."""


def sweep(
    run: RunDirectory,
    plans: Sequence[CellPlan],
    dataset: Dataset,
    protocol: ProtocolConfig | None,
    *,
    seeds: int,
    progress: Progress,
    engine: Engine = "process",
) -> dict[str, Outcome]:
    """Train and measure every cell that is not finished, and return the outcome of each by name, in order.

    On an accelerator, cells that differ only in numbers train side by side in one program. See `cell` for what a cell
    keeps, and so for what a killed run goes on from.
    """
    if engine == "ray":
        cluster.connect(plans)
    check_same_data(run, dataset)
    outcomes = {plan.name: _outcome(run, plan, dataset, range(seeds)) for plan in plans}
    todo = [plan for plan in plans if outcomes[plan.name] is None]
    for plan in plans:
        if outcomes[plan.name] is not None:
            folder_of(run, plan.name).remove(STATE)  # which a kill may have left
            progress.skip(plan.name)
    if todo:
        compute = _on_cluster if engine == "ray" else _in_this_process
        for name, found in compute(run, todo, dataset, protocol, range(seeds), progress):
            outcomes[name] = found
            if found.failure:
                progress.note(f"{name} failed: {found.failure}")
    return {name: found for name, found in outcomes.items() if found is not None}


def _in_this_process(
    run: RunDirectory,
    plans: Sequence[CellPlan],
    dataset: Dataset,
    protocol: ProtocolConfig | None,
    seeds: Sequence[int],
    progress: Progress,
) -> Iterator[tuple[str, Outcome]]:
    watch = Watch(run.log, progress.advance, progress.status)
    for group in side_by_side(plans, dataset, seeds):
        progress.cell(group[0].name)
        if len(group) > 1:
            progress.note(f"  trained in one program with {', '.join(plan.name for plan in group[1:])}")
        own = group[0].of(dataset)
        folders = [folder_of(run, plan.name) for plan in group]
        results = train_cells(group, folders, own, seeds, watch)
        for plan, folder, networks in zip(group, folders, results, strict=True):
            if plan is not group[0]:
                progress.cell(plan.name)
            yield plan.name, conclude(plan, folder, networks, own, protocol, watch)


def _on_cluster(
    run: RunDirectory,
    plans: Sequence[CellPlan],
    dataset: Dataset,
    protocol: ProtocolConfig | None,
    seeds: Sequence[int],
    progress: Progress,
) -> Iterator[tuple[str, Outcome]]:
    folders = {plan.name: folder_of(run, plan.name) for plan in plans}
    begun = {
        name: (folder.of, {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()})
        for name, folder in folders.items()
    }
    for name, (files, records) in cluster.compute_all(plans, dataset, protocol, seeds, begun, note=progress.note):
        folder = folders[name]
        for record in records:
            run.log(**record)
        # What says that a cell is finished comes last.
        for file in sorted(files, key=lambda file: file in (PREDICTIONS, FAILURE)):
            write_atomic(folder.path / file, files[file])
        folder.remove(STATE)
        progress.finished(name)
        found = _outcome(run, next(plan for plan in plans if plan.name == name), dataset, seeds)
        assert found is not None, f"the cell {name} came back from the cluster unfinished"
        yield name, found


def _outcome(run: RunDirectory, plan: CellPlan, dataset: Dataset, seeds: Sequence[int]) -> Outcome | None:
    return outcome(folder_of(run, plan.name), networks=len(plan.seeds or seeds), classes=len(dataset.class_names))


def trained(
    run: RunDirectory,
    plan: CellPlan,
    dataset: Dataset,
    seeds: Sequence[int],
    progress: Progress,
) -> list[PyTree]:
    """The variables of each seed's network, trained to the end or read from where they were kept.

    Raises `InputError` where a loss is not finite.
    """
    watch = Watch(run.log, progress.advance, progress.status)
    (result,) = train_cells([plan], [folder_of(run, plan.name)], dataset, seeds, watch)
    if isinstance(result, DivergedError):
        raise InputError(f"the training failed, so there is nothing to look at: {result}") from result
    return result


def check_same_data(run: RunDirectory, dataset: Dataset) -> None:
    """Raise `InputError` unless the images are those that the run began with; a new run notes which they are."""
    digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
    for split in (dataset.train, dataset.test):
        digest.update(f"{split.images.shape}".encode())
        digest.update(split.images.tobytes())
        digest.update(split.labels.tobytes())
    now = {"name": dataset.name, "note": dataset.note, "images": digest.hexdigest()}
    check_same(run, "data.json", now, f"images of {dataset.name}")


def check_same(run: RunDirectory, name: str, now: dict[str, str], what: str) -> None:
    """Raise `InputError` unless `now` is what the run began with; a new run notes it in its file `name`."""
    folder = Folder(run.path, run.identity)
    if not folder.has(name):
        folder.save_json(name, now)
    elif folder.json(name, remedy=f"if the {what} are still the same, delete it") != now:
        raise InputError(
            f"the {what} are not those that {run.path} began with: bring those back, or name another directory with "
            "--out"
        )
