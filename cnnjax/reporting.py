"""How long work says how far it is."""

from collections.abc import Callable

Report = Callable[[int, int, str], object]
"""Called as `report(done, total, text)` now and then: so much lies behind, and what one would watch."""


def silent(done: int, total: int, text: str) -> None:
    """Report nothing."""
