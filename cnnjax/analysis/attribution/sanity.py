"""What a picture says of the network: checks of attributions by randomised weights, and of whether they copy.

An explanation is a function `explain(f, images) -> maps`, signed maps like the images; with a rule of projection:
`lambda f, x: saliency(f, x, "logits", unit, rule="guided").maps`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.tree_util import KeyPath, Partial
from jaxtyping import Array, Float, PyTree

from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.door import checked
from cnnjax.door.arrays import as_numpy
from cnnjax.errors import InputError
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.names import path_name
from cnnjax.program.tracing import program_of

Explain = Callable[[Callable[[Array], Any], Any], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Cascade:
    """How pictures change as layers are randomised one after the other, from the top down."""

    layers: tuple[str, ...]
    """In the order in which they were randomised: after row i the first i + 1 of them are."""
    signed: Float[np.ndarray, "layers images"]
    """Spearman's rank correlation of each picture with the network's own; NaN where one of them is constant."""
    absolute: Float[np.ndarray, "layers images"]
    """The same of absolute values."""
    maps: tuple[Float[np.ndarray, "images *space channels"], ...]
    """The network's own pictures, then those after each layer."""


@checked()
def cascading_randomization(
    apply: Callable[[Any, Array], Any],
    params: PyTree,
    fresh: PyTree,
    images: Images,
    explain: Explain,
) -> Cascade:
    """Replace a network's parameters by fresh ones, layer by layer from the top, and see what becomes of its pictures.

    An explanation of what the network has learnt must lose its resemblance. Those that do not, as guided
    backpropagation and the deconvnet, show what the image and the architecture say.

    `apply(params, images)` is the network, `fresh` are parameters of the same structure drawn anew, as by another key:
    for a Flax model, `model.init(other_key, images)`. A layer is the module that holds a parameter; they go by the
    order in which the network first reads them; one that is fresh already is left out. `explain` gets networks as
    `jax.tree_util.Partial(apply, params)`, so that what is compiled for one serves all.

    Raises InputError for parameters of another structure or shape, for fresh ones that are the same, pictures that are
    not like the images, and as `explain` does. Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps".
    """
    images = finite_images(images)
    order = _layers(apply, params, fresh, images)
    structure, leaves = jax.tree.structure(params), jax.tree.leaves(params)
    maps = [_maps(explain, Partial(apply, params), images)]
    for members in order.values():
        for i in members:
            leaves[i] = jax.tree.leaves(fresh)[i]
        maps.append(_maps(explain, Partial(apply, jax.tree.unflatten(structure, leaves)), images))
    signed, absolute = (
        np.stack([_rank_correlation(change(maps[0]), change(other)) for other in maps[1:]])
        for change in (np.asarray, np.abs)
    )
    return Cascade(tuple(order), signed, absolute, tuple(maps))


@checked()
def image_recovery(f: Callable[[Array], Any], images: Images, explain: Explain) -> Float[np.ndarray, " images"]:
    """Pearson's correlation of each picture with the image itself, over pixels and channels.

    Near 1 the picture is a copy of the image, whatever the network: a random network's is the measure to compare with.
    NaN where a picture or an image is constant. Raises InputError for pictures that are not like the images, and as
    `explain` does. Source: Nie, Zhang & Patel 2018, "A Theoretical Explanation for Perplexing Behaviors of
    Backpropagation-based Visualizations".
    """
    images = finite_images(images)
    return _correlation(_maps(explain, f, images), images)


def _maps(explain: Explain, f: Callable[[Array], Any], images: np.ndarray) -> np.ndarray:
    maps = as_numpy("what explain gave", explain(f, images)).astype(np.float64)
    if maps.shape != images.shape or not np.isfinite(maps).all():
        raise InputError(f"explain gave {maps.shape} for images {images.shape}: expected finite maps of the same shape")
    return maps


def _layers(apply: Callable[..., Any], params: Any, fresh: Any, images: np.ndarray) -> dict[str, list[int]]:
    """The leaves of each layer, from the top down."""
    paths, structure = jax.tree.flatten_with_path(params)
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (params, fresh)]
    if structure != jax.tree.structure(fresh) or shapes[0] != shapes[1]:
        raise InputError("fresh has other parameters than params: draw them by the same initialiser with another key")
    flow = Dataflow(program_of(apply, params, images)[0])
    first = [flow.first_read(i) for i in flow.inputs[: len(paths)]]
    order: dict[str, list[int]] = {}
    for i in sorted(range(len(paths)), key=lambda i: first[i], reverse=True):
        order.setdefault(_module(paths[i][0]), []).append(i)
    # A layer goes by its first parameter, whatever it reads later.
    order = dict(sorted(order.items(), key=lambda item: min(first[i] for i in item[1]), reverse=True))
    news = jax.tree.leaves(fresh)
    order = {k: of for k, of in order.items() if not all(np.array_equal(paths[i][1], news[i]) for i in of)}
    if not order:
        raise InputError("fresh has the same numbers as params: draw them by another key")
    return order


def _module(path: KeyPath) -> str:
    """The module above a parameter; the parameter itself where there is none."""
    name = path_name(path, otherwise="params")
    return name.rpartition("/")[0] or name


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " images"]:
    from scipy.stats import rankdata

    return _correlation(*(rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (a, b)))


def _correlation(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " images"]:
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
