"""The sweep of an experiment: every cell trained and measured once, whatever was killed in between."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import PyTree

from cnnjax import processes
from cnnjax.data import Dataset, StoredImages
from cnnjax.door import checked
from cnnjax.door.limits import NotNegative, Positive
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.runs import Progress, RunDirectory
from cnnjax.runs.folder import Folder
from cnnjax.sweep import cluster
from cnnjax.sweep.cell import CellPlan, Watch, conclude, read_networks, side_by_side, train_cells
from cnnjax.sweep.kept import (
    FAILURE,
    PREDICTIONS,
    STATE,
    WEIGHTS,
    Outcome,
    forget_measured,
    forget_states,
    outcome,
)
from cnnjax.sweep.protocol import ProtocolConfig, Task, prove, tasks
from cnnjax.sweep.rehearsal import rehearse
from cnnjax.training import DivergedError, choose_placement
from cnnjax.training.kept_states import previous

MOST_SEEDS = 1000

Engine = Literal["process", "ray"]
"""Where cells are computed: in this process, or on the workers of a Ray cluster."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The cells of a run with what they have in common, and what became of them: what its report is made of."""

    run: RunDirectory
    plans: Sequence[CellPlan]
    dataset: Dataset
    protocol: ProtocolConfig | None
    seeds: int
    """Networks of a cell whose plan does not name its own seeds."""
    tasks: Mapping[str, Task]
    """What the protocol measures, by name."""
    outcomes: Mapping[str, Outcome] = dataclasses.field(default_factory=dict)
    """By cell, in order."""
    first_seed: int = 0
    """The seed of the first of those networks; the others follow it."""

    @property
    def numbers(self) -> range:
        """The seeds of the networks of a cell whose plan does not name its own."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def predictions(self) -> dict[str, dict[str, np.ndarray]]:
        """Those of each cell that did not fail (see `protocol.measure`)."""
        return {name: found.predictions for name, found in self.outcomes.items() if found.predictions is not None}

    @property
    def failures(self) -> list[str]:
        """A line for each cell that failed, why."""
        return [f"{name} failed: {found.failure}" for name, found in self.outcomes.items() if found.failure]

    def networks(self, plan: CellPlan, name: str = WEIGHTS) -> list[PyTree]:
        """The variables of each of a cell's networks, trained or as they were at a `snapshot`."""
        return read_networks(plan, self.run.cell(plan.name), name, self.dataset, self.numbers)

    def check_any(self) -> None:
        """Raise `InputError` where every cell failed."""
        if not self.predictions:
            raise InputError(f"every cell failed, so there is nothing to report. {'; '.join(self.failures)}")


@checked()
def sweep(
    run: RunDirectory,
    plans: Sequence[CellPlan],
    dataset: Dataset,
    protocol: ProtocolConfig | None = None,
    *,
    seeds: Positive,
    progress: Progress,
    engine: Engine = "process",
    first_seed: NotNegative = 0,
) -> Sweep:
    """Train and measure every cell that is not finished, and return the sweep with the outcome of each.

    A cell that has networks of fewer seeds, as a run has that grows, trains and measures those of the others; what was
    measured of it beside their answers is deleted, to be measured again. One that failed is tried again only then.

    On an accelerator, cells that differ only in numbers train side by side in one program. See `cell` for what a cell
    keeps, and so for what a killed run goes on from. Raises `InputError`, before anything is trained, where a network
    cannot take what the protocol shows it, for a batch that devices cannot share, for cells of one name, and for other
    images than those that the run began with. A dry run ends here (see `rehearse`).

    Args:
        run: The open run, which keeps each cell in its folder.
        plans: The cells, each with a name of its own.
        dataset: The images; a plan may change them for its cell.
        protocol: What is measured beside the accuracy over all test images; None: nothing.
        seeds: Networks of each cell whose plan does not name its own; at most 1000.
        progress: Is told of each cell, and of the work in it.
        engine: Where cells are computed.
        first_seed: Of the networks of such a cell; the others' seeds follow it.
    """
    names = [plan.name for plan in plans]
    if not names or len(set(names)) < len(names):
        raise InputError(f"the cells are called {', '.join(names) or 'nothing'}: give at least one, each its own name")
    if seeds > MOST_SEEDS:
        raise InputError(f"seeds={seeds} must be at most {MOST_SEEDS}")
    found = Sweep(run, plans, dataset, protocol, seeds, tasks(protocol, dataset), first_seed=first_seed)
    for model in dict.fromkeys(plan.model for plan in plans):
        prove(found.tasks, model, dataset)
    if engine == "process":  # the workers of a cluster have devices of their own
        for plan in plans:
            choose_placement(plan.train, len(plan.seeds or found.numbers))
    rehearse(plans, dataset, found.numbers, tasks=found.tasks, progress=progress)
    if engine == "ray":
        if processes.count() > 1:
            raise InputError("engine=ray and distributed.processes exclude each other: leave one of them out")
        cluster.connect(plans)
    check_same_data(run, dataset)
    outcomes = {plan.name: _outcome(found, plan) for plan in plans}
    todo = [plan for plan in plans if outcomes[plan.name] is None]
    for plan in plans:
        folder = run.cell(plan.name)
        if outcomes[plan.name] is not None:
            forget_states(folder)  # which a kill may have left
            progress.skip(plan.name)
            continue
        folder.remove(FAILURE)  # of fewer networks
        if folder.has(PREDICTIONS):
            forget_measured(folder)
    if todo:
        compute = _on_cluster if engine == "ray" else _in_this_process
        for name, outcome in compute(found, todo, progress):
            outcomes[name] = outcome
            if outcome.failure:
                progress.note(f"{name} failed: {outcome.failure}")
    return dataclasses.replace(found, outcomes=outcomes)


