"""The matrix: every public function of the library, every argument of it, every natural mistake."""

import contextlib
import functools
import importlib
import inspect
import io
import os
import pkgutil
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

import cnnjax
from cnnjax.errors import InputError
from experiments.benchmarks.wrong_arguments.values import mistakes

Arguments = Callable[[], Mapping[str, Any]]
Kind = Literal["value", "InputError", "other"]
_SECONDS = 300


class Outcome(NamedTuple):
    """What came of one call with one argument wrong."""

    function: str
    argument: str
    mistake: str
    kind: Kind
    text: str  # the message of the InputError, or where and how another exception was raised


@functools.cache
def public_functions() -> dict[str, Callable]:
    """By their names (`ops.conv`), the functions and classes of every `__all__`, each once, modules' own among them."""
    found: dict[str, Callable] = {}
    for module in pkgutil.walk_packages(cnnjax.__path__, "cnnjax."):
        package = importlib.import_module(module.name)
        for name in getattr(package, "__all__", ()):
            place, value = f"{module.name.removeprefix('cnnjax.')}.{name}", getattr(package, name)
            if inspect.ismodule(value):
                own = {n: v for n, v in vars(value).items() if getattr(v, "__module__", None) == value.__name__}
                named = {f"{place}.{n}": v for n, v in own.items() if not n.startswith("_")}
            else:
                named = {place: value}
            found |= {n: v for n, v in named.items() if _is_ours(v) and all(v is not other for other in found.values())}
    return found


def _is_ours(value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", "").startswith("cnnjax.")


def try_all(
    calls: Mapping[str, Arguments], *, seconds: int = _SECONDS, only: Callable[[int], bool] | None = None
) -> Iterator[Outcome]:
    """Call every function that `calls` has right arguments of, by name, with one argument after the other wrong.

    `only` chooses among the calls by their number. A call that takes more than so many seconds is an outcome "other".
    Operations and layers are traced, not run, and networks are initialised so: what they refuse, they refuse by then.
    """
    functions, number = public_functions(), 0
    for name, arguments in calls.items():
        f = functions[name]
        call = functools.partial(_traced, f) if name.startswith(_TRACED) or _is_module(f) else f
        for argument in _parameters(f):
            with _apart(seconds):
                right = arguments().get(argument, _default(f, argument))
            for mistake, wrong in mistakes(right).items():
                number += 1
                if only is None or only(number):
                    kind, text = _outcome(lambda: call(**{**arguments(), argument: wrong}), seconds)  # noqa: B023
                    yield Outcome(name, argument, mistake, kind, text)


def how_many(name: str, arguments: Arguments) -> int:
    """How many calls `try_all` makes of a function."""
    f = public_functions()[name]
    with _apart(_SECONDS):
        given = arguments()
        return sum(len(mistakes(given.get(argument, _default(f, argument)))) for argument in _parameters(f))


def _is_module(f: Callable) -> bool:
    return inspect.isclass(f) and issubclass(f, nn.Module)


def counts(outcomes: list[Outcome]) -> Counter[Kind]:
    """How many ended in which way."""
    return Counter(outcome.kind for outcome in outcomes)


def _parameters(f: Callable) -> list[str]:
    fixed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in inspect.signature(f).parameters.values() if p.kind in fixed and p.name not in _OF_FLAX]


_OF_FLAX = ("parent", "name")


def _default(f: Callable, argument: str) -> Any:
    default = inspect.signature(f).parameters[argument].default
    return None if default is inspect.Parameter.empty else default


_TRACED = ("ops.", "layers.")
_CALLERS = ("_calls.py", "values.py")


def _traced(f: Callable, **arguments: Any) -> None:
    def call() -> None:
        made = f(**arguments)
        if isinstance(made, nn.Module):
            _initialise(made)

    jax.eval_shape(call)


def _initialise(module: nn.Module) -> None:
    """Initialise a layer or a network on a map or an image of a size that the right one takes."""
    kind, key = type(module), jax.random.key(0)
    images, maps, group_maps = (1, 16, 16, 1), (1, 8, 8, 4), (1, 8, 8, 4, 2)
    shape = images if kind.__module__.startswith("cnnjax.models") else maps
    if kind.__name__ in ("GroupConv", "GroupMapPool"):
        shape = group_maps
    train: Any = dict(train=True) if "train" in inspect.signature(kind.__call__).parameters else {}
    module.init({"params": key, "dropout": key}, jnp.full(shape, 0.5), **train)


def _outcome(call: Callable[[], Any], seconds: int) -> tuple[Kind, str]:
    try:
        with _apart(seconds):
            call()
    except InputError as error:
        return "InputError", str(error)
    except SystemExit as error:  # a command line that is refused has printed why
        return "InputError", str(error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        if any(frame.filename.endswith(_CALLERS) for frame in where):
            return "value", f"{type(error).__name__} of the function that was given"
        ours = [frame for frame in where if "/cnnjax/" in frame.filename and "/door/" not in frame.filename] or where
        at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return "other", f"{type(error).__name__} at {at}: {' '.join(str(error).split())[:200]}"
    return "value", ""


@contextlib.contextmanager
def _apart(seconds: int) -> Iterator[None]:
    """A folder of its own to work in, no output, no warnings, and an end after so many seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = Path.cwd()
    handler = signal.signal(signal.SIGALRM, stop)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        signal.alarm(seconds)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, handler)
            os.chdir(before)
