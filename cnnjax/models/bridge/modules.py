"""What is given for a module of PyTorch, looked at before it is exported."""

import dataclasses
import inspect
import itertools
import os
from collections.abc import Mapping
from typing import Any

from cnnjax.door.words import a, shown
from cnnjax.errors import InputError


def check_module(module: Any) -> None:
    """Raise InputError for what is no module of images, with what to do about it."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module is {_named(module)}; give a torch.nn.Module{_instead(module)}")
    name = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError("module is compiled by TorchScript, which has no graph to export: give the module it is of")
    for key, x in itertools.chain(module.named_parameters(), module.named_buffers()):
        if torch.nn.parameter.is_lazy(x) or x.is_meta:
            raise InputError(f"{key} of {name} has no numbers yet: load the weights, or call a lazy module on a batch")
    parameters = [p for p in inspect.signature(module.forward).parameters.values() if p.name != "self"]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p.name for p in parameters if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    if len(needed) > 1 or not positional:
        takes = f"needs {', '.join(needed) or 'nothing'}" + ("" if positional else ", by keyword")
    elif positional[0] == "input_ids":
        takes = "takes text first, as input_ids"
    else:
        return
    raise InputError(
        f"the forward of {name} {takes}: give a module whose forward takes images only and calls this one, or its part "
        "for images"
    )


def dataclass_as_dict(module: Any, inputs: Any, output: Any) -> Any:
    """A forward hook: the fields of a dataclass by name, where PyTorch does not know the class for a tree of arrays."""
    if not dataclasses.is_dataclass(output) or isinstance(output, (type, Mapping)):
        return output
    return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}


def _named(given: Any) -> str:
    return shown(given) if isinstance(given, type) or inspect.isroutine(given) else a(type(given).__name__)


def _instead(given: Any) -> str:
    """What may have been meant."""
    if isinstance(given, type):
        return f": {given.__name__}(...) makes one"
    if isinstance(given, (str, os.PathLike)):
        file = repr(str(given))
        if file.endswith(".pt2'"):
            return f": models.from_exported({file}) reads such a file"
        return f", with its weights loaded: module.load_state_dict(torch.load({file}, weights_only=True))"
    if isinstance(given, Mapping) and given:
        return ": these are weights; make the network and module.load_state_dict(weights)"
    return " whose forward calls it" if callable(given) else ""
