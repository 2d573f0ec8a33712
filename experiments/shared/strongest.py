"""What is measured of a layer for its page: its strongest units, what they have in common, and their past."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from cnnjax import analysis
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.analysis.fields.effective_field import EffectiveField
from cnnjax.runs import Progress
from experiments.shared.subject import Subject, even

MEASURED = 64
"""Maps of a layer that are measured, at even steps over its channels."""
CHANCE_DRAWS = 2000


def strongest(
    subject: Subject, layer: str, *, k: int, shown: int, rule: Rule, progress: Progress
) -> dict[str, np.ndarray]:
    """The k strongest activations of up to 64 maps, with the tiles of up to `shown` of those that are alive.

    A map is dead here where no image of all makes it positive. `extent` is the diameter in pixels of the disc that
    holds 95 % of a projection's absolute values, NaN where it is 0; `untrained` the images that the same maps of a
    network before any training answer most.
    """
    pixels, channels = subject.images.pixels, _channels(subject, layer)
    maps = even(range(channels), MEASURED)
    found = analysis.top_activations(
        subject.forward(),
        pixels,
        layer,
        k=k,
        channels=maps,
        rule=rule,
        progress=lambda done, total, text: progress.advance(done, 2 * total, f"images through {layer}"),
    )
    assert found.pictures is not None
    untrained = analysis.top_activations(
        subject.forward(subject.fresh()),
        pixels,
        layer,
        k=k,
        channels=maps,
        rule=None,
        progress=lambda done, total, text: progress.advance(
            total + done, 2 * total, "images through an untrained network"
        ),
    )
    alive = np.flatnonzero(found.values[:, 0] > 0).tolist()
    rows = np.array(even(alive or range(len(maps)), shown))
    return {
        "maps": found.channels,
        "channels": np.array(channels),
        "images": found.images,
        "places": found.places,
        "values": found.values,
        "extent": np.array([[extent(picture) for picture in row] for row in found.pictures]),
        "untrained": untrained.images,
        "shown": rows,
        "patches": found.patches[rows],
        "pictures": found.pictures[rows],
    }


def _channels(subject: Subject, layer: str) -> int:
    struct = jax.ShapeDtypeStruct((1, *subject.images.pixels.shape[1:]), np.float32)
    return jax.eval_shape(subject.forward(), struct)[layer].shape[-1]


def extent(picture: Float[np.ndarray, "height width channels"]) -> float:
    """The diameter of the disc about the centre of a picture that holds 95 % of its absolute values."""
    weight = np.abs(np.nan_to_num(picture)).sum(-1)
    if not weight.any():
        return float("nan")
    return 2 * EffectiveField(weight / weight.sum(), (0, 0)).radius(0.95)


def purity(images: Int[np.ndarray, "maps k"], labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, " maps"]:
    """The share of each map's strongest images that are of their most common class."""
    return np.array([np.bincount(labels[row]).max() / len(row) for row in images])


def chance_purity(labels: Int[np.ndarray, " n"], k: int) -> float:
    """The mean of `purity` for k different images drawn at random."""
    random = np.random.default_rng(0)
    drawn = np.stack([random.choice(len(labels), k, replace=False) for _ in range(CHANCE_DRAWS)])
    return float(purity(drawn, labels).mean())


def past(
    subject: Subject, layer: str, found: Mapping[str, np.ndarray], *, rule: Rule, progress: Progress
) -> dict[str, np.ndarray]:
    """The strongest activation of the shown maps at each snapshot: arrays with a leading axis of epochs."""
    maps = found["maps"][found["shown"]].tolist()
    each: dict[str, list[Any]] = {"images": [], "values": [], "pictures": [], "patches": []}
    for done, (epoch, variables) in enumerate(sorted(subject.snapshots.items())):
        progress.advance(done, len(subject.snapshots), f"{layer} after epoch {epoch}")
        top = analysis.top_activations(
            subject.forward(variables), subject.images.pixels, layer, k=1, channels=maps, rule=rule
        )
        for name, values in each.items():
            values.append(getattr(top, name)[:, 0])
    return {"epochs": np.array(sorted(subject.snapshots)), **{name: np.stack(of) for name, of in each.items()}}
