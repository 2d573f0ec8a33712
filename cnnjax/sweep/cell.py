"""A cell of a sweep as a function: its plan, the data and the protocol to the files in its folder.

A cell keeps `weights.safetensors` and `predictions.safetensors`, or `failure.json`; while it trains,
`state.safetensors` and the one before it. Each file is written whole, so that a cell killed at any instant goes on from
the last that is there, and one that has networks of some seeds trains those of the others only (see `kept`). Nothing
here knows of a run, or of where it is computed.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import PyTree

from cnnjax import processes
from cnnjax.analysis import NotFiniteError
from cnnjax.data import Augmentation, Dataset, apply_augmentation
from cnnjax.runs.folder import Folder
from cnnjax.sweep.describe import describe
from cnnjax.sweep.kept import (
    FAILURE,
    PREDICTIONS,
    STATE,
    WEIGHTS,
    Outcome,
    beside,
    fail,
    forget_states,
    join,
    joined,
    missing,
    outcome,
    snapshot,
)
from cnnjax.sweep.protocol import ProtocolConfig, Task, measure, tasks
from cnnjax.training import (
    DivergedError,
    StepSpec,
    TrainConfig,
    Training,
    init_states,
    networks_at_once,
    program_key,
    train_together,
    unstack,
)
from cnnjax.training.devices import device_count
from cnnjax.training.kept_states import previous

Keep = Callable[[dict[str, bytes], list[dict[str, Any]]], Any]
"""Is given files of a cell by name, and records for `metrics.jsonl`."""


@dataclasses.dataclass(frozen=True)
class CellPlan:
    """One cell: what to train, on what, and with which augmentation."""

    name: str
    model: nn.Module
    train: TrainConfig
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    snapshots: tuple[int, ...] = ()
    """Epochs after which the networks are kept as they are then, 0 for the start: see `snapshot`."""
    change: Callable[[Dataset], Dataset] | None = None
    """What the cell makes of the dataset, such as to leave images out; None: nothing."""
    seeds: Sequence[int] | None = None
    """The networks' seeds; None: those of the sweep."""
    augment: Callable[..., Any] = apply_augmentation
    """What changes the images of a step, `augment(key, images, strengths)`."""

    @property
    def spec(self) -> StepSpec:
        """What the cell's compiled step depends on."""
        return StepSpec(self.model, self.train.optimizer, self.train.batch_size, self.augment)

    def of(self, dataset: Dataset) -> Dataset:
        """The cell's own dataset."""
        return dataset if self.change is None else self.change(dataset)


@dataclasses.dataclass(frozen=True)
class Watch:
    """Where cells report while they are computed."""

    log: Callable[..., Any] = lambda **record: None
    """Records for `metrics.jsonl`."""
    advance: Callable[[int, int, str], Any] = lambda done, total, text: None
    status: Callable[[str], Any] = lambda text: None
    compiled: set[Hashable] = dataclasses.field(default_factory=set)
    """What was compiled already, and is not spoken of again."""

    def compiling(self, what: str, key: Hashable) -> None:
        """Say that `what` is being compiled, once for each key."""
        if key not in self.compiled:
            self.status(f"compiling {what}")
            self.compiled.add(key)


