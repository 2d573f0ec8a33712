"""The learning signal, layer by layer: how large a loss's gradient is at each parameter and at each activation."""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey, KeyPath, keystr
from jaxtyping import Array, PyTree

from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.norms import norm
from cnnjax.door import checked
from cnnjax.errors import InputError, NotFiniteError
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.intervene import intervene
from cnnjax.program.names import named, path_name
from cnnjax.program.tracing import program_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Signal:
    """How large the numbers of an array are, and a loss's gradient with respect to them."""

    name: str = dataclasses.field(metadata={"static": True})
    layer: str = dataclasses.field(metadata={"static": True})
    """The module that a parameter belongs to; an activation is a layer of its own."""
    size: int = dataclasses.field(metadata={"static": True})
    """How many numbers there are; for an activation, those of the whole batch."""
    norm: Any
    """‖a‖, the root of the sum of squares; a float."""
    gradient_norm: Any
    """‖∂loss/∂a‖; a float."""

    @property
    def rms(self) -> float:
        """The root mean square of the numbers, ‖a‖ / √size; that of an activation is over units and images."""
        return self.norm / math.sqrt(self.size) if self.size else math.nan

    @property
    def gradient_rms(self) -> float:
        """The root mean square of the gradient, ‖∂loss/∂a‖ / √size."""
        return self.gradient_norm / math.sqrt(self.size) if self.size else math.nan

    @property
    def relative_gradient(self) -> float:
        """‖∂loss/∂a‖ / ‖a‖: by what part of itself gradient descent of rate 1 changes a parameter in a step.

        NaN where a is 0, as biases are that begin there.
        """
        return self.gradient_norm / self.norm if self.norm else math.nan

    @property
    def dead(self) -> bool:
        """Whether the gradient is exactly 0: nothing of the loss arrives."""
        return self.gradient_norm == 0


