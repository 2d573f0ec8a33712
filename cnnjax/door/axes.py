"""Axes of one name, which must have one size in all the arrays of a call."""

from collections.abc import Iterable
from typing import Any

from cnnjax.errors import InputError


def axes_of(members: list[Any]) -> str:
    """The axes of an array, as jaxtyping writes them, where all kinds that it may be of have the same; or none."""
    every = {getattr(member, "dim_str", "") for member in members}
    return every.pop() if len(every) == 1 else ""


def check_sizes(arrays: Iterable[tuple[str, tuple[int, ...], str]]) -> None:
    """Raise InputError where an axis has another size than one of its name before it; of names, shapes and axes."""
    known: dict[str, tuple[int, str]] = {}
    for name, shape, axes in arrays:
        for axis, size in _sizes(shape, axes.split()).items():
            expected, other = known.setdefault(axis, (size, name))
            if size != expected:
                raise InputError(f"{name} has shape {shape}; its {axis} must be {expected}, as in {other}.")


def _sizes(shape: tuple[int, ...], axes: list[str]) -> dict[str, int]:
    """The sizes of the axes that have a name, of an array of as many axes."""
    many = next((i for i, axis in enumerate(axes) if axis.startswith(("*", "..."))), len(axes))
    first, last = axes[:many], axes[many + 1 :]
    ends = [*zip(first, shape, strict=False), *zip(last, shape[len(shape) - len(last) :], strict=True)]
    return {axis: size for axis, size in ends if axis.isidentifier() and not axis.startswith("_")}
