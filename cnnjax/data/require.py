"""Optional packages, imported where they are used."""

import importlib
from typing import Any

from cnnjax.errors import InputError


def require(module: str, *, purpose: str, install: str) -> Any:
    """Import and return `module`, or raise `InputError` saying what needs it and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"{purpose} needs the package {package}, which cannot be imported ({error}); "
            f'install it with: python -m pip install "{install}"'
        ) from error
