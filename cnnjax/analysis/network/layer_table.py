"""A network as a table: what each activation is, sees, costs and adds to the network's failure of equivariance."""

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import PyTree

from cnnjax.analysis.equivariance.lie_attribution import LieContribution, lie_attribution
from cnnjax.analysis.fields.effective_field import EffectiveField, mean_weights
from cnnjax.analysis.fields.layout import Layout, layout_of
from cnnjax.analysis.fields.receptive_field import ReceptiveField, receptive_field
from cnnjax.analysis.inputs.images import Images, finite_images, image_struct
from cnnjax.analysis.network.cost import LayerCost, cost
from cnnjax.analysis.network.table_cells import as_html, as_records, as_text
from cnnjax.analysis.transforms.generators import Generator
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.names import named
from cnnjax.program.tracing import program_of, shapes_of

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True, eq=False)
class LayerRow:
    """One activation: what the analyses say of it, None where they have nothing to say."""

    name: str
    map: tuple[int, ...] | None
    """Height, width and channels, or length and channels; None where it is no map."""
    field: ReceptiveField
    cost: LayerCost
    """For one image."""
    effective: EffectiveField | None = None
    """Of the middle unit; None for what is no map, and where its derivative is 0 or not finite."""
    lie: LieContribution | None = None
    """None where it is not clear how the activation should move, and for what is computed after the output."""


