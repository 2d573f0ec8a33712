"""What annotations say beyond a type: `Positive`, `Annotated[ArrayLike, Shape("height width")]`.

JAX is imported where a value is checked: `cnnjax.runs` names these and is quick to import.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np

from cnnjax.door.words import shown
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """A number that is not below `least`."""

    least: int

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for a smaller one."""
        if value < self.least:
            raise InputError(f"{name}={value} must be at least {self.least}.")


class Floating:
    """A dtype of floating point, in any form that NumPy takes."""

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for another one, and for what is no dtype."""
        import jax
        import jax.numpy as jnp

        try:
            right = (
                value is not None
                and not isinstance(value, jax.Array)
                and jnp.issubdtype(jnp.dtype(value), jnp.floating)
            )
        except (TypeError, ValueError):
            right = False
        if not right:
            raise InputError(f"{name}={shown(value)} must be a floating-point dtype, such as jnp.float32.")


class NotEmpty:
    """A sequence with an entry."""

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for one without."""
        if not len(value):
            raise InputError(f"{name}={shown(value)} must have at least one entry.")


class ArraysOrNumbers:
    """A tree whose leaves are arrays, or numbers that JAX takes for arrays."""

    def check(self, name: str, value: Any) -> None:
        """Raise InputError where a leaf is something else."""
        import jax

        from cnnjax.door.arrays import as_jax, as_numpy, only_for_jax

        for path, leaf in jax.tree.leaves_with_path(value):
            if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and not only_for_jax(leaf):
                as_jax(f"{name}{jax.tree_util.keystr(path)}", as_numpy(f"{name}{jax.tree_util.keystr(path)}", leaf))


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array with these axes, as jaxtyping writes them."""

    axes: str

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for another rank."""
        from cnnjax.door.arrays import check_shape

        check_shape(name, np.shape(value), self.axes.split())


Positive: TypeAlias = Annotated[int, AtLeast(1)]
NotNegative: TypeAlias = Annotated[int, AtLeast(0)]
Widths: TypeAlias = Annotated[Sequence[Positive], NotEmpty()]
Dtype: TypeAlias = Annotated[Any, Floating()]
