"""What is given for a module of PyTorch, looked at before it is exported."""

import inspect
import os
from collections.abc import Mapping
from typing import Any

from cnnjax.door.words import a, shown
from cnnjax.errors import InputError


def check_module(module: Any) -> None:
    """Raise InputError for what is no module of images, with what to do about it."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module is {a(type(module).__name__)}; give a torch.nn.Module{_instead(module)}")
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError("module is compiled by TorchScript, which has no graph to export: give the module it is of")
    if meta := [name for name, x in module.state_dict().items() if getattr(x, "is_meta", False)]:
        raise InputError(f"{meta[0]} of the module is on the device meta and has no numbers: load its weights first")
    parameters = [p for p in inspect.signature(module.forward).parameters.values() if p.name != "self"]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if len(needed) > 1 or not positional:
        said = f"needs {', '.join(needed)}" if needed else "takes nothing"
        said += "" if positional else ", by keyword"
        raise InputError(
            f"the forward of {type(module).__name__} {said}: give a module whose forward takes images, and passes them "
            "and the rest on"
        )


def _instead(given: Any) -> str:
    """What may have been meant."""
    if isinstance(given, type):
        return f": {given.__name__}(...) makes one"
    if isinstance(given, (str, os.PathLike)):
        name = str(given)
        if name.endswith(".pt2"):
            return f": models.from_exported({name!r}) reads such a file"
        return f", with its weights loaded: module.load_state_dict(torch.load({name!r}, weights_only=True))"
    if isinstance(given, Mapping) and given:
        return ": these are weights; make the network and module.load_state_dict(weights)"
    return f": {shown(given)} has no parameters to be found" if callable(given) else ""
