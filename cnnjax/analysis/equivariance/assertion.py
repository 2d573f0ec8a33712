"""Equivariance as an assertion, for tests of networks."""

from collections.abc import Callable
from typing import Any

import jax

from cnnjax.analysis.equivariance.equivariance_error import equivariance_error
from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.transforms.geometric import Transform
from cnnjax.door import checked
from cnnjax.errors import InputError


@checked("transform")
def assert_equivariant(
    f: Callable[[jax.Array], Any], images: Images, transform: Transform, *, tolerance: float = 1e-5
) -> None:
    """Raise AssertionError unless every activation of `f` moves with the images, as far as rounding allows.

    `‖f(T x) − T f(x)‖ ≤ tolerance ‖T f(x)‖` for each array that f returns; of what has no spatial axes, logits, that
    is invariance. The message has each activation with a larger error, by its path, in the order of f's result. An
    activation that is 0 everywhere tells nothing, and so is named too.

    Arguments are those of `equivariance_error`; `tolerance` is at least 0, in units of the activation.
    Raises InputError as that does.
    """
    if tolerance < 0:
        raise InputError(f"tolerance={tolerance} must be at least 0")
    errors = jax.tree.leaves_with_path(equivariance_error(f, images, transform))
    named = [(jax.tree_util.keystr(path, simple=True, separator="/") or "output", float(e)) for path, e in errors]
    # NaN compares false.
    if wrong := [f"{name} by {error:.2g}" for name, error in named if not error <= tolerance]:
        raise AssertionError(f"not equivariant under {transform}, within {tolerance:g}: {', '.join(wrong)}")
