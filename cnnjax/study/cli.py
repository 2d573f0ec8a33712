"""A command line for an experiment: its config dataclass is the options, its docstring the help."""

import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cnnjax.errors import InputError

C = TypeVar("C")


def main(config_class: type[C], run: Callable[[C], Path], *, prog: str) -> None:
    """Read a frozen `config_class` from the command line, call `run` on it, print the path it returns as the last line.

    The docstring of the module that defines `run` is the description. Exits with status 2 and one line for an
    InputError, with status 2 and suggestions for an unknown option or a wrong choice, with status 130 when interrupted.
    """
    import tyro

    description = inspect.cleandoc(sys.modules[run.__module__].__doc__ or "")
    config = tyro.cli(config_class, prog=prog, description=description)
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        try:
            path = run(config)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("stopped; the same command goes on where this one was.", file=sys.stderr)
            sys.exit(130)
    print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path, flush=True)


def _one_line(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
    print(f"warning: {message}", file=file or sys.stderr)
