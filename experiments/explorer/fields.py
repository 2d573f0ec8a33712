"""What each unit of each layer sees, of all units: the exact field, and the effective one over some images."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax import analysis, runtime

MOST = 2**22
"""Weights of a layer's effective fields, units times pixels, above which they are left out."""
TOGETHER = 32
"""Units whose derivatives are taken side by side."""


@dataclasses.dataclass(frozen=True, eq=False)
class Effective:
    """How much each pixel weighs in each unit of a layer."""

    maps: Float[np.ndarray, "rows columns height width"]
    """As `EffectiveField.map` of each unit; 0 everywhere where its derivative is."""

    def radius(self, row: int, column: int) -> float | None:
        """The radius of the disc that holds 95 % of a unit's weights; None of a unit without."""
        field = self.maps[row, column]
        return analysis.EffectiveField(field, (row, column)).radius() if field.any() else None


def effective_fields(f: Callable[[Array], Any], images: np.ndarray, layer: str) -> Effective | None:
    """The effective field of every unit (row, column) of a layer, its channels together; None where it is too large.

    It is `analysis.effective_receptive_field` of each, in one program. `f` is a `Partial` that returns activations by
    layer, and must treat images independently.
    """
    shape = jax.eval_shape(f, images)[layer].shape
    units = shape[1] * shape[2]
    if units * images.shape[1] * images.shape[2] > MOST:
        return None
    weights = np.asarray(_weights(f, jnp.asarray(images), layer=layer), np.float64)
    totals = weights.sum((1, 2), keepdims=True)
    maps = np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
    return Effective(maps.reshape(shape[1], shape[2], *images.shape[1:3]))


def _all_weights(f: Callable[[Array], Any], images: Array, layer: str) -> Float[Array, "units height width"]:
    def responses(x: Array) -> Array:
        y = f(x)[layer]
        return y.reshape(*y.shape[:3], -1).sum(-1).reshape(len(y), -1)

    _, pull_back = jax.vjp(responses, images)

    def of_unit(unit: Array) -> Array:
        one = jnp.zeros((len(images), units), images.dtype).at[:, unit].set(1)
        (gradient,) = pull_back(one)
        return jnp.abs(gradient).mean((0, -1))

    units = jax.eval_shape(responses, images).shape[1]
    return jax.lax.map(of_unit, jnp.arange(units), batch_size=min(TOGETHER, units))


_weights = runtime.jit(_all_weights, static_argnames=("layer",))


def describe_exact(field: analysis.ReceptiveField) -> dict[str, Any]:
    """A layer's exact fields as JSON values: by axis the size, stride, padding and, of each unit, span and support."""
    axes = []
    for axis, units in enumerate(field.units):
        positions = [tuple(u if a == axis else 0 for a in range(len(field.units))) for u in range(units)]
        axes.append(
            {
                "size": float(field.size[axis]),
                "stride": float(field.stride[axis]),
                "padding": float(field.padding[axis]),
                "border": field.border[axis],
                "exact": field.exact[axis],
                "spans": [list(field.span(position)[axis]) for position in positions],
                "reads": [_runs(field.support(position)[axis]) for position in positions],
            }
        )
    return {"units": list(field.units), "axes": axes}


def _runs(indices: np.ndarray) -> list[int]:
    """Ascending indices as first, last, first, last, ... of those in a row."""
    if not len(indices):
        return []
    breaks = np.flatnonzero(np.diff(indices) > 1)
    firsts, lasts = np.r_[indices[0], indices[breaks + 1]], np.r_[indices[breaks], indices[-1]]
    return [int(one) for pair in zip(firsts, lasts, strict=True) for one in pair]


def encode_effective(found: Effective, exact: Mapping[str, Any]) -> tuple[bytes, list[float | None]]:
    """The weights of each unit in turn, in 255ths of its largest, and the radius of each.

    Only the pixels from the first to the last that the unit reads are there, along both axes: outside it has none.
    """
    blocks, radii = [], []
    rows, columns = ([(run[0], run[-1]) if run else (0, -1) for run in axis["reads"]] for axis in exact["axes"])
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            block = found.maps[i, j, top : bottom + 1, left : right + 1]
            largest = block.max(initial=0)
            blocks.append(np.rint(255 * block / largest if largest else block).astype(np.uint8).tobytes())
            radius = found.radius(i, j)
            radii.append(None if radius is None else round(radius, 2))
    return b"".join(blocks), radii
