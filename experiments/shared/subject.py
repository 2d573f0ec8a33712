"""A network that is looked at, and the images that it is shown."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from cnnjax import analysis
from cnnjax.analysis.inputs.layers import NAMED_LAYERS
from cnnjax.errors import InputError
from cnnjax.networks.calls import evaluation, init, logits_of
from cnnjax.program.names import path_name


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """What the network is shown."""

    pixels: np.ndarray
    """uint8 (images, height, width, channels)."""
    labels: np.ndarray | None
    """int (images,); None where the classes are not known."""
    class_names: tuple[str, ...] | None
    name: str
    """How many of what, in a few words."""
    note: str
    """What to say beside a number."""


Apply = Callable[[Any, Any], tuple[Any, Mapping[str, Any]]]
"""`(variables, images)` to `(logits, activations)`; one object for an architecture, so that networks share programs."""

LOGITS = "logits"


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A network, the images, and the same network at earlier epochs of its training.

    Raises InputError for weights that are not finite.
    """

    title: str
    apply: Apply
    variables: PyTree
    images: Images
    draw: Callable[[], PyTree]
    """Other variables of the same shapes, that no training has made what they are."""
    snapshots: Mapping[int, PyTree] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        # Compiled rectifiers may make 0 of NaN, and nothing would be seen of it later.
        for path, leaf in jax.tree.leaves_with_path(self.variables):
            if not np.isfinite(np.asarray(leaf, np.float32)).all():
                raise InputError(
                    f"the weights {path_name(path)} contain NaN or infinity: train the network again, or mend the file"
                )

    def forward(self, variables: PyTree | None = None, *, only: tuple[str, ...] | None = None) -> Partial:
        """Images to activations by layer, the logits the last of them, with these or other variables.

        Its arguments are `by_layer(variables)`; networks of one architecture share one compilation. `only` names the
        activations wanted; None: all.
        """
        chosen = self.variables if variables is None else variables
        places = tuple(_place(path) for path, _ in jax.tree.leaves_with_path(chosen))
        return Partial(_activations(self.apply, jax.tree.structure(chosen), places, only), by_layer(chosen))

    def floats(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some of the images, float32 in [0, 1]."""
        return self.images.pixels[rows].astype(np.float32) / np.float32(255)

    def class_name(self, index: int) -> str:
        """What a class is called; its number where that is not known."""
        names = self.images.class_names
        return names[index] if names is not None and index < len(names) else f"class {index}"

    def fresh(self) -> PyTree:
        """The network's variables as they are without training."""
        return self.draw()

    def digest(self) -> str:
        """A fingerprint of the weights and the images."""
        found = hashlib.sha256()
        struct = jax.ShapeDtypeStruct((2, *self.images.pixels.shape[1:]), jnp.float32)
        inside = jax.make_jaxpr(self.apply)(self.variables, struct).consts  # of a function that holds its weights
        for leaf in (*jax.tree.leaves(self.variables), *inside, self.images.pixels):
            array = np.asarray(leaf)
            found.update(f"{array.shape}{array.dtype}".encode())
            found.update(array.tobytes())
        return found.hexdigest()


def by_layer(variables: PyTree) -> dict[str, dict[str, Any]]:
    """Variables by the network's own submodules, a layer's parameters and its statistics together.

    Of Flax's "params/stage1/conv/kernel" the layer is stage1, of PyTorch's "params/layer1.0.conv1.weight" it is
    layer1.0.conv1.
    """
    layers: dict[str, dict[str, Any]] = {}
    for path, leaf in jax.tree.leaves_with_path(variables):
        layer, member = _place(path)
        layers.setdefault(layer, {})[member] = leaf
    return layers


def _place(path: Any) -> tuple[str, str]:
    kind, *rest = path_name(path).split("/")
    if len(rest) > 1:
        return rest[0], ".".join((kind, *rest[1:]))
    module, _, name = (rest or [kind])[0].rpartition(".")
    return module or name, f"{kind}.{name}"


@functools.lru_cache(maxsize=256)
def _activations(
    apply: Apply, structure: Any, places: tuple[tuple[str, str], ...], only: tuple[str, ...] | None
) -> Callable[[PyTree, Array], dict[str, Array]]:
    def activations(layers: PyTree, images: Array) -> dict[str, Array]:
        variables = jax.tree.unflatten(structure, [layers[layer][member] for layer, member in places])
        logits, found = apply(variables, images)
        every = with_logits(logits, found)
        return every if only is None else {name: every[name] for name in only}

    return activations


def with_logits(logits: Array, activations: Mapping[str, Array]) -> dict[str, Array]:
    """The activations by name and the logits, once: the last activation of many networks is them."""
    others = {name: a for name, a in activations.items() if a is not logits and name != LOGITS}
    if any(a.shape == logits.shape for a in others.values()):
        logits = logits + jnp.zeros((), logits.dtype)  # an array of its own, should another be the same
    return {**others, LOGITS: logits}


@functools.lru_cache(maxsize=64)
def _scores(activations: Callable[..., Any]) -> Callable[..., Any]:
    return lambda layers, images: activations(layers, images)[LOGITS]


def classifier(subject: Subject) -> Partial:
    """Images to logits; networks of one architecture share one compilation."""
    f = subject.forward(only=(LOGITS,))
    return Partial(_scores(f.func), *f.args)


@functools.lru_cache(maxsize=64)
def of_model(model: nn.Module) -> Apply:
    """What a model computes, the same object for equal models; one that returns logits only has no activations."""
    evaluate = evaluation(model)

    def apply(variables: Any, images: Any) -> tuple[Any, Mapping[str, Any]]:
        found = evaluate(variables, images)
        pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)
        return found if pair else (logits_of(found), {})

    return apply


def drawn(model: nn.Module, images: "Images") -> Callable[[], PyTree]:
    """Variables as a model's training begins with, by a key of their own."""
    return lambda: init(model, jax.random.key(1_000_003), image_shape=images.pixels.shape[1:])


def map_fields(apply: Apply, variables: PyTree, images: np.ndarray) -> dict[str, analysis.ReceptiveField]:
    """The receptive field of every layer that is a map, in forward order; nothing is run.

    Raises InputError for images that the network cannot take, and a network without maps.
    """
    struct = jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32)

    def forward(images: Array) -> Any:
        # Made in the trace, so that they take no memory.
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
        return dict(apply(zeros, images)[1])

    fields, shapes = analysis.receptive_field(forward, struct), jax.eval_shape(forward, struct)
    layers = analysis.cost(apply, struct, variables).layers
    maps = {
        name: fields[name]
        for name in layers
        if name in fields and shapes[name].ndim >= 4 and np.prod(shapes[name].shape[1:3]) > 1
    }
    if not maps:
        raise InputError(f"this network has no maps: choose a convolutional network, and {NAMED_LAYERS}")
    return maps


def even(items: Sequence[Any], count: int) -> list[Any]:
    """`count` of the items, at even steps from the first to the last; all of fewer."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]
