"""Grad-CAM: the maps of a layer, weighted by what they do for a class."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cnnjax.analysis.attribution.unit_scores import Attribution, UnitScores, of_each
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images, ValueRange
from cnnjax.analysis.inputs.layers import find_layer
from cnnjax.analysis.inputs.norms import wide
from cnnjax.analysis.inputs.units import Unit
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.intervene import intervene
from cnnjax.program.names import leaf_names, named
from cnnjax.program.tracing import program_of


@checked()
def grad_cam(
    f: Callable[[Array], Any],
    images: Images,
    layer: str,
    unit: Unit | None = None,
    *,
    output: str | None = None,
    resize: bool = True,
    value_range: ValueRange = (0, 1),
    batch_size: int = 32,
) -> Attribution:
    """Where the maps of a layer speak for a class: `relu(Σ_c α_c A_c)`, `α_c` the mean over the map of `∂s / ∂A_c`.

    A is the activation of f with the key or path `layer`, (batch, *space, channels), "conv5"; s is the value of `unit`
    in the activation `output`, by default the network's output, and there the most probable class. The result has one
    channel. It has the images' size, by linear interpolation of the map over the whole image, or without `resize` the
    map's.

    Raises InputError as `saliency` does, and for a `layer` that is unknown, has no maps or is not what the unit is made
    of.
    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", section 3.
    """
    scores = UnitScores(f, images, output, unit, value_range=value_range, batch_size=batch_size)
    name = _find_maps(f, scores.images, layer)
    cam = compiled(_cam, f, static=("name", "position"))
    values, found = scores.evaluate(cam, scores.images, name=name)
    if resize:
        found = np.asarray(jax.image.resize(found, (*scores.images.shape[:-1], 1), "linear"))
    return scores.attribution(found, values)


def _find_maps(f: Callable[[Array], Any], images: Array, layer: str) -> str:
    """What `intervene` calls the maps with that key or path.

    Raises InputError, naming the maps that there are, where it is none of them.
    """
    program, result = program_of(f, images)
    flow = Dataflow(program)
    names = [named(result, flow)[value][0] for value in flow.results]
    paths, shapes = leaf_names(result), [leaf.shape for leaf in jax.tree.leaves(result)]
    fitting = [i for i, shape in enumerate(shapes) if len(shape) == images.ndim and 0 not in shape]
    choices = [paths[i] for i in fitting]
    keys = [path.rpartition("/")[-1] for path in paths]
    called = [i for i, path in enumerate(paths) if path == layer] or [i for i, key in enumerate(keys) if key == layer]
    if called and not {*called} & {*fitting}:
        raise InputError(
            f"layer={layer!r} has shape {shapes[called[0]]}: expected maps like the images, (batch, *space, channels), "
            f"as {', '.join(choices) or 'f returns none'}"
        )
    return names[fitting[find_layer(layer, choices)]]


def _cam(f: Callable[[Array], Any], images: Array, index: Array, position: int, name: str) -> tuple[Array, Array]:
    """The units' values, and the weighted sums of the maps of that name."""

    def total(offset: Array | None) -> tuple[Array, tuple[Array, Array]]:
        held: list[Array] = []

        def edit(other: str, a: Array) -> Array:
            if other != name:
                return a
            held.append(a)
            return a if offset is None else a + offset

        values = of_each(intervene(f, edit), images, index, position)
        return values.sum(), (values, held[0])

    # The derivative with respect to an activation is that with respect to what is added to it.
    like = jax.eval_shape(total, None)[1][1]
    zeros = jnp.zeros(like.shape, like.dtype)
    flow = Dataflow(jax.make_jaxpr(lambda offset: total(offset)[0])(zeros))
    if flow.inputs[0] not in flow.claim(flow.results[0])[1]:
        raise InputError(
            f"the unit is not made of {name!r}: name a layer before it, and return its maps as the next layer reads"
        )
    gradient, (values, maps) = jax.grad(total, has_aux=True)(zeros)
    weights = wide(gradient).mean(tuple(range(1, maps.ndim - 1)), keepdims=True)
    return values, jax.nn.relu((weights * wide(maps)).sum(-1, keepdims=True))
