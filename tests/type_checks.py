"""Which rooms of the library check the types and shapes of what goes in and out of every function in tests."""

import pkgutil
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "cnnjax"  # found without an import: what is imported before is not checked

COSTLY = "program"
"""Small functions that are called for each equation of a program: checked, they take longer than all else in a test."""


def checked(quick: bool) -> list[str]:
    """The packages and modules to check: all of them where tests may take their time."""
    if not quick:
        return [LIBRARY.name]
    rooms = [room.name for room in pkgutil.iter_modules([str(LIBRARY)])]
    return [f"{LIBRARY.name}.{room}" for room in rooms if room != COSTLY]
