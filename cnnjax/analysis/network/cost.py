"""What a function of images costs, read off its jaxpr: multiply-adds, parameters and activations, layer by layer."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey
from jaxtyping import PyTree

from cnnjax.analysis.inputs.images import Images, image_struct
from cnnjax.door import checked
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.names import named
from cnnjax.program.tracing import program_of


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What it takes to compute one activation from those before it."""

    multiply_adds: int
    """Products that are added up, by convolutions and matrix products."""
    parameters: int
    """Numbers in the parameters that this layer is the first to read."""
    activation_bytes: int
    """Size of the activation."""
    inexact: tuple[str, ...] = ()
    """Primitives whose multiply-adds are a bound, left out or not known; see `cost`."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a function of a batch of images costs: its layers in forward order, and their sums."""

    layers: dict[str, LayerCost]

    @property
    def multiply_adds(self) -> int:
        """Of all layers; twice that is the number of floating-point operations."""
        return sum(layer.multiply_adds for layer in self.layers.values())

    @property
    def parameters(self) -> int:
        """Numbers in all parameters that the function reads."""
        return sum(layer.parameters for layer in self.layers.values())

    @property
    def activation_bytes(self) -> int:
        """Size of all activations together."""
        return sum(layer.activation_bytes for layer in self.layers.values())

    @property
    def inexact(self) -> tuple[str, ...]:
        """Primitives whose multiply-adds are a bound, left out or not known; see `cost`."""
        return tuple(sorted({name for layer in self.layers.values() for name in layer.inexact}))


@checked()
def cost(f: Callable[..., Any], images: Images, params: PyTree = None) -> Cost:
    """The multiply-adds, parameters and activation bytes of `f(images)`, or with `params` of `f(params, images)`.

    A convolution from c to m channels in g groups with a window of k positions and n output positions takes
    `n k c m / g` multiply-adds for each image, the product of an a×b by a b×c matrix `a b c`. As in published figures,
    products with the zeros of padding count; those between the pixels of a transposed convolution's input do not.
    Not counted is what is neither a convolution nor a matrix product: biases, normalisation, activations, pooling.

    Every array that f returns is a layer, an activation of a model's `(logits, activations)` by its own name, others
    by their path; one returned twice counts once. Layers are in the order in which f computes them. All that an
    activation needs is its own, but for what an earlier one needs too; what none needs is left out.

    Parameters are the floating arrays in `params`, which may be `jax.ShapeDtypeStruct`s: nothing needs to be
    initialised. Where that is a mapping with the key "params", as a Flax model's variables are, only that part counts:
    `cost(model.apply, images, variables)`. Without `params`, they are the floating `jax.Array`s that f closes over,
    the statistics of batch normalisation among them. Shared ones count once, for the layer that reads them first.

    `f` is any JAX function; it is traced, not run, and `images`, (batch, height, width, channels) or (batch, length,
    channels), may be a `jax.ShapeDtypeStruct`. A scan counts as often as it runs. `inexact` names what could not be
    counted: "cond", its costliest branch counts; "while", one round counts; "fft" and others with an arithmetic of
    their own, kernels and callbacks ("pallas_call", "ffi_call", "pure_callback"), and every operation that is not
    known, which count no more than one run of the program that they hold, if they hold one.

    Raises InputError for images of another rank or dtype, or without a pixel.
    """
    images = image_struct(images)
    traced, result = program_of(f, *(() if params is None else (params,)), images)
    flow = Dataflow(traced)
    if params is None:
        # Constants that f makes itself, such as the mean of pixels, are no `jax.Array` while it is traced.
        sizes = {v: _size(array) for v, array in flow.constants.items() if isinstance(array, jax.Array)}
    else:
        sizes = dict(zip(flow.inputs, _sizes(params), strict=False))
    layers: dict[str, LayerCost] = {}
    for value, (name, array) in named(result, flow).items():
        total, read = flow.claim(value)
        layers[name] = LayerCost(
            multiply_adds=total.multiply_adds,
            parameters=sum(sizes.get(v, 0) for v in read),
            activation_bytes=math.prod(array.shape) * array.dtype.itemsize,
            inexact=tuple(sorted(total.inexact)),
        )
    return Cost(layers)


def _sizes(params: Any) -> list[int]:
    """How many parameters each leaf holds; none where it is not of a Flax model's own collection."""
    flax = isinstance(params, Mapping) and "params" in params
    leaves = jax.tree.leaves_with_path(params)
    return [_size(leaf) if not flax or path[0] == DictKey("params") else 0 for path, leaf in leaves]


def _size(array: Any) -> int:
    return math.prod(jnp.shape(array)) if jnp.issubdtype(jnp.result_type(array), jnp.floating) else 0