def compute(
    plan: CellPlan,
    dataset: Dataset,
    protocol: ProtocolConfig | None,
    seeds: Sequence[int],
    files: Mapping[str, bytes],
    *,
    of: str = "",
    keep: Keep = lambda files, records: None,
    keep_every: float = math.inf,
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The files of a finished cell by name, and its records for `metrics.jsonl`.

    The same plan, data, protocol and seeds give the same files wherever they are computed, to the last bit on
    processors of one kind.

    Args:
        plan: The cell.
        dataset: The images; the plan may change them.
        protocol: What is measured beside the accuracy.
        seeds: Of the networks, unless the plan names its own.
        files: Those of a cell that was begun already.
        of: What the files are marked with (`runs.folder.Folder`).
        keep: Is given what is new while the cell is computed: all from which it can go on elsewhere.
        keep_every: Seconds that lie at least between two calls of `keep`.
    """
    records: list[dict[str, Any]] = []
    with TemporaryDirectory() as name:
        folder = Folder(Path(name), of)
        for file, content in files.items():
            (folder.path / file).write_bytes(content)
        kept, last = _versions_of(folder), time.monotonic()

        def advance(done: int, total: int, text: str) -> None:
            nonlocal kept, last
            if time.monotonic() - last < keep_every:
                return
            now = _versions_of(folder)
            # The keeper has the state before the newest from earlier.
            new = {file for file in now if now[file] != kept.get(file)} - {previous(Path(STATE)).name}
            keep({file: (folder.path / file).read_bytes() for file in sorted(new)}, records[:])
            records.clear()
            kept, last = now, time.monotonic()

        watch = Watch(log=lambda **record: records.append(record), advance=advance)
        own = plan.of(dataset)
        (result,) = train_cells([plan], [folder], own, seeds, watch)
        conclude(plan, folder, result, own, tasks(protocol, own), seeds, watch)
        return {file.name: file.read_bytes() for file in sorted(folder.path.iterdir())}, records


def _versions_of(folder: Folder) -> dict[str, tuple[int, int]]:
    """What changes of each file in a folder when it is written anew."""
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.path.iterdir()}


def side_by_side(plans: Iterable[CellPlan], dataset: Dataset, seeds: Sequence[int]) -> list[list[CellPlan]]:
    """The plans in the order of their first, those together that one program trains on this backend."""
    groups: dict[Hashable, list[list[CellPlan]]] = {}
    for plan in plans:
        key = plan.name if plan.change is not None else _program(plan, dataset)
        mine = groups.setdefault(key, [])
        networks = sum(len(one.seeds or seeds) for one in (*(mine[-1] if mine else ()), plan))
        if not mine or networks > networks_at_once() * device_count(plan.train):
            mine.append([])
        mine[-1].append(plan)
    return [group for mine in groups.values() for group in mine]


def _program(plan: CellPlan, dataset: Dataset) -> Hashable:
    return program_key(plan.spec, plan.train, plan.augmentation.as_arrays(), len(dataset.train.images))


def train_cells(
    plans: Sequence[CellPlan], folders: Sequence[Folder], dataset: Dataset, seeds: Sequence[int], watch: Watch
) -> list[list[PyTree] | DivergedError]:
    """The variables of each seed's network for each cell, or why its training failed; `plans` share one program.

    What was trained before is read from its folder, and what is trained now is kept there.
    """
    spec = plans[0].spec
    failures: dict[str, DivergedError] = {}
    while todo := [
        (plan, folder, *found)
        for plan, folder in zip(plans, folders, strict=True)
        if plan.name not in failures and (found := missing(folder, plan.seeds or seeds))[1]
    ]:
        watch.compiling("the training step", spec)
        trainings = [
            Training(
                plan.train,
                plan.augmentation.as_arrays(),
                part,
                checkpoint=folder.path / STATE,
                snapshots={epoch: folder.path / beside(snapshot(epoch), standing) for epoch in plan.snapshots},
                of=folder.of,
                log=lambda name=plan.name, **record: watch.log(cell=name, **record),
            )
            for plan, folder, standing, part in todo
        ]
        try:
            results = train_together(
                spec, trainings, dataset.train.images, dataset.train.labels, progress=watch.advance
            )
        except jax.errors.JaxRuntimeError as error:
            if len(todo) == 1 or "RESOURCE_EXHAUSTED" not in str(error) or processes.count() > 1:
                raise  # also where it may be the memory of this process only, of several
            watch.status("too large for the device side by side: in two parts")
            half = len(plans) // 2
            return [
                result
                for part in (slice(half), slice(half, None))
                for result in train_cells(plans[part], folders[part], dataset, seeds, watch)
            ]
        for (plan, folder, standing, _), result in zip(todo, results, strict=True):
            if isinstance(result, DivergedError):
                failures[plan.name] = result
                continue
            for epoch in plan.snapshots if standing else ():
                join(folder, snapshot(epoch), standing, result)
            folder.save(WEIGHTS, joined(folder, WEIGHTS, standing, result), network=describe(plan.model))
    for folder in folders:
        if folder.has(WEIGHTS):
            forget_states(folder)  # which a kill may have left beside them
    return [
        failures[plan.name] if plan.name in failures else read_networks(plan, folder, WEIGHTS, dataset, seeds)
        for plan, folder in zip(plans, folders, strict=True)
    ]


def read_networks(plan: CellPlan, folder: Folder, name: str, dataset: Dataset, seeds: Sequence[int]) -> list[PyTree]:
    """The variables of each seed's network from the file of weights or a snapshot that a cell keeps in its folder."""
    own = plan.seeds or seeds
    one = jax.eval_shape(lambda: init_states(plan.spec, own[:1], dataset.train.images.shape[1:]).variables)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(own), *leaf.shape[1:]), leaf.dtype), one)
    variables = folder.load(name, like, remedy=f"delete the folder {folder.path} to train the cell again")
    return unstack(variables, len(own))


def conclude(
    plan: CellPlan,
    folder: Folder,
    networks: "list[PyTree] | DivergedError",
    dataset: Dataset,
    todo: Mapping[str, Task],
    seeds: Sequence[int],
    watch: Watch,
) -> Outcome:
    """Measure what was trained, or note why it was not, and keep that as the end of the cell.

    Where several processes trained it, process 0 does.
    """
    count = len(plan.seeds or seeds)
    found = _conclude(plan, folder, networks, dataset, todo, count, watch) if processes.first() else None
    folder.share(PREDICTIONS, FAILURE)
    found = found or outcome(folder, networks=count, classes=len(dataset.class_names))
    assert found is not None, f"process 0 left the cell {plan.name} unfinished"
    return found


def _conclude(
    plan: CellPlan,
    folder: Folder,
    networks: "list[PyTree] | DivergedError",
    dataset: Dataset,
    todo: Mapping[str, Task],
    count: int,
    watch: Watch,
) -> Outcome:
    try:
        if isinstance(networks, DivergedError):
            raise networks
        watch.compiling("the measurements", plan.model)
        before = folder.arrays(PREDICTIONS) if folder.has(PREDICTIONS) else {}
        standing = len(next(iter(before.values()))) if before else 0
        arrays = measure(todo, dataset, plan.model, networks[standing:], progress=watch.advance)
        if standing:
            arrays = {name: np.concatenate([before[name], values]) for name, values in arrays.items()}
    except (DivergedError, NotFiniteError) as error:
        return fail(folder, str(error), networks=count)
    folder.save(PREDICTIONS, arrays)
    return Outcome(arrays)
