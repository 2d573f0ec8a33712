"""How a network is called, in training and otherwise, and what of its result is the logits.

A network is a Flax Linen module, or what `nnx_network` makes of an NNX class. It takes images (batch, height, width,
channels), floats in [0, 1], and returns logits (batch, classes), or these first in a tuple, as `(logits, activations)`,
or by that name in a dict. Found out is:

- whether its call takes `train`, `training`, `is_training` or `deterministic`, and so how it is told that it trains;
- which streams of random numbers it draws from in training, such as "dropout": each has keys of its own;
- which variables it has besides parameters, such as the statistics of batches: what training makes of them is kept;
- how many classes there are: as many as it gives logits.

What else is needed, `check_network` asks for in one sentence.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import FlaxError, InvalidRngError
from jaxtyping import Array, PyTree

from cnnjax.door.words import one_of, shown
from cnnjax.errors import InputError, first_line

MODES = {"train": True, "training": True, "is_training": True, "deterministic": False}
"""The keywords by which networks are told whether they train, each with its value where they do."""

_FROM_INSIDE = (TypeError, ValueError, LookupError, AttributeError, AssertionError, RuntimeError, FlaxError)


def check_is_network(model: Any, name: str = "model") -> None:
    """Raise InputError, with the remedy, for what is not a Linen module that can be called with images only."""
    if isinstance(model, type):
        how = "models.from_nnx(Class, ...)" if is_nnx(model) else "an instance of it, with its fields"
        raise InputError(f"{name}={shown(model)} is a class, not a network: give {how}")
    if is_nnx(type(model)):
        raise InputError(
            f"{name} is an NNX module that has its weights already: give models.from_nnx({type(model).__name__}, ...), "
            "its class and fields, from which every seed draws its own"
        )
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{name}={shown(model)} is not a network: give a Flax Linen module, or models.from_nnx of an NNX class; of "
            "other frameworks a Linen module that calls them (docs/frameworks.md)"
        )
    try:
        hash(model)
    except TypeError as error:
        raise InputError(
            f"{name}={type(model).__name__} has no hash to find what is compiled for it: give its fields as "
            "numbers, text, functions or tuples of these"
        ) from error
    _, *others = _parameters(model).values()
    needed = [p.name for p in others if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if needed := [each for each in needed if each not in MODES]:
        raise InputError(
            f"{name}={type(model).__name__} is called with {one_of(needed)} besides images: give that a default, or a "
            f"module that calls it with images only (and may be told {one_of(list(MODES))})"
        )


@functools.lru_cache(maxsize=64)
def check_network(model: nn.Module, image_shape: tuple[int, ...]) -> int:
    """How many classes a network tells apart in images (height, width, channels); it is traced, not run.

    Raises InputError, which names the network, where it cannot take them, has no parameters, or returns no logits.
    """
    check_is_network(model)
    variables = jax.eval_shape(functools.partial(init, model, image_shape=image_shape), jax.random.key(0))
    name = type(model).__name__
    if not jax.tree.leaves(variables.get("params")):
        raise InputError(f"{name} has no parameters: there is nothing to train")
    rest = {kind: value for kind, value in variables.items() if kind != "params"}
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    with one_line(model, image_shape):
        call = functools.partial(apply_in_training, model)
        logits, after = jax.eval_shape(call, variables["params"], rest, images, jax.random.key(0))
    if logits.ndim != 2 or len(logits) != 2 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise InputError(
            f"{name} gives {logits.dtype} of shape {logits.shape} for 2 images: expected logits (images, classes), "
            "floats, by themselves or first of (logits, activations)"
        )
    if jax.tree.structure(rest) != jax.tree.structure(after):
        raise InputError(f"{name} has other variables after a step of training than before: make all of them at once")
    return logits.shape[1]


def init(model: nn.Module, key: Array, *, image_shape: tuple[int, ...]) -> dict[str, PyTree]:
    """The variables of a network for images (height, width, channels).

    They are lazy: the network is traced for its parameters, and not run, so no variable may depend on the values of
    images. Raises InputError where it cannot take them.
    """
    images, told = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32), _told(model, train=False)
    method = functools.partial(_called, **told) if told else None
    with one_line(model, image_shape):
        return dict(model.lazy_init(key, images, method=method))


@functools.lru_cache(maxsize=64)
def evaluation(model: nn.Module) -> Callable[..., Any]:
    """The network as a function of (variables, images) that is told, where it has to be, that it does not train."""
    told = _told(model, train=False)
    return functools.partial(model.apply, **told) if told else model.apply


def apply_in_training(
    model: nn.Module, params: PyTree, rest: PyTree, images: Array, key: Array
) -> tuple[Array, PyTree]:
    """The logits of images in training, and what becomes of the variables besides parameters."""
    call = functools.partial(
        model.apply, {"params": params, **rest}, images, mutable=list(rest), **_told(model, train=True)
    )
    try:
        result, updated = call(rngs={"dropout": key})
    except InvalidRngError:  # another stream: Flax draws those that it is not given from "params"
        result, updated = call(rngs={"dropout": key, "params": jax.random.fold_in(key, 1)})
    return logits_of(result, type(model).__name__), updated


def logits_of(result: Any, name: str = "the network") -> Array:
    """The logits in what a network returned. Raises InputError where there are none."""
    found: Any = result
    if isinstance(result, Mapping) and "logits" in result:
        found = result["logits"]
    elif isinstance(result, tuple | list) and len(result):
        found = result[0]
    if not hasattr(found, "shape"):
        raise InputError(
            f"{name} returns {shown(result)}: return logits (images, classes), (logits, activations), or a dict with "
            "logits"
        )
    return found


@contextlib.contextmanager
def one_line(model: nn.Module, image_shape: tuple[int, ...]) -> Iterator[None]:
    """Raise InputError, with its cause, for what goes wrong inside a network that is called with images."""
    try:
        yield
    except _FROM_INSIDE as error:
        if isinstance(error, InputError | jax.errors.JaxRuntimeError):  # the latter may be for want of memory
            raise
        raise InputError(
            f"{type(model).__name__} cannot take images {tuple(image_shape)}, (height, width, channels): "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _called(model: nn.Module, images: Array, **told: bool) -> Any:
    return model(images, **told)


def _told(model: nn.Module, *, train: bool) -> dict[str, bool]:
    """What a call is told where its defaults do not say it."""
    parameters = _parameters(model)
    values = {name: value is train for name, value in MODES.items() if name in parameters}
    return {name: value for name, value in values.items() if parameters[name].default is not value}


def _parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    """The parameters of a network's call; the images' first."""
    call = getattr(type(model), "__call__", None)  # noqa: B004 - its signature is asked for
    if call is None:
        raise InputError(f"{type(model).__name__} has no __call__: give it one that takes images")
    found = {name: p for name, p in inspect.signature(call).parameters.items() if name != "self"}
    if not found:
        raise InputError(f"{type(model).__name__} is called with nothing: let its __call__ take images")
    return found


def is_nnx(kind: type) -> bool:
    """Whether a class is one of NNX modules, told without importing NNX."""
    return any(base.__module__.startswith("flax.nnx") and base.__name__ == "Module" for base in kind.__mro__)
