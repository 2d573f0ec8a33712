"""The sweep of an experiment: every cell trained and measured once, whatever was killed in between."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cnnjax.data import Augmentation, Dataset, apply_augmentation
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.study import Progress, RunDirectory
from cnnjax.training import (
    DivergedError,
    StepSpec,
    TrainConfig,
    init_states,
    load_tree,
    read_arrays,
    save_tree,
    train,
    unstack,
)
from experiments.common.describe import describe
from experiments.common.protocol import ProtocolConfig, measure


@dataclasses.dataclass(frozen=True)
class CellPlan:
    """One cell: what to train, on what, and with which augmentation."""

    name: str
    model: nn.Module
    train: TrainConfig
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    snapshots: tuple[int, ...] = ()
    """Epochs after which the networks are kept as they are then, 0 for the start: see `snapshot_path`."""
    change: Callable[[Dataset], Dataset] | None = None
    """What the cell makes of the dataset, such as to leave images out; None: nothing."""
    seeds: Sequence[int] | None = None
    """The networks' seeds; None: those of the sweep."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a cell came to: its predictions (see `protocol.measure`), or why its training failed."""

    predictions: dict[str, np.ndarray] | None
    failure: str = ""


def sweep(
    run: RunDirectory,
    plans: Sequence[CellPlan],
    dataset: Dataset,
    protocol: ProtocolConfig | None,
    *,
    seeds: int,
    progress: Progress,
) -> dict[str, Outcome]:
    """Train and measure every cell that is not finished, in order, and return the outcome of each by name.

    A cell keeps `weights.safetensors` and `predictions.safetensors`, or `failure.json`; while it trains,
    `state.safetensors`. Each file is written whole, so a run killed at any instant goes on from the last that is
    there.
    """
    check_same_data(run.path / "data.json", dataset)
    outcomes: dict[str, Outcome] = {}
    compiled: set[Any] = set()
    for plan in plans:
        folder = run.cell(plan.name)
        finished = _finished(folder)
        if finished is not None:
            progress.skip(plan.name)
            outcomes[plan.name] = finished
            continue
        progress.cell(plan.name)
        own = dataset if plan.change is None else plan.change(dataset)
        try:
            networks = trained(run, plan, folder, own, plan.seeds or range(seeds), progress, compiled)
        except DivergedError as error:
            write_atomic(folder / "failure.json", json.dumps({"failure": str(error)}) + "\n")
            progress.note(f"{plan.name} failed: {error}")
            outcomes[plan.name] = Outcome(None, str(error))
            continue
        if plan.model not in compiled:
            progress.status("compiling the measurements")
            compiled.add(plan.model)
        arrays = measure(protocol, own, plan.model, networks, progress=progress.advance)
        save_tree(folder / "predictions.safetensors", arrays)
        outcomes[plan.name] = Outcome(arrays)
    return outcomes


def check_same_data(path: Path, dataset: Dataset) -> None:
    """Raise `InputError` unless the images are those that the run began with; a new run notes which they are."""
    digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
    for split in (dataset.train, dataset.test):
        digest.update(f"{split.images.shape}".encode())
        digest.update(split.images.tobytes())
        digest.update(split.labels.tobytes())
    content = json.dumps({"name": dataset.name, "note": dataset.note, "sha256": digest.hexdigest()}, indent=2) + "\n"
    if not path.exists():
        write_atomic(path, content)
    elif path.read_text() != content:
        raise InputError(
            f"the images of {dataset.name} are not those that {path.parent} began with: "
            "bring those back, or name another directory with --out"
        )


def _finished(folder: Path) -> Outcome | None:
    if (folder / "predictions.safetensors").exists():
        return Outcome(dict(read_arrays(folder / "predictions.safetensors")[0]))
    if (folder / "failure.json").exists():
        try:
            return Outcome(None, json.loads((folder / "failure.json").read_text())["failure"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder / 'failure.json'} cannot be read ({error}): delete it to try the cell again"
            ) from error
    return None


def trained(
    run: RunDirectory,
    plan: CellPlan,
    folder: Path,
    dataset: Dataset,
    seeds: Sequence[int],
    progress: Progress,
    compiled: set[Any],
) -> list[Any]:
    """The variables of each seed's network, trained to the end or read from where they were kept.

    `folder` is the cell's; `compiled` says which steps were compiled already, for the progress, and is added to.
    """
    spec = StepSpec(plan.model, plan.train.optimizer, plan.train.batch_size, apply_augmentation)
    weights, checkpoint = folder / "weights.safetensors", folder / "state.safetensors"
    if not weights.exists():
        if spec not in compiled:
            progress.status("compiling the training step")
            compiled.add(spec)
        variables = train(
            spec,
            plan.train,
            dataset.train.images,
            dataset.train.labels,
            plan.augmentation.as_arrays(),
            seeds=seeds,
            checkpoint=checkpoint,
            snapshots={epoch: snapshot_path(folder, epoch) for epoch in plan.snapshots},
            log=lambda **record: run.log(cell=plan.name, **record),
            progress=progress.advance,
        )
        save_tree(weights, variables, network=describe(plan.model))
        checkpoint.unlink(missing_ok=True)
    else:
        like = jax.eval_shape(lambda: init_states(spec, seeds, dataset.train.images.shape[1:]).variables)
        variables, _ = load_tree(weights, like)
    return unstack(variables, len(seeds))


def snapshot_path(folder: Path, epoch: int) -> Path:
    """Where the cell in `folder` keeps its networks, with their seed axis, as they are after an epoch."""
    return folder / f"epoch{epoch:04d}.safetensors"
