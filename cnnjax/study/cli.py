"""A command line for an experiment: its config dataclass is the options, its docstring the help."""

import argparse
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cnnjax.errors import InputError

C = TypeVar("C")


def main(config_class: type[C], run: Callable[[C], Path], *, prog: str, presets: Mapping[str, C] | None = None) -> None:
    """Read a frozen `config_class` from the command line, call `run` on it, print the path it returns as the last line.

    The docstring of the module that defines `run` is the description. With `presets`, configurations by name, such as
    `{"paper": Config(epochs=164)}`, `--preset NAME` takes its defaults from one of them, and every other option still
    changes them. Exits with status 2 and one line for an InputError, with status 2 and suggestions for an unknown
    option or a wrong choice, with status 130 when interrupted.
    """
    config = _read(config_class, prog, inspect.cleandoc(sys.modules[run.__module__].__doc__ or ""), presets or {})
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


def _read(config_class: type[C], prog: str, description: str, presets: Mapping[str, C]) -> C:
    import tyro

    if not presets:
        return tyro.cli(config_class, prog=prog, description=description)
    configs = {"default": config_class(), **presets}
    # What the other options fall back on, and what --help shows, must be known before they are read.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    chosen = configs.get(parser.parse_known_args()[0].preset, configs["default"])
    names, about = Literal[tuple(configs)], f"What the options are by default; --preset {[*configs][-1]} --help shows."

    def read(
        config: Annotated[config_class, tyro.conf.arg(name="")] = chosen,  # pyright: ignore[reportInvalidTypeForm]
        preset: Annotated[names, tyro.conf.arg(help=about)] = "default",  # pyright: ignore[reportInvalidTypeForm]
    ) -> Any:
        return config

    return tyro.cli(read, prog=prog, description=description)


def _one_line(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
    print(f"warning: {message}", file=file or sys.stderr)
