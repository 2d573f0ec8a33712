"""Small valid calls of the harness of trained cells."""

import pathlib

import numpy as np

from cnnjax import models, runs, sweep
from cnnjax.data import Augmentation, DataConfig, Dataset, Split
from cnnjax.training import TrainConfig

_RANDOM = np.random.default_rng(0)
_MODEL = models.MLP(num_classes=2, widths=(3,))
_DESCRIPTION = {"class": "cnnjax.models.mlp:MLP", "fields": {"num_classes": 2}}
_COLUMNS = {"test": {"correct": np.ones((2, 3))}}


def _split() -> Split:
    return Split(_RANDOM.integers(0, 256, (8, 4, 4, 1), np.uint8), (np.arange(8) % 2).astype(np.int32))


_DATA = Dataset("noise", _split(), _split(), ("a", "b"), (0.5,), (0.3,), 0, "noise")


def _plan() -> sweep.CellPlan:
    return sweep.CellPlan("one", _MODEL, TrainConfig(epochs=1, batch_size=8), Augmentation(crop=1))


def _run() -> runs.RunDirectory:
    with runs.open_run("sweep", {}, root=pathlib.Path("runs")) as run:
        return run


def _swept() -> sweep.Sweep:
    with runs.open_run("sweep", {}, root=pathlib.Path("runs")) as run, runs.Progress(1) as progress:
        found = sweep.sweep(run, [_plan()], _DATA, seeds=2, progress=progress)
        sweep.write_scores(found)
        return found


CALLS = {
    "sweep.build": lambda: dict(config=sweep.NetworkConfig.of("all_conv", widths=(2,), depth=1), dataset=_DATA),
    "sweep.build_described": lambda: dict(description=_DESCRIPTION),
    "sweep.load_images": lambda: dict(config=DataConfig(size=8, canvas=8), progress=runs.Progress(1)),
    "sweep.score_interval": lambda: dict(columns=_COLUMNS, name="test.accuracy"),
    "sweep.sweep": lambda: dict(
        run=_swept().run, plans=[_plan()], dataset=_DATA, protocol=None, seeds=2, progress=runs.Progress(1)
    ),
    "sweep.write_comparisons": lambda: dict(run=_swept().run, scores=["test.accuracy"], pairs=[("one", "two")]),
    "sweep.write_scores": lambda: dict(of=_swept()),
}
