"""What a command names as `module:name`: a user's own class or function, imported; one line where it is not there."""

import difflib
import importlib
import re
from typing import Any

from cnnjax.errors import InputError, first_line

FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""PACKAGE.MODULE:NAME."""


def imported(place: str, kind: str) -> Any:
    """The class or the function, as `kind` says, that `module:name` names, of a module that is imported.

    Only what a user has typed comes here: to import a module is to run it. Raises InputError where there is none.
    """
    if not FORM.fullmatch(place):
        raise InputError(f"{place!r} is not PACKAGE.MODULE:NAME, the names in Python, as my_package.nets:Net")
    module, _, name = place.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"there is no module {error.name} to import: install it, or run the command where it lies"
        ) from error
    except Exception as error:  # of a user's own code
        raise InputError(f"importing {module} raises {type(error).__name__}: {first_line(error)}") from error
    if not hasattr(found, name):
        near = difflib.get_close_matches(name, vars(found), n=3)
        raise InputError(f"{module} has no {kind} {name}" + (f"; perhaps {' or '.join(near)}?" if near else ""))
    return getattr(found, name)
