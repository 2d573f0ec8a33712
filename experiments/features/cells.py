"""What the features experiment measures of a network: its units, linear probes, and similarity, layer by layer."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from cnnjax import analysis, models, runtime
from cnnjax.data import Dataset, colored, shapes
from cnnjax.program import tracing
from cnnjax.runs import Progress
from cnnjax.sweep import traced
from cnnjax.sweep.cell import WEIGHTS, snapshot
from cnnjax.sweep.cells import Sweep

State = Literal["start", "trained"]
FILES: dict[State, str] = {"start": snapshot(0), "trained": WEIGHTS}

CELL = "networks"
"""The cell of the run that all networks are in."""
PIXELS = "pixels"
"""The layer before the first."""
BATCH = 250
SHUFFLES = 20
"""Permutations of the labels that chance is averaged over."""


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much is looked at."""

    images: int
    """Test images over which units and similarity are measured."""
    probe_images: int
    """Training images that probes are fitted to; they are tested on all test images."""
    cells: int
    """Probes read the means of a map over this many by this many cells."""
    top: int
    """Images that make a unit answer most."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of every network: (state, seed), in the order of the similarity's axes."""

    layers: list[str]
    networks: list[tuple[State, int]]
    of_layers: list[dict[str, np.ndarray]]
    """Of each network, as `measure` gives it."""
    similarity: Float[np.ndarray, "networks layers networks layers"]


class Seen(NamedTuple):
    """A layer's answers to some images."""

    values: Float[np.ndarray, "images ..."]
    grid: Float[np.ndarray, "images features"]
    """Means over cells of the map; of a layer without a map all its values."""