def _in_this_process(of: Sweep, plans: Sequence[CellPlan], progress: Progress) -> Iterator[tuple[str, Outcome]]:
    watch, seeds = Watch(of.run.log, progress.advance, progress.status), of.numbers
    for group in side_by_side(plans, of.dataset, seeds):
        progress.cell(group[0].name)
        if len(group) > 1:
            progress.note(f"  trained in one program with {', '.join(plan.name for plan in group[1:])}")
        networks = sum(len(plan.seeds or seeds) for plan in group)
        if placement := choose_placement(group[0].train, networks):
            progress.note(f"  {placement.describe(networks)}")
        own = group[0].of(of.dataset)
        todo = of.tasks if own is of.dataset else tasks(of.protocol, own)
        folders = [of.run.cell(plan.name) for plan in group]
        results = train_cells(group, folders, own, seeds, watch)
        for plan, folder, networks in zip(group, folders, results, strict=True):
            if plan is not group[0]:
                progress.cell(plan.name)
            yield plan.name, conclude(plan, folder, networks, own, todo, seeds, watch)


def _on_cluster(of: Sweep, plans: Sequence[CellPlan], progress: Progress) -> Iterator[tuple[str, Outcome]]:
    folders = {plan.name: of.run.cell(plan.name) for plan in plans}

    def begun(name: str) -> tuple[str, dict[str, bytes]]:
        folder = folders[name]
        return folder.of, {file.name: file.read_bytes() for file in folder.path.iterdir() if file.is_file()}

    def keep(name: str, files: dict[str, bytes], records: list[dict[str, Any]]) -> None:
        for record in records:
            of.run.log(**record)
        # What says that a cell is finished comes last.
        for file in sorted(files, key=lambda file: file in (PREDICTIONS, FAILURE)):
            path = folders[name].path / file
            write_atomic(path, files[file], keep=previous(path) if file == STATE else None)

    cells = cluster.compute_all(plans, of.dataset, of.protocol, of.numbers, begun, keep, note=progress.note)
    for name in cells:
        forget_states(folders[name])
        progress.finished(name)
        found = _outcome(of, next(plan for plan in plans if plan.name == name))
        assert found is not None, f"the cell {name} came back from the cluster unfinished"
        yield name, found


def _outcome(of: Sweep, plan: CellPlan) -> Outcome | None:
    networks, classes = len(plan.seeds or of.numbers), len(of.dataset.class_names)
    return outcome(of.run.cell(plan.name), networks=networks, classes=classes)


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
    (result,) = train_cells([plan], [run.cell(plan.name)], dataset, seeds, watch)
    if isinstance(result, DivergedError):
        raise InputError(f"the training failed, so there is nothing to look at: {result}") from result
    return result


def check_same_data(run: RunDirectory, dataset: Dataset) -> None:
    """Raise `InputError` unless the images are those that the run began with; a new run notes which they are."""
    digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
    for split in (dataset.train, dataset.test):
        digest.update(f"{split.images.shape}".encode())
        images = split.images
        digest.update(images.identity.encode() if isinstance(images, StoredImages) else images.tobytes())
        digest.update(split.labels.tobytes())
    now = {"name": dataset.name, "note": dataset.note, "images": digest.hexdigest()}
    check_same(run, "data.json", now, f"images of {dataset.name}")


def check_same(run: RunDirectory, name: str, now: dict[str, str], what: str) -> None:
    """Raise `InputError` unless `now` is what the run began with; a new run notes it in its file `name`."""
    folder = Folder(run.path, run.identity)
    if not folder.has(name) and processes.first():
        folder.save_json(name, now)
    folder.share(name)
    if folder.json(name, remedy=f"if the {what} are still the same, delete it") != now:
        where = run.path if processes.first() else "the run of process 0"
        raise InputError(
            f"the {what} are not those that {where} began with: bring those back, or name another directory with --out"
        )
