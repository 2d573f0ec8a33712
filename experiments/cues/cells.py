"""The cells of the experiment: what each network is trained on, and the answers of all to every view of the images."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cnnjax import analysis, models
from cnnjax.data import Augmentation, Dataset
from cnnjax.runs import Progress
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.training import TrainConfig
from experiments.cues.views import WHOLE, HalfGray, Shown, View
from experiments.shared.subject import Subject, classifier

Kind = Literal["cnn", "mlp", "vit", "vit_half_gray", "cnn_half_gray"]
TITLES: dict[Kind, str] = {
    "cnn": "CNN",
    "mlp": "MLP",
    "vit": "ViT",
    "vit_half_gray": "ViT, half grey",
    "cnn_half_gray": "CNN, half grey",
}


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one cell from another."""

    network: Kind
    images: View
    """What it is trained on, and tested on in the sweep."""

    @property
    def cell(self) -> str:
        """The cell's name."""
        return f"network={self.network},images={self.images.key}"


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """What became of a network, or of several that differ in their seed."""

    title: str
    right: Mapping[str, np.ndarray]
    """By view, 1 where an answer was right and 0 where not: floats (seeds, images)."""
    trained: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """The same of networks that were trained on the view."""
    fitted: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """By what they were trained on, the share of training images that each has right, (seeds,)."""
    first_seed: int = 0

    def accuracy(self, view: View) -> np.ndarray:
        """(seeds,)."""
        return self.right[view.key].mean(1)

    def lost(self, view: View) -> np.ndarray:
        """What the answers to a view are worse by than those to whole images: (seeds, images), of −1, 0 and 1."""
        return self.right[WHOLE.key] - self.right[view.key]


def treatments(networks: Sequence[Kind], views: Sequence[View]) -> list[Treatment]:
    """Every network on whole images, and, but for those trained half in grey, on each main view made of images."""
    found = [Treatment(network, WHOLE) for network in networks]
    for network in networks:
        if not network.endswith("half_gray"):
            found += [Treatment(network, view) for view in views if is_control(view)]
    return found


def most_cells(networks: Sequence[Kind]) -> int:
    """How many `treatments` there are at most: three cues are removed, and three are alone."""
    return len(networks) + 6 * sum(not network.endswith("half_gray") for network in networks)


def is_control(view: View) -> bool:
    """Whether networks are trained on a view, to tell what is left in it."""
    return view.main and view.kind in ("removed", "alone")


def plan(
    what: Treatment, network: NetworkConfig, train: TrainConfig, augmentation: Augmentation, dataset: Dataset
) -> CellPlan:
    """The cell of a treatment."""
    change: Callable[[Dataset], Dataset] | None = None
    if what.network.endswith("half_gray"):
        change = HalfGray()
    elif what.images is not WHOLE:
        change = Shown(what.images)
    return CellPlan(what.cell, build(network, dataset), train, augmentation, change=change)


def fitted(of: Sweep, plans: Mapping[str, CellPlan], progress: Progress) -> dict[str, np.ndarray]:
    """By cell, the share of its own training images that each of its networks has right, (seeds,)."""
    found = {}
    for name in of.predictions:
        one = plans[name]

        def measure(one: CellPlan = one) -> dict[str, list[float]]:
            train = one.of(of.dataset).train
            answers = [analysis.classify_all(f, train.array) for f in _bound(of, one)]
            return {"right": [float((a == train.labels).mean()) for a in answers]}

        kept = of.run.once(name, "fitted.json", measure, progress=progress, title=f"{name}: fitted")
        found[name] = np.asarray(kept["right"])
    return found


def answers(
    of: Sweep,
    plans: Mapping[str, CellPlan],
    subjects: Mapping[str, Subject],
    views: Sequence[View],
    progress: Progress,
) -> dict[str, dict[str, np.ndarray]]:
    """By cell or subject and by view, the class that each network takes each test image for, (seeds, images)."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in (*plans, *subjects)}

    @functools.cache
    def networks(name: str) -> list[Any]:
        return _bound(of, plans[name]) if name in plans else [classifier(subjects[name])]

    for view in views:
        shown: list[np.ndarray] = []

        def images(view: View = view, shown: list[np.ndarray] = shown) -> np.ndarray:
            """The test images, made once for all networks, and not at all where every network has seen them."""
            if not shown:
                shown.append(view.of(of.dataset.test.array, "test"))
            return shown[0]

        for name in found:

            def measure(name: str = name, images: Callable[[], np.ndarray] = images) -> dict[str, np.ndarray]:
                return {"classes": np.stack([analysis.classify_all(f, images()) for f in networks(name)])}

            file = f"{view.key}.safetensors"
            kept = of.run.once(name, file, measure, progress=progress, title=f"{name}: {view.title}")
            found[name][view.key] = kept["classes"]
    return found


def _bound(of: Sweep, one: CellPlan) -> list[Any]:
    return [models.bind(one.model, variables) for variables in of.networks(one)]
