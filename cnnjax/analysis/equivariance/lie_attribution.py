"""Which layer breaks equivariance: the Lie derivative of an output as the exact sum of what each layer adds to it."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnnjax.analysis.equivariance.lie_derivative import failure, mean_square, prepare
from cnnjax.analysis.fields.layout import Layout
from cnnjax.analysis.inputs.batches import image_batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.inputs.layers import find_layer
from cnnjax.analysis.inputs.norms import wide
from cnnjax.analysis.transforms.generators import Generator
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops import Fill
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.intervene import intervene
from cnnjax.program.names import leaf_names, named
from cnnjax.program.tracing import program_of

ByName = dict[str, Any]
"""Something for each activation."""


@dataclasses.dataclass(frozen=True, eq=False)
class LieContribution:
    """What one layer adds to the Lie derivative L of the output."""

    local: float
    """E ‖ℓ‖² / dim: the local equivariance error that the layer's activation has if all before it are exact."""
    field: Float[np.ndarray, "images ..."]
    """J ℓ, the layer's failure as it arrives at the output. Over the layers these add up to L."""
    share: float
    """Σ ⟨J ℓ, L⟩ / Σ ‖L‖² over the images; over the layers these add up to 1. Negative where a layer undoes what
    others do, nan where L is 0."""

    @property
    def lee(self) -> float:
        """E ‖J ℓ‖² / dim of the output: the error that it has if all other layers are exact."""
        return float(np.square(self.field, dtype=np.float64).mean())


@checked()
def lie_attribution(
    f: Callable[[jax.Array], Any],
    images: Images,
    generator: str,
    *,
    layer: str | None = None,
    resampler: str = "fourier",
    fill: Fill | None = None,
) -> dict[str, LieContribution]:
    """What each layer adds to the Lie derivative of an activation, by name, in the order of computation.

    With activations `a_i = f_i(x, a_1, …, a_{i−1})`, the chain rule splits the Lie derivative of the output exactly:

        L = Σ_i J_i ℓ_i,    ℓ_i = Df_i · (G x, G a_1, …, G a_{i−1}) − G a_i

    ℓ_i is the failure of layer i where all that it reads moves as it should, and J_i the derivative of the output with
    respect to a_i, through all layers after it, in whatever graph. A layer is what lies between arrays that `f`
    returns, so return those that matter: an activation function whose result is not returned belongs to the next layer.
    Under "fourier", a convolution of stride 1 with circular padding has ℓ = 0.

    `layer` is the output, its name as `intervene` gives it, or its path in what f returns; None is the activation that
    is computed last, whenever copies of others are made: of one that is returned transposed the array counts. It is
    the last of the results; there are none for what is computed later. Each layer takes one more pass of forward-mode
    differentiation. The other arguments are those of `lie_derivative`.

    Raises InputError as `lie_derivative` does, for a layer that there is not, and where a contribution is not finite.
    Source: Gruver, Finzi, Goldblum & Wilson 2022, whose split of a chain of layers this is, for any graph of them.
    """
    x, action, layout = prepare(f, images, Generator(generator, resampler, fill))
    plan = _plan(f, x, layout, layer)
    failures = compiled(_failures, f, static=("action", "plan"))
    push = compiled(_pushed, f, static=("plan",))
    fields: dict[str, list[np.ndarray]] = {name: [] for name in plan.names}
    errors: dict[str, list[np.ndarray]] = {name: [] for name in plan.names}
    for batch, new in image_batches(x):
        tangents, squares = failures(batch, action=action, plan=plan)
        for name in plan.names:
            errors[name].append(np.asarray(squares[name])[: len(new)])
            field = push(batch, tangents, {other: other == name for other in plan.names}, plan=plan)
            fields[name].append(np.asarray(field)[: len(new)])
    local = {name: float(np.concatenate(parts).mean()) for name, parts in errors.items()}
    return _contributions({name: np.concatenate(parts) for name, parts in fields.items()}, local)


class _Plan(NamedTuple):
    names: tuple[str, ...]
    """The activations up to the output, in the order of computation."""
    places: tuple[tuple[str, Layout], ...]
    """The name and the layout of every activation."""
    output: int
    """The position of the output among the leaves of f's result."""


def _plan(f: Callable[[jax.Array], Any], x: np.ndarray, layout: Any, layer: str | None) -> _Plan:
    program, result = program_of(f, x)
    flow = Dataflow(program)
    names = {value: name for value, (name, _) in named(result, flow).items()}
    order = list(names)
    if layer is None:
        # Of the last array and its copies the first: the others are made of it.
        last = next(value for value in order if flow.source(value) == flow.source(order[-1]))
        output = flow.results.index(last)
    else:
        output = find_layer(layer, leaf_names(result))
    before = order[: order.index(flow.results[output]) + 1]
    places = tuple((names[v], place) for v, place in zip(flow.results, jax.tree.leaves(layout), strict=True))
    return _Plan(tuple(names[value] for value in before), places, output)


def _failures(f: Callable[[jax.Array], Any], x: Array, action: Generator, plan: _Plan) -> tuple[ByName, ByName]:
    """ℓ of each layer up to the output, and its mean square for each image."""
    places = dict(plan.places)

    def arrivals(x: Array, t: Array) -> ByName:
        found = {}

        def moved(name: str, a: Array) -> Array:
            """The same activation with the tangent G a for t, whatever arrives here."""
            found[name] = a
            a = lax.stop_gradient(a)
            return a + t.astype(a.dtype) * action.of_activation(a, places[name]).astype(a.dtype)

        intervene(f, moved)(x)
        return found

    zero, one = jnp.zeros((), x.dtype), jnp.ones((), x.dtype)
    values, tangents = jax.jvp(arrivals, (x, zero), (action.of_images(x).astype(x.dtype), one))
    found = {name: failure(action, values[name], tangents[name], places[name]) for name in plan.names}
    return found, {name: mean_square(tangent) for name, tangent in found.items()}


def _pushed(f: Callable[[jax.Array], Any], x: Array, tangents: ByName, chosen: ByName, plan: _Plan) -> Array:
    """J ℓ of the chosen layer, chosen at run time: all layers share one program."""

    def output(added: ByName) -> Array:
        edited = intervene(f, lambda name, a: a + added[name].astype(a.dtype) if name in added else a)
        return jax.tree.leaves(edited(x))[plan.output]

    tangents = {name: jnp.where(chosen[name], t, jnp.zeros_like(t)) for name, t in tangents.items()}
    return wide(jax.jvp(output, (jax.tree.map(jnp.zeros_like, tangents),), (tangents,))[1])


def _contributions(fields: dict[str, np.ndarray], local: dict[str, float]) -> dict[str, LieContribution]:
    """Raises InputError, naming the layer, where one is not finite."""
    for name, field in fields.items():
        if not (math.isfinite(local[name]) and np.isfinite(field).all()):
            raise InputError(f"the derivative of activation {name}, or of the output by it, is not finite")
    total = np.sum([field.astype(np.float64) for field in fields.values()], axis=0)
    scale = np.square(total).sum()
    with np.errstate(invalid="ignore"):
        shares = {name: float(np.divide((field * total).sum(), scale)) for name, field in fields.items()}
    return {name: LieContribution(local[name], field, shares[name]) for name, field in fields.items()}
