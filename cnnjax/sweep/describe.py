"""A network as JSON beside its weights, so that a file of weights can be used without the experiment that made it."""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.layers import activations
from cnnjax.models import vit
from cnnjax.networks.calls import is_nnx

NAMESPACES = {"nn": nn, "jnp": jnp, "jax.nn": jax.nn, "vit": vit, "activations": activations}
"""Where functions are looked for, to be written by name."""


def describe(model: nn.Module) -> dict[str, Any]:
    """The class of a network and the fields in which it differs from the class's defaults, as JSON values.

    A function that has no name here is written as what it is not: reading it back is refused.
    """
    kind = type(model)
    fields = {
        name: getattr(model, name)
        for name, field in kind.__dataclass_fields__.items()
        # How parameters are drawn at the start says nothing about those that are there.
        if name not in ("parent", "name") and not name.endswith("_init") and field.init
    }
    defaults = {name: kind.__dataclass_fields__[name].default for name in fields}
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "fields": {name: _encode(value) for name, value in fields.items() if not _same(value, defaults[name])},
    }


@checked()
def build_described(description: Any, *, packages: Collection[str] = ()) -> nn.Module:
    """The network that `describe` described.

    Its class is looked for in modules that are imported already, and in those of `cnnjax` and of `packages`: nothing
    else is imported. Raises InputError for what is no description of such a network.
    """
    whole = isinstance(description, Mapping) and "class" in description
    if not whole or not isinstance(description.get("fields"), Mapping):
        raise InputError("there is no description of the network beside the weights: make the run anew")
    found = _class(description["class"], packages)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise _unknown(description["class"])
    try:
        return found(**{field: _decode(value, packages) for field, value in description["fields"].items()})
    except TypeError as error:
        raise InputError(f"{found.__name__} is not as it was when these weights were written ({error})") from error


def _class(place: Any, packages: Collection[str]) -> Any:
    """What goes by `module:name` in a module that is imported already or may be; None where there is none."""
    module, _, name = str(place).partition(":")
    try:
        if module.split(".")[0] in ("cnnjax", *packages):
            importlib.import_module(module)
    except ImportError:
        pass
    return getattr(sys.modules.get(module), name, None)


def _unknown(place: Any) -> InputError:
    module = str(place).partition(":")[0]
    return InputError(
        f"{place!r}, described beside the weights, is no network that is known here: what is read imports nothing, so "
        f"name its module, --modules {module}, or import {module} before, if you trust it"
    )


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and value == default)


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if callable(value) and (name := _function_name(value)):
        return {"function": name}
    if isinstance(value, type) and is_nnx(value):
        return {"nnx": f"{value.__module__}:{value.__qualname__}"}
    try:
        return {"dtype": jnp.dtype(value).name}  # pyright: ignore[reportCallIssue, reportArgumentType]
    except TypeError:
        return {"unnamed": str(value)}


def _decode(value: Any, packages: Collection[str]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, packages) for item in value)
    if not isinstance(value, Mapping):
        return value
    if "nnx" in value:
        found = _class(value["nnx"], packages)
        if not (isinstance(found, type) and is_nnx(found)):
            raise _unknown(value["nnx"])
        return found
    if "dtype" in value:
        return jnp.dtype(value["dtype"]).type
    space, _, name = str(value.get("function", "")).rpartition(".")
    if space not in NAMESPACES or not hasattr(NAMESPACES[space], name):
        raise InputError(f"a field of the network, {dict(value)}, was not written by a name: it cannot be read back")
    return getattr(NAMESPACES[space], name)


def _function_name(function: Callable[..., Any]) -> str | None:
    name = getattr(function, "__name__", "")
    return next((f"{space}.{name}" for space, of in NAMESPACES.items() if getattr(of, name, None) is function), None)
