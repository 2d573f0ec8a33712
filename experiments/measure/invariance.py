"""The invariance protocol on any network: its answers under every transform, and what scores are made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.errors import FlaxError

from cnnjax import analysis
from cnnjax.analysis.invariance.consistency import LABEL_FREE
from cnnjax.data import Dataset
from cnnjax.runs import Progress
from cnnjax.stats import Interval, over_images
from cnnjax.sweep.protocol import ProtocolConfig, Task, tasks
from experiments.shared.subject import Subject, classifier

Arrays = dict[str, np.ndarray]
Columns = dict[str, Arrays]
"""By orbit, what scores are means of, each `(images,)`."""


def orbits_of(subject: Subject, protocol: ProtocolConfig, dataset: Dataset) -> dict[str, Task]:
    """Every orbit of the protocol that the network can take; crops are smaller than the images."""
    return {name: task for name, task in tasks(protocol, dataset).items() if not task.resized or _takes(subject, task)}


def _takes(subject: Subject, task: Task) -> bool:
    images = jax.eval_shape(task.orbit.apply, task.examples, task.orbit.identity)
    try:
        jax.eval_shape(classifier(subject), images)
    except (FlaxError, TypeError, ValueError):  # of a network for images of one size
        return False
    return True


def predictions(subject: Subject, todo: Mapping[str, Task], progress: Progress) -> Arrays:
    """`ORBIT/classes` (transforms + 1, images) and `ORBIT/total_variation` (transforms, images)."""
    found: Arrays = {}
    seen: dict[str, analysis.Predictions] = {}
    for done, (name, task) in enumerate(todo.items()):
        progress.advance(done, len(todo), f"{len(task.orbit.parameters)} transforms, {name}")
        again = seen.get(task.like)
        seen[name] = again or analysis.predict(classifier(subject), task.examples, task.orbit)
        found[f"{name}/classes"] = seen[name].classes.astype(np.int32)
        found[f"{name}/total_variation"] = seen[name].total_variation
    return found


def columns(arrays: Mapping[str, np.ndarray], todo: Mapping[str, Task], labels: np.ndarray | None) -> Columns:
    """The columns of every orbit; without labels those of agreement, the network's own answers taken for right."""
    found = {}
    for name, task in todo.items():
        seen = analysis.Predictions(arrays[f"{name}/classes"], arrays[f"{name}/total_variation"])
        truth = seen.classes[0] if labels is None else labels[: seen.classes.shape[1]]
        found[name] = analysis.image_columns(seen, truth, task.orbit)
    return found


def scores(found: Mapping[str, Arrays], *, labelled: bool) -> dict[str, Interval]:
    """Every score of every orbit, `ORBIT.SCORE`, with its interval over images; `accuracy` without an orbit."""
    every: dict[str, Interval] = {}
    for orbit, parts in found.items():
        stacked = {name: values[None] for name, values in parts.items()}
        names = analysis.scores({name: values.mean() for name, values in parts.items()})
        for name in names:
            if not labelled and name not in LABEL_FREE:
                continue
            interval = over_images(stacked, lambda means, name=name: analysis.scores(means)[name], shares=True)
            if name != "accuracy":
                every[f"{orbit}.{name}"] = interval
            elif "accuracy" not in every:
                every = {"accuracy": interval, **every}
    return every


PAIRED = {"consistency": "agree", "mean_accuracy": "right", "worst_accuracy": "always_right", "flip_rate": "flips"}
"""Scores that are compared between networks image by image, and the columns that they are means of."""


def compared(networks: Mapping[str, Columns], labelled: Sequence[str]) -> Any:
    """A row for each pair of networks and score, paired over images, Holm's p over all of them; None without a pair."""
    import pandas as pd

    from cnnjax.stats import compare, holm

    frames = []
    orbits = list(dict.fromkeys(orbit for found in networks.values() for orbit in found))
    wanted = [("accuracy", orbits[0], "correct")] if orbits else []
    wanted += [(f"{orbit}.{score}", orbit, column) for orbit in orbits for score, column in PAIRED.items()]
    for score, orbit, column in wanted:
        free = column in ("agree", "flips")
        values = {
            name: found[orbit][column][None]
            for name, found in networks.items()
            if column in found.get(orbit, {}) and (free or name in labelled)
        }
        if len(values) > 1:
            baseline = None if len(values) <= ALL_PAIRS else next(iter(values))
            frames.append(compare(values, baseline=baseline, over="images").assign(score=score))
    if not frames:
        return None
    frame = pd.concat(frames, ignore_index=True)
    frame["p_holm"] = holm(frame["p"])
    frame.insert(0, "score", frame.pop("score"))
    return frame


ALL_PAIRS = 8
"""Networks of which every two are compared; of more, each with the first."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rates:
    """A score under each transform of an orbit: the share of images that keep their answer, or are right."""

    same: np.ndarray
    """(transforms + 1,), the identity first."""
    right: np.ndarray | None


def rates(arrays: Mapping[str, np.ndarray], orbit: str, labels: np.ndarray | None) -> Rates:
    """By transform, means over images."""
    classes = arrays[f"{orbit}/classes"]
    right = None if labels is None else (classes == labels[: classes.shape[1]]).mean(1)
    return Rates((classes == classes[0]).mean(1), right)
