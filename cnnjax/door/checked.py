"""The decorator of public functions: each argument is read by its annotation; what does not fit is an InputError."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from cnnjax.door.annotations import evaluate
from cnnjax.door.readers import Reader, reader
from cnnjax.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def checked(*own: str) -> Callable[[F], F]:
    """Decorate a function whose arguments are read by their annotations: lists become arrays, misfits an InputError.

    The message is one line: it names the argument, its value and what would be right. What no annotation says (that a
    stride is positive, that two shapes belong together) stays with the function, and so do the arguments named in
    `own`, of which it has more to say. Of the dtype and shape of an array the function speaks first; where it ends in
    another error and they are not the annotation's, that is the reason given. Python's own errors for arguments that
    are missing or unknown stay as they are.

    Of a class, the arguments of its constructor are read.

    The annotations are read at the first call. The result has the function's name, documentation and signature.
    """

    def decorate(f: Any) -> Any:
        if isinstance(f, type):
            f.__init__ = decorate(f.__init__)
            return f

        @functools.cache
        def readers() -> tuple[list[str], dict[str, Reader]]:
            parameters = inspect.signature(f).parameters.values()
            fixed = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
            read = {p.name: reader(evaluate(p.annotation, f), own=p.name in own) for p in fixed}
            return [p.name for p in fixed if p.kind is not p.KEYWORD_ONLY], read

        @functools.wraps(f)
        def at_the_door(*args: Any, **kwargs: Any) -> Any:
            positional, by_name = readers()
            given = [by_name[name].read(name, value) for name, value in zip(positional, args, strict=False)]
            options = {name: by_name[name].read(name, v) if name in by_name else v for name, v in kwargs.items()}
            try:
                return f(*given, *args[len(given) :], **options)
            except InputError:
                raise
            except Exception as error:
                for name, value in (*zip(positional, given, strict=False), *options.items()):
                    if name in by_name and (fits := by_name[name].fits) is not None:
                        _explain(fits, name, value, error)
                raise

        return at_the_door

    return decorate


def _explain(fits: Callable[[str, Any], Any], name: str, value: Any, error: Exception) -> None:
    """Raise InputError, caused by `error`, if this argument does not fit."""
    try:
        fits(name, value)
    except InputError as reason:
        raise InputError(str(reason)) from error
