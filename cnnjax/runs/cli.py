"""A command line for an experiment: its config dataclass is the options, its docstring the help."""

import argparse
import dataclasses
import importlib
import inspect
import itertools
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cnnjax import processes
from cnnjax.door import checked
from cnnjax.dry_run import dry_run
from cnnjax.ending import one_line_endings
from cnnjax.errors import InputError, first_line

C = TypeVar("C")
_LARGEST = 2**31 - 1  # JAX counts with int32
_SMALLEST = 1e-30  # of float32, with room for squares of what is near 1


@checked()
def main(
    config_class: type[C],
    run: Callable[[C], Path],
    *,
    prog: str,
    presets: Mapping[str, C] | None = None,
    can_tell: bool = True,
) -> None:
    """Read a frozen `config_class` from the command line, call `run` on it, print the path it returns as the last line.

    The docstring of the module that defines `run` is the description; its `TAKES`, such as "two minutes on two cores",
    says how long the default takes, where there is one. With `presets`, configurations by name, such as
    `{"paper": Config(epochs=164)}`, `--preset NAME` takes its defaults from one of them, and every other option still
    changes them. `--modules NAME...` imports modules of the user's own first. With `can_tell` there is `--dry-run`,
    which calls `run` only up to where its work would begin, and leaves nothing (see `cnnjax.dry_run`). Exits with
    status 2 and suggestions for an unknown option or a wrong choice, and otherwise as `one_line_endings` says: with
    status 2 and one line for an InputError, 130 when interrupted, 143 at SIGTERM.
    """
    with processes.end_together(), one_line_endings():
        _check_arguments(sys.argv[1:])
        module = sys.modules[run.__module__]
        config, dry, distributed = _read(config_class, prog, _description(module), presets or {}, can_tell)
        check_numbers(config)
        check_numbers(distributed, "distributed.")
        if dry:
            with dry_run():
                run(config)
            takes = getattr(module, "TAKES", "")
            print(f"{f'With its defaults this command takes {takes}. ' * bool(takes)}Nothing was computed or written.")
            return
        processes.start(distributed)
        path = run(config)
        print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _description(module: types.ModuleType) -> str:
    takes = getattr(module, "TAKES", "")
    return inspect.cleandoc(module.__doc__ or "") + (f"\n\nBy default it takes {takes}." if takes else "")


def _check_arguments(arguments: Sequence[str]) -> None:
    """Raise `InputError` for bytes that are no text: no run could note them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InputError(f"{argument!r} is not UTF-8: give names in UTF-8, and rename files that are not") from None


def check_numbers(config: Any, prefix: str = "") -> None:
    """Raise `InputError` for numbers that neither JAX nor JSON can hold, naming the option."""
    for field in dataclasses.fields(config):
        option, value = f"--{prefix}{field.name}".replace("_", "-"), getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{prefix}{field.name}.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and not -_LARGEST <= number <= _LARGEST:
                raise InputError(f"{option} {number} is too large: give at most {_LARGEST} either way")
            if isinstance(number, float) and (not math.isfinite(number) or 0 < abs(number) < _SMALLEST):
                raise InputError(f"{option} {number} is not a number to count with: give 0, or {_SMALLEST} to 1e38")
            if isinstance(number, float) and abs(number) > 1 / _SMALLEST:
                raise InputError(f"{option} {number} is too large: give at most {1 / _SMALLEST:g}")


def _read(
    config_class: type[C], prog: str, description: str, presets: Mapping[str, C], can_tell: bool
) -> tuple[C, bool, processes.Distributed]:
    """The config of the command line, whether it asks for a dry run, and which processes train together."""
    import tyro

    fields: Any = dataclasses.fields(config_class)  # pyright: ignore[reportArgumentType]
    options: list[tuple[str, Any, Any]] = []
    unnamed = tyro.conf.arg(name="")
    if any(field.default is field.default_factory for field in fields):  # both missing: it has to be given
        options.append(("config", Annotated[config_class, unnamed], dataclasses.field()))
    else:
        configs = {"default": config_class(), **presets}
        # What the other options fall back on, and what --help shows, must be known before they are read.
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--preset", nargs="?")
        named = parser.parse_known_args()[0].preset if presets else "default"
        chosen = configs.get(named, configs["default"])
        chosen = _for_options(chosen, sys.argv[1:])
        options.append(("config", Annotated[config_class, unnamed], dataclasses.field(default=chosen)))
        if presets:
            about = f"What the options are by default; --preset {[*configs][-1]} --help shows."
            kind = Annotated[Literal[tuple(configs)], tyro.conf.arg(help=about)]
            options.append(("preset", kind, dataclasses.field(default="default")))
    options.append(("distributed", processes.Distributed, dataclasses.field(default=processes.Distributed())))
    about = "Modules of your own to import first, as that of a network of yours that a run has kept."
    kind = Annotated[tuple[str, ...], tyro.conf.arg(help=about)]
    options.append(("modules", kind, dataclasses.field(default=())))
    if can_tell:
        about = "Say what would be computed, in what memory and time, and end: nothing is computed or written."
        kind = Annotated[bool, tyro.conf.arg(help=about), tyro.conf.FlagCreatePairsOff]
        options.append(("dry_run", kind, dataclasses.field(default=False)))
    whole = dataclasses.make_dataclass("Options", options)
    read: Any = tyro.cli(whole, prog=prog, description=description)
    for name in read.modules:
        _import(name)
    return read.config, getattr(read, "dry_run", False), read.distributed


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:  # of a user's own code
        said = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"--modules {name} cannot be imported: {said}") from error


def _for_options(config: C, arguments: Sequence[str]) -> C:
    """The config whose values other options fall back on.

    A config within it may have a method `for_options`, which takes those of `arguments` that are meant for it, as the
    text after each name, and returns what stands in its place: a network has other options than the next.
    """
    parts: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]
        part, prefix = getattr(config, field.name), f"--{field.name}."
        if hasattr(part, "for_options"):
            given: dict[str, str | None] = {}
            for argument, following in itertools.zip_longest(arguments, arguments[1:]):
                option, equals, value = argument.partition("=")
                if option.replace("-", "_").startswith(prefix.replace("-", "_")):
                    given[option[len(prefix) :].replace("-", "_")] = value if equals else following
            parts[field.name] = part.for_options(given)
    return dataclasses.replace(config, **parts)  # pyright: ignore[reportArgumentType]