@dataclasses.dataclass(frozen=True)
class GradientFlow:
    """The learning signal of one batch, in forward order."""

    loss: float
    parameters: dict[str, Signal]
    """By path, in the order in which the loss first reads them; those that it never reads come last."""
    activations: dict[str, Signal]
    """By name, as `intervene` has it, in the order in which they are computed; empty where the loss returns none."""

    @property
    def layers(self) -> dict[str, Signal]:
        """The parameters of each module as one vector."""
        parts: dict[str, list[Signal]] = collections.defaultdict(list)
        for signal in self.parameters.values():
            parts[signal.layer].append(signal)
        return {
            layer: Signal(
                name=layer,
                layer=layer,
                size=sum(signal.size for signal in signals),
                norm=math.hypot(*(signal.norm for signal in signals)),
                gradient_norm=math.hypot(*(signal.gradient_norm for signal in signals)),
            )
            for layer, signals in parts.items()
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row for each parameter and then for each activation, as `pandas.DataFrame` takes them."""
        columns = ("name", "layer", "size", "norm", "rms", "gradient_norm", "gradient_rms", "relative_gradient", "dead")
        return [
            {"kind": kind, **{column: getattr(signal, column) for column in columns}}
            for kind, signals in (("parameter", self.parameters), ("activation", self.activations))
            for signal in signals.values()
        ]


@checked()
def gradient_flow(loss: Callable[..., Any], params: PyTree, batch: PyTree) -> GradientFlow:
    """How large the gradient of `loss(params, batch)` is with respect to each parameter and each activation.

    `loss` is any JAX function that returns a scalar, or `(scalar, activations)`. `params`, of which the floating leaves
    count, and `batch` are any pytrees: a Flax model's `params`, an `nnx.State`, one half of `equinox.partition`. The
    gradient with respect to an activation is that of all ways from there to the loss; where the loss is the mean over
    n images, each image's own gradient has the factor 1 / n. Squares are summed at the scale of the largest, so norms
    vanish and overflow no sooner than the gradient itself.

    Given as a `jax.tree_util.Partial(function)`, a loss is compiled once and serves for other parameters and batches of
    the same shapes; any other function is traced anew by each call, for what it closes over may have changed. A
    derivative of its own (`jax.custom_vjp`) holds unless activations are made inside, see `intervene`.

    Gradients that are not finite are results, and passed on. Raises InputError for a loss that is no scalar, for
    parameters without a floating array, for a batch that is empty or not finite; and NotFiniteError, which is one, for
    a loss that is not finite, naming the parameter or else the first activation that is not.
    """
    if not any(_is_floating(leaf) for leaf in jax.tree.leaves(params)):
        raise InputError("params have no floating array: there is nothing to differentiate the loss with respect to")
    _check_batch(batch)
    measured = compiled(_signals, loss)(params, batch)
    value, parameters, activations = jax.tree.map(float, jax.device_get(measured))
    flow = GradientFlow(value, {s.name: s for s in parameters}, {s.name: s for s in activations})
    _check_finite(flow)
    return flow


def _signals(loss: Callable[..., Any], params: Any, batch: Any) -> tuple[Array, tuple[Signal, ...], tuple[Signal, ...]]:
    """The loss, and the signals of the parameters and of the activations in forward order."""
    program, result = program_of(loss, params, batch)
    has_activations = isinstance(result, tuple) and len(result) == 2
    _check_scalar(result[0] if has_activations else result)
    flow = Dataflow(program)
    made = {name: array for v, (name, array) in named(result, flow).items() if v != flow.results[0]}
    made = {name: array for name, array in made.items() if _is_floating(array)}

    paths, structure = jax.tree.flatten_with_path(params)
    leaves = [leaf for _, leaf in paths]
    order = sorted(range(len(leaves)), key=lambda i: flow.first_read(flow.inputs[i]))
    order = [i for i in order if _is_floating(leaves[i])]

    def offset(floating: list[Array], offsets: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        whole, activations = list(leaves), {}
        for i, leaf in zip(order, floating, strict=True):
            whole[i] = leaf

        def edit(name: str, a: Array) -> Array:
            if name in offsets:
                a = activations[name] = a + offsets[name]
            return a

        out = intervene(loss, edit)(structure.unflatten(whole), batch)
        return out[0] if has_activations else out, activations

    # The derivative with respect to an activation is that with respect to what is added to it.
    zeros = {name: jnp.zeros(array.shape, array.dtype) for name, array in made.items()}
    differentiate = jax.value_and_grad(offset, argnums=(0, 1), has_aux=True)
    (value, activations), (gradients, at) = differentiate([leaves[i] for i in order], zeros)
    parameters = (
        _signal(*_names(paths[i][0]), leaves[i], gradient) for i, gradient in zip(order, gradients, strict=True)
    )
    return value, tuple(parameters), tuple(_signal(name, name, activations[name], at[name]) for name in made)


def _signal(name: str, layer: str, array: Array, gradient: Array) -> Signal:
    return Signal(name, layer, math.prod(jnp.shape(array)), norm(array), norm(gradient))


def _names(path: KeyPath) -> tuple[str, str]:
    """A parameter's name, and that of the module above it."""
    if len(path) > 1 and path[-1] == GetAttrKey("value"):  # of an `nnx.Variable`, which is the parameter
        path = path[:-1]
    name = path_name(path, otherwise="params")
    return name, path_name(path[:-1], otherwise=name)


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.floating)


def _check_batch(batch: Any) -> None:
    arrays: Sequence[Any] = jax.tree.leaves_with_path(batch)
    if not arrays or any(0 in jnp.shape(array) for _, array in arrays):
        raise InputError(f"batch is empty, {[jnp.shape(array) for _, array in arrays]}: give at least one image")
    for path, array in arrays:
        if _is_floating(array) and not jnp.isfinite(array).all():
            raise InputError(f"batch{keystr(path)} contains NaN or infinity, and so would the gradient: repair it")


def _check_scalar(loss: Any) -> None:
    if not (isinstance(loss, jax.ShapeDtypeStruct) and loss.shape == () and _is_floating(loss)):
        what = f"{loss.dtype}{list(loss.shape)}" if isinstance(loss, jax.ShapeDtypeStruct) else type(loss).__name__
        raise InputError(f"loss returns {what}: expected a floating scalar, or (scalar, activations); take a mean")


def _check_finite(flow: GradientFlow) -> None:
    if math.isfinite(flow.loss):
        return
    for kind, signals in (("parameter", flow.parameters), ("activation", flow.activations)):
        for name, signal in signals.items():
            if not math.isfinite(signal.norm):
                raise NotFiniteError(f"the loss is {flow.loss}, and {kind} {name} is the first that is not finite")
    raise NotFiniteError(f"the loss is {flow.loss}, though every parameter and every activation it returns is finite")