@dataclasses.dataclass(frozen=True, eq=False)
class LayerTable:
    """The activations of a function of images in forward order; `str` is a text, in notebooks it is HTML."""

    rows: tuple[LayerRow, ...]
    image: tuple[int, ...]
    """The shape of one image."""
    generator: str | None
    """What the Lie derivative is along; None where nothing was measured."""

    def to_pandas(self) -> "pandas.DataFrame":
        """A row for each activation, with missing values where a cell is empty.

        Columns are `layer`, the map's `height`, `width` and `channels`; the receptive field's `size`, `stride` and
        `padding`, each with `_y` and `_x`, and whether the size is exact or a bound, `size_exact`; `effective_y` and
        `effective_x`, 4 standard deviations of the effective field in pixels; `parameters` and `multiply_adds` of one
        image, and whether these are exact, `multiply_adds_exact`; `lie_share`. Of signals there is `length` in place of
        height and width, and nothing has an ending. What was not measured has no column.
        """
        import pandas

        return pandas.DataFrame(as_records(self)).convert_dtypes()

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_pandas` as CSV, whole or not at all: empty cells where it has missing values.

        Raises OSError where the folder is absent or cannot be written, InputError where the path is a folder.
        """
        write_atomic(Path(path), self.to_pandas().to_csv(index=False, lineterminator="\n"))

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


@checked()
def table(
    f: Callable[..., Any],
    images: Images,
    params: PyTree = None,
    *,
    generator: str = "translation_x",
    measured: bool = True,
) -> LayerTable:
    """The `LayerTable` of `f(images)`, or with `params` of `f(params, images)`: a row for each activation it returns.

    A row has the activation's map, height × width × channels; its `receptive_field`, size, stride and padding; four
    standard deviations of the `effective_receptive_field` of its middle unit; the `cost`, parameters and multiply-adds
    for one image; and its share in the Lie derivative of the output along `generator` (`lie_attribution`), where the
    output is what is computed last. Rows are in the order of computation and have the names of `cost`. What an
    activation has not stays empty: logits and tokens are no maps, and units that all read alike have neither stride
    nor padding. In the Lie derivative, layers that are no float arrays with the images first, or of which it is not
    clear where their units lie, count with the next one.

    Effective fields and Lie derivatives are measured on the images, which takes some five forward passes for each
    activation; few images will do. With `measured=False` they are left out, `f` is traced and not run, and `images`
    and `params` may be `jax.ShapeDtypeStruct`s.

    `f` is any JAX function, `params` as for `cost`: `table(model.apply, images, variables)` counts the parameters of a
    Flax model, `table(forward, images, variables)` those of a network of `from_torch`. Of what f closes over the
    statistics of batch normalisation count too.

    Raises InputError as those analyses do, and where images must be measured that are only described.
    """
    struct = image_struct(images)
    if measured and any(isinstance(a, jax.ShapeDtypeStruct) for a in (images, *jax.tree.leaves(params))):
        raise InputError("images or params are ShapeDtypeStructs: give arrays to measure, or measured=False")
    Generator(generator).check(struct)
    one = jax.ShapeDtypeStruct((1, *struct.shape[1:]), struct.dtype)
    given = () if params is None else (params,)
    bound = Partial(f, *given)
    pixels = finite_images(images) if measured else None
    costs = cost(f, one, params).layers
    # As cost has them: by the position of the first leaf of each array, in the order of computation.
    program, result = program_of(f, *given, one)
    flow = Dataflow(program)
    leaves, fields = jax.tree.leaves(result), jax.tree.leaves(_fields(f, given, one))
    found = {name: flow.results.index(value) for value, (name, _) in named(result, flow).items()}
    layouts = {name: _layout(name, leaves[at].shape, fields[at]) for name, at in found.items()}
    rows = [
        LayerRow(name, _map(leaves[at].shape, layouts[name], len(one.shape) - 2), fields[at], costs[name])
        for name, at in found.items()
    ]
    if pixels is None:
        return LayerTable(tuple(rows), one.shape[1:], None)
    lie = _lie_derivatives(bound, pixels, generator, {name: found[name] for name in found if layouts[name] is not None})
    effective = _effective_fields(
        bound, pixels, {name: (found[name], layout) for name, layout in layouts.items() if layout and layout.axes}
    )
    rows = [dataclasses.replace(row, effective=effective.get(row.name), lie=lie.get(row.name)) for row in rows]
    return LayerTable(tuple(rows), one.shape[1:], generator)


def _fields(f: Callable[..., Any], params: tuple[Any, ...], image: jax.ShapeDtypeStruct) -> Any:
    """The receptive fields of f with these parameters, whose shapes will do."""
    found = []
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)):
        # Within a trace parameters have no value, which fields hardly ever depend on.
        jax.eval_shape(lambda *params: found.append(receptive_field(Partial(f, *params), image)), *params)
        return found[0]
    return receptive_field(Partial(f, *params), image)


def _layout(name: str, shape: tuple[int, ...], field: ReceptiveField) -> Layout | None:
    try:
        return layout_of(name, shape, field)
    except InputError:
        return None


def _map(shape: tuple[int, ...], layout: Layout | None, rank: int) -> tuple[int, ...] | None:
    if layout is not None and layout.axes:
        others = math.prod(n for axis, n in enumerate(shape) if axis and axis not in layout.axes)
        return (*(shape[axis] for axis in layout.axes), others)
    # A map of a single unit has nothing to move, but is a map.
    return shape[1:] if len(shape) == rank + 2 and set(shape[1:-1]) == {1} else None


def _lie_derivatives(
    f: Callable[..., Any], images: np.ndarray, generator: str, positions: dict[str, int]
) -> dict[str, LieContribution]:
    """What the activations of these names, at these positions of f's result, add, those left out with the next."""
    shapes = jax.tree.leaves(shapes_of(f, images))
    kept = {
        name: at
        for name, at in positions.items()
        if shapes[at].shape[:1] == images.shape[:1] and jnp.issubdtype(shapes[at].dtype, jnp.floating)
    }
    if not kept:
        return {}

    def chosen(x: jax.Array) -> dict[str, jax.Array]:
        leaves = jax.tree.leaves(f(x))
        return {name: leaves[at] for name, at in kept.items()}

    # In the order of computation as `positions` are: a name may be shorter where others are left out.
    return dict(zip(kept, lie_attribution(chosen, images, generator).values(), strict=False))


def _effective_fields(
    f: Callable[..., Any], images: np.ndarray, maps: dict[str, tuple[int, Layout]]
) -> dict[str, EffectiveField]:
    """The effective field of the middle unit of each map, where it has one."""

    def spatial(x: jax.Array) -> list[jax.Array]:
        leaves = jax.tree.leaves(f(x))
        return [layout.spatial(leaves[at]) for at, layout in maps.values()]

    shapes = [leaf.shape for leaf in shapes_of(spatial, images)] if maps else []
    middles = [tuple((n - 1) // 2 for n in shape[1 : images.ndim - 1]) for shape in shapes]
    weights = mean_weights(spatial, images, tuple(enumerate(middles)), "absolute")
    return {
        name: EffectiveField(w / w.sum(), unit)
        for name, w, unit in zip(maps, weights, middles, strict=True)
        if np.isfinite(w.sum()) and w.sum() > 0
    }
