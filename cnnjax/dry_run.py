"""What a command would do, told without doing it: the option `--dry-run`.

Within `dry_run()` a run directory is a temporary one and no cache is written to, so that nothing is left. Whoever comes
to the first piece of work tells what there would be to do, and ends the command by `Told`.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

_folder: Path | None = None


class Told(Exception):  # noqa: N818 it is no error
    """The end of a dry run: what can be told without work has been told."""


def folder() -> Path | None:
    """Where a dry run puts what would be its run; None where this is no dry run."""
    return _folder


@contextlib.contextmanager
def dry_run() -> Iterator[None]:
    """Run the body up to where its work would begin."""
    global _folder
    with tempfile.TemporaryDirectory(prefix="cnnjax-dry-run-") as name, contextlib.suppress(Told):
        _folder = Path(name)
        try:
            yield
        finally:
            _folder = None
