"""A network of Flax NNX as a Linen module: its weights apart from it, drawn anew for every key."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError, first_line
from cnnjax.networks.calls import MODES


@checked()
def from_nnx(make: Any, **fields: Any) -> nn.Module:
    """A network of Flax NNX as a Linen module, which training, `bind` and every experiment take.

        model = models.from_nnx(Net, width=16)
        variables = model.init(key, images)  # Net(width=16, rngs=nnx.Rngs(key)), its numbers apart from it
        forward = models.bind(model, variables)

    `make` is the class, whose constructor takes `rngs` and the `fields`. Its parameters are the variables "params", by
    the names of its attributes; the statistics of batches are "batch_stats", and other variables "others". Each call
    makes the network of its variables: with `train` it is as after `Net.train()`, without as after `Net.eval()`, and
    told so where its call takes `train`. Dropout then draws from keys of the step.

    Raises InputError for a network that has weights already, for fields that the class does not take, and for what
    does not make an NNX module.
    """
    from flax import nnx

    name = getattr(make, "__name__", shown(make))
    if isinstance(make, nnx.Module):
        kind = type(make).__name__
        raise InputError(f"make is a network of {kind} with weights: give models.from_nnx({kind}, ...), its class")
    if not (isinstance(make, type) and issubclass(make, nnx.Module)):
        raise InputError(f"make={shown(make)} must be a class of nnx.Module")
    try:
        inspect.signature(make.__init__).bind(None, rngs=None, **fields)
    except TypeError as error:
        raise InputError(f"make={name} does not take rngs and these fields: {error}") from error
    settings = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in fields.items())
    try:
        _abstract(make, settings)
    except InputError:
        raise
    except Exception as error:  # of a user's own code
        said = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"make={name} cannot be made with {fields}: {said}") from error
    return NnxNetwork(make, settings)


class NnxNetwork(nn.Module):
    """What `from_nnx` makes: a network of the class `make` with these fields."""

    make: Callable[..., Any]
    """The class of an NNX module."""
    settings: tuple[tuple[str, Any], ...] = ()
    """The fields that it is made with, by name."""

    @nn.compact
    def __call__(self, images: Any, *, train: bool = False) -> Any:
        from flax import nnx

        abstract = _abstract(self.make, self.settings)
        if self.is_initializing():
            made = _states(self.make(rngs=nnx.Rngs(self.make_rng("params")), **dict(self.settings)))
            for collection, tree in _nested(abstract.places, made).items():
                for name, value in tree.items():
                    self.put_variable(collection, name, value)
        network = nnx.merge(abstract.graph, jax.tree.unflatten(abstract.structure, list(self._leaves(abstract, train))))
        network.train() if train else network.eval()
        call = inspect.signature(type(network).__call__).parameters
        result = network(images, **{name: value is train for name, value in MODES.items() if name in call})
        if train:
            after = dict(zip(_places(nnx.state(network)), jax.tree.leaves(nnx.state(network)), strict=True))
            kept = [place for place in abstract.places if place.collection not in ("params", _DRAWN)]
            for collection, tree in _nested(kept, [after[place] for place in kept]).items():
                for name, value in tree.items():
                    if self.is_mutable_collection(collection):
                        self.put_variable(collection, name, value)
        return result

    def _leaves(self, abstract: "_Abstract", train: bool) -> Iterator[Array]:
        """The numbers of the network: its variables, and keys of this call where it draws."""
        drawn = None
        for number, (place, like) in enumerate(zip(abstract.places, abstract.leaves, strict=True)):
            if place.collection != _DRAWN:
                value = self.get_variable(place.collection, place.path[0])
                for part in place.path[1:]:
                    value = value[part]
                yield value
            elif not jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
                yield jnp.zeros(like.shape, like.dtype)
            else:
                if drawn is None:
                    drawn = self.make_rng("dropout") if train else jax.random.key(0)
                key = jax.random.fold_in(drawn, number)
                yield jax.random.split(key, like.shape) if like.shape else key


_DRAWN = "drawn"


class _Place(NamedTuple):
    """Where a number of an NNX network is kept."""

    collection: str
    path: tuple[str, ...]


class _Abstract(NamedTuple):
    """An NNX network without its numbers."""

    graph: Any
    structure: Any
    places: tuple[_Place, ...]
    leaves: tuple[Any, ...]


@functools.lru_cache(maxsize=64)
def _abstract(make: Callable[..., Any], settings: tuple[tuple[str, Any], ...]) -> _Abstract:
    from flax import nnx

    graph, state = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0), **dict(settings))))
    leaves, structure = jax.tree.flatten(state)
    return _Abstract(graph, structure, tuple(_places(state)), tuple(leaves))


def _states(network: Any) -> list[Array]:
    from flax import nnx

    return jax.tree.leaves(nnx.state(network))


def _places(state: Any) -> list[_Place]:
    """The place of each leaf of an NNX state, in JAX's order."""
    from flax import nnx

    def is_variable(node: Any) -> bool:
        return isinstance(node, nnx.Variable)

    found = []
    for path, variable in jax.tree.leaves_with_path(state, is_leaf=is_variable):
        names = tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path)
        kinds = {nnx.Param: "params", nnx.BatchStat: "batch_stats", nnx.RngState: _DRAWN}
        collection = next((name for kind, name in kinds.items() if isinstance(variable, kind)), "others")
        count = len(jax.tree.leaves(variable))
        found += [_Place(collection, names if count == 1 else (*names, str(i))) for i in range(count)]
    return found


def _nested(places: Any, leaves: Any) -> dict[str, dict[str, Any]]:
    """The kept leaves by collection, each as a dict of dicts."""
    found: dict[str, dict[str, Any]] = {}
    for place, leaf in zip(places, leaves, strict=True):
        if place.collection == _DRAWN:
            continue
        tree = found.setdefault(place.collection, {})
        for part in place.path[:-1]:
            tree = tree.setdefault(part, {})
        tree[place.path[-1]] = leaf
    return found