def measure_all(of: Sweep, extent: Extent, *, progress: Progress) -> Measured:
    """Measure every network that the sweep's cell has kept, at the start and trained, and compare them.

    Each is kept there when it is measured, in a file that is written whole, and read again by a run that goes on.
    """
    (plan,), dataset = of.plans, of.dataset
    model = plan.model
    names = layers(model, dataset.train.images.shape[1:])
    networks: list[tuple[State, int]] = [(state, seed) for state in FILES for seed in of.numbers]
    known: dict[State, list[PyTree]] = {}

    def variables(state: State, seed: int) -> PyTree:
        if state not in known:
            known[state] = of.networks(plan, FILES[state])
        return known[state][seed - of.first_seed]

    def once(name: str, work: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return of.run.once(plan.name, f"{name}.safetensors", work, progress=progress, title=name)

    def look_at(state: State, seed: int) -> dict[str, np.ndarray]:
        done = itertools.count()
        return measure(
            model,
            variables(state, seed),
            dataset,
            extent,
            lambda text: progress.advance(next(done), len(names) + 1, text),
        )

    measured = [once(f"features-{state}-{seed}", functools.partial(look_at, state, seed)) for state, seed in networks]
    images = dataset.test.images[: extent.images]
    each = (variables(state, seed) for state, seed in networks)
    matrix = once("similarity", lambda: {"cka": similarity(model, each, names, images, progress)})["cka"]
    side = (len(networks), len(names))
    return Measured(names, networks, measured, matrix.reshape(*side, *side))


def tasks(dataset: Dataset) -> dict[str, tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]]:
    """What probes tell apart: labels of training and test; of coloured shapes hue and kind on their own, too."""
    train, test = dataset.train.labels, dataset.test.labels
    kinds = len(shapes.KINDS)
    if len(dataset.class_names) != kinds * len(colored.HUES) or dataset.name != "coloured_shapes":
        return {"class": (train, test)}
    return {"class": (train, test), "hue": (train // kinds, test // kinds), "kind": (train % kinds, test % kinds)}


def layers(model: nn.Module, image_shape: tuple[int, ...]) -> list[str]:
    """The pixels and the network's activations, in forward order."""
    images, variables = traced.shapes_of(model, image_shape)
    return [PIXELS, *tracing.shapes_of(traced.activations_of(model, variables), images)]


def look(model: nn.Module, variables: PyTree, images: np.ndarray, *, cells: int) -> Iterator[dict[str, Seen]]:
    """What each layer answers to uint8 images (images, height, width, channels), batch by batch."""
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        seen = _look(models.bind(model, variables), np.resize(batch, (BATCH, *batch.shape[1:])), cells)
        yield {name: Seen(*(np.asarray(part)[: len(batch)] for part in parts)) for name, parts in seen.items()}


@functools.partial(runtime.jit, static_argnums=2)
def _look(forward: Partial, images: Array, cells: int) -> dict[str, tuple[Array, Array]]:
    pixels = images.astype(jnp.float32) / 255
    found = {PIXELS: pixels, **forward(pixels)[1]}
    return {name: (x, _grid(x.astype(jnp.float32), cells)) for name, x in found.items()}


def _grid(x: Array, cells: int) -> Array:
    if x.ndim == 4:
        down, across = (jnp.asarray(_windows(size, min(size, cells))) for size in x.shape[1:3])
        x = jnp.einsum("bhwc,ih,jw->bijc", x, down, across, precision="highest")
    return x.reshape(len(x), -1)


def _windows(size: int, cells: int) -> np.ndarray:
    """Rows that average `size` positions over cells as even as can be; neighbours share a position where none fits."""
    rows = np.zeros((cells, size), np.float32)
    for cell in range(cells):
        rows[cell, cell * size // cells : -(-(cell + 1) * size // cells)] = 1
    return rows / rows.sum(1, keepdims=True)


def measure(
    model: nn.Module, variables: PyTree, dataset: Dataset, extent: Extent, advance: Callable[[str], Any]
) -> dict[str, np.ndarray]:
    """Probes and units of each layer of a network, by `layer/what`.

    `layer/probe.TASK` is the share of all test images that a probe gets right. Of units, (units,) each, and NaN where
    the layer is negative somewhere or the unit silent: `selectivity.TASK` (`analysis.class_selectivity`),
    `purity.TASK`, the share of the most frequent label among the images that make the unit answer most, both also
    `_by_chance`, with shuffled labels, and `sparseness`; and the label that is `preferred.TASK`, −1 for none. `silent`
    is the share of silent units.
    """
    advance("looking")
    fitted, tested, found = {}, {}, {}
    for images, into in ((dataset.train.images[: extent.probe_images], fitted), (dataset.test.array, tested)):
        for batch in look(model, variables, images, cells=extent.cells):
            for name, seen in batch.items():
                into.setdefault(name, []).append(seen.grid)
    of_units: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for batch in look(model, variables, dataset.test.images[: extent.images], cells=extent.cells):
        for name, seen in batch.items():
            space = tuple(range(1, seen.values.ndim - 1))
            of_units.setdefault(name, []).append((seen.values.mean(space), seen.values.max(space)))
            if seen.values.min() < 0:
                of_units[name][-1] = (np.full_like(seen.values.mean(space), np.nan),) * 2
    labels = {task: asked[: extent.images] for task, (_, asked) in tasks(dataset).items()}
    for name in fitted:
        advance(f"probing {name}")
        train, test = np.concatenate(fitted[name]), np.concatenate(tested[name])
        for task, (known, unknown) in tasks(dataset).items():
            found[f"{name}/probe.{task}"] = np.asarray(probe(train, known[: extent.probe_images], test, unknown))
        mean, most = (np.concatenate(parts) for parts in zip(*of_units[name], strict=True))
        found |= {f"{name}/{what}": value for what, value in units(mean, most, labels, top=extent.top).items()}
    return found


def probe(
    train: Float[np.ndarray, "n features"],
    known: np.ndarray,
    test: Float[np.ndarray, "m features"],
    unknown: np.ndarray,
) -> float:
    """The accuracy of logistic regression on standardised features, fitted on one set and tested on another."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    # Products of this size take less time than threads need to meet.
    with threadpool_limits(1):
        return float(fit.fit(train.astype(np.float64), known).score(test.astype(np.float64), unknown))


def units(
    mean: Float[np.ndarray, "images units"],
    most: Float[np.ndarray, "images units"],
    labels: Mapping[str, Int[np.ndarray, " images"]],
    *,
    top: int,
) -> dict[str, np.ndarray]:
    """What `measure` says of units, of each one's mean and greatest activation in each image and of labels by task."""
    count = mean.shape[1]
    known = bool(np.isfinite(mean).all())
    heard = (mean > 0).any(0) if known else np.zeros(count, bool)
    found = {"silent": np.asarray(1 - heard.mean() if known else np.nan), "sparseness": np.full(count, np.nan)}
    mean, most = mean[:, heard].astype(np.float64), most[:, heard]
    best = np.argsort(-most, axis=0, kind="stable")[:top]
    # Vinje & Gallant 2000: 0 for a unit that answers all images alike, 1 for one that answers a single one.
    found["sparseness"][heard] = (1 - mean.mean(0) ** 2 / (mean**2).mean(0)) / (1 - 1 / len(mean))
    random = np.random.default_rng(0)
    for task, true in labels.items():
        shuffled = [random.permutation(true) for _ in range(SHUFFLES)]
        selectivity = analysis.class_selectivity(mean, true)
        by_chance = {
            "selectivity": np.mean([analysis.class_selectivity(mean, each).index for each in shuffled], 0),
            "purity": np.mean([_purity(each[best]) for each in shuffled], 0),
        }
        observed = {"selectivity": selectivity.index, "purity": _purity(true[best])}
        for what, value in observed.items():
            for name, here in ((f"{what}.{task}", value), (f"{what}_by_chance.{task}", by_chance[what])):
                found[name] = np.full(count, np.nan)
                found[name][heard] = here
        found[f"preferred.{task}"] = np.full(count, -1, np.int32)
        found[f"preferred.{task}"][heard] = selectivity.preferred
    return found


def _purity(labels: Int[np.ndarray, "top units"]) -> Float[np.ndarray, " units"]:
    """The share of the most frequent label in each column."""
    return (labels[:, None] == labels[None]).sum(1).max(0) / len(labels)


def similarity(
    model: nn.Module, networks: Iterable[PyTree], names: Sequence[str], images: np.ndarray, progress: Progress
) -> Float[np.ndarray, "rows rows"]:
    """`analysis.cka`, without bias, over the images; a row for each layer of each network, the layers fastest."""

    def answers() -> Iterator[np.ndarray]:
        for number, variables in enumerate(networks, 1):
            progress.status(f"comparing network {number}")
            batches = list(look(model, variables, images, cells=1))
            for name in names:
                yield np.concatenate([batch[name].values for batch in batches])

    return np.asarray(analysis.cka_matrix(answers(), unbiased=True))
