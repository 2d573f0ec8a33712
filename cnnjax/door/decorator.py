"""The decorator of public functions: each argument is read by its annotation; what does not fit is an InputError."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cnnjax.door.annotations import evaluate
from cnnjax.door.axes import check_sizes
from cnnjax.errors import InputError

if TYPE_CHECKING:
    from cnnjax.door.readers import Reader

F = TypeVar("F", bound=Callable[..., Any])


def checked(*own: str) -> Callable[[F], F]:
    """Decorate a function whose arguments are read by their annotations: lists become arrays, misfits an InputError.

    The message is one line: it names the argument, its value and what would be right. What no annotation says (that a
    stride is positive, that two shapes belong together) stays with the function, and so do the arguments named in
    `own`, of which it has more to say. Of the dtype and shape of an array the function speaks first; where it ends in
    another error and they are not the annotation's, or axes of one name differ in size, that is the reason given.
    Python's own errors for arguments that are missing or unknown stay as they are.

    Of a class, the arguments of its constructor are read.

    The annotations are read at the first call. The result has the function's name, documentation and signature.
    """

    def decorate(f: Any) -> Any:
        if isinstance(f, type):
            f.__init__ = decorate(f.__init__)
            return f

        @functools.cache
        def readers() -> "tuple[list[str], dict[str, Reader]]":
            from cnnjax.door.readers import reader  # and with it JAX, at the first call

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
                named = [*zip(positional, given, strict=False), *options.items()]
                _explain([(name, value, by_name[name]) for name, value in named if name in by_name], error)
                raise

        return at_the_door

    return decorate


def _explain(arguments: "list[tuple[str, Any, Reader]]", error: Exception) -> None:
    """Raise InputError, caused by `error`, if an argument does not fit its annotation, or two do not fit each other."""
    arrays = [
        (name, value, how.fits, how.axes)
        for name, value, how in arguments
        if how.fits is not None and value is not None
    ]
    try:
        for name, value, fits, _ in arrays:
            fits(name, value)
        check_sizes((name, value.shape, axes) for name, value, _, axes in arrays)
    except InputError as reason:
        raise InputError(str(reason)) from error
