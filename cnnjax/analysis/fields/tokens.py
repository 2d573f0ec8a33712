"""Maps of tokens: the activations of transformers seen as the maps over the image that they are."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

from cnnjax.analysis.inputs.images import image_struct
from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError
from cnnjax.program.dataflow import Dataflow
from cnnjax.program.intervene import intervene
from cnnjax.program.names import named
from cnnjax.program.order import filled
from cnnjax.program.reach import Value, follow
from cnnjax.program.tracing import program_of


@checked()
def token_maps(f: Callable[..., Any], *, grid: tuple[Positive, Positive] | None = None) -> Callable[..., Any]:
    """The function `f` that returns its tokens (batch, tokens, channels) as maps (batch, rows, columns, channels).

    The grid is read off the program: it is that of the arrays with so many tokens in which every token reads another
    patch of the images, row by row, as behind the patch convolution; class and register tokens, before or after the
    patches, read none there and are left out of the map. Layers of fewer tokens whose grid has been halved,
    once or several times, as patches are merged, are found too. Or `grid` gives it, (rows, columns), and what comes
    before that many tokens is left out.

    The maps are arrays on the way from layer to layer, so that what edits or differentiates by activations does so by
    them: `table`, `receptive_field`, `equivariance_error`, `lie_attribution`, `grad_cam`, `top_activations`, `project`
    and `intervene` take the result as they take f. All other results are as f returns them; of tokens that lie in
    windows, (batch × windows, tokens, channels), there is no map. A `Partial(function, variables)` gives another.

    `f` takes images (batch, height, width, channels) as its last argument. Raises InputError, when the result is
    called, where f returns arrays like tokens and of none of them it can be told which lies where.
    """
    if isinstance(f, Partial):
        return Partial(_TokenMaps(f.func, grid), *f.args, **f.keywords)
    return _TokenMaps(f, grid)


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Where the tokens of an activation lie, row by row, behind some that lie nowhere."""

    before: int
    rows: int
    columns: int

    def map(self, tokens: Array) -> Array:
        inside = tokens[:, self.before : self.before + self.rows * self.columns]
        return inside.reshape(len(tokens), self.rows, self.columns, tokens.shape[-1])

    def with_map(self, tokens: Array, a: Array) -> Array:
        """The tokens, those that lie somewhere read from a map."""
        inside = a.reshape(len(a), self.rows * self.columns, a.shape[-1])
        after = tokens[:, self.before + self.rows * self.columns :]
        return jnp.concatenate([tokens[:, : self.before], inside, after], axis=1)


@dataclasses.dataclass(frozen=True)
class _TokenMaps:
    f: Callable[..., Any]
    grid: tuple[int, int] | None
    plans: dict[Any, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    """By shape and dtype of an image: what the leaves of the result are called, and the grids of those of tokens."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        *others, images = args
        struct = image_struct(images)
        key = struct.shape[1:], struct.dtype
        if key not in self.plans:
            # A batch of 1 could be any axis of that size.
            two = jax.ShapeDtypeStruct((2, *struct.shape[1:]), struct.dtype)
            self.plans[key] = _plan(Partial(self.f, *others, **options), two, self.grid)
        names, grids = self.plans[key]
        if not grids:
            return self.f(*args, **options)
        maps: dict[str, Array] = {}

        def edit(name: str, a: Array) -> Array:
            if name not in grids:
                return a
            maps[name] = grids[name].map(a)
            return grids[name].with_map(a, maps[name])

        result = intervene(Partial(self.f, *others, **options), edit)(images)
        leaves = zip(names, jax.tree.leaves(result), strict=True)
        return filled(result, [maps.get(name, leaf) for name, leaf in leaves])


def _plan(
    f: Callable[..., Any], images: jax.ShapeDtypeStruct, grid: tuple[int, int] | None
) -> tuple[list[str], dict[str, _Grid]]:
    """The names of the leaves of f's result, and the grids of those that are tokens."""
    program, result = program_of(f, images)
    flow = Dataflow(program)
    found = named(result, flow)
    names = [found[value][0] for value in flow.results]
    tokens = {
        name: leaf.shape[1]
        for name, leaf in zip(names, jax.tree.leaves(result), strict=True)
        if len(leaf.shape) == 3 and leaf.shape[0] == images.shape[0] and leaf.shape[1] > 1
    }
    if not tokens or len(images.shape) != 4:
        return names, {}
    known: dict[int, _Grid | None] = {}
    if grid is None:
        follow(program, [Value.images(images.shape, images.dtype)], see=lambda value: _learn(known, value))
    else:
        inside = grid[0] * grid[1]
        known = {
            count: _Grid(count - inside, *grid) for count in {inside, *tokens.values()} if inside <= count < 2 * inside
        }
    grids = {name: of for name, count in tokens.items() if (of := _grid_of(count, known)) is not None}
    if not grids:
        name, count = next(iter(tokens.items()))
        raise InputError(
            f"activation {name} has {count} tokens, and neither it nor another like it shows which lies where"
            + (f" in a grid of {grid[0]} × {grid[1]}" if grid else "")
            + ": give the grid of the patches, grid=(rows, columns), or leave such activations out of what f returns"
        )
    return names, grids


def _grid_of(count: int, known: Mapping[int, _Grid | None]) -> _Grid | None:
    """The grid of so many tokens: one that is known, or one without other tokens, halved as often as need be."""
    if count in known:
        return known[count]
    for whole in sorted(known, reverse=True):
        grid = known[whole]
        if grid is None or whole != grid.rows * grid.columns:
            continue
        rows, columns = grid.rows, grid.columns
        while rows % 2 == columns % 2 == 0:
            rows, columns = rows // 2, columns // 2
            if rows * columns == count:
                return _Grid(0, rows, columns)
    return None


def _learn(known: dict[int, _Grid | None], value: Value) -> None:
    """Add the grids that an array shows along its axes; None where arrays of so many tokens show several orders."""
    shape = value.known.shape
    if len(shape) != 3 or not value.reaches or not value.reaches[0].varies(0) or shape[0] != value.reaches[0].extent:
        return
    for axis in (1, 2):
        # Channels may come first.
        sets = [reach.collapse({0, 1, 2} - {axis}).merge(axis, axis + 1).sets for reach in value.reaches[1:]]
        shown, grid = _shown(shape[axis], *(of.reshape(-1, of.shape[-1]) for of in sets))
        if shown:
            known[shape[axis]] = grid if known.get(shape[axis], grid) == grid else None


def _shown(count: int, rows: np.ndarray, columns: np.ndarray) -> tuple[bool, _Grid | None]:
    """Whether so many tokens all read other patches, by the rows and the columns of pixels that they read, as bits; and
    their grid, if these come row by row.
    """
    if max(len(rows), len(columns)) < count:
        return False, None
    rows, columns = (np.broadcast_to(sets, (count, sets.shape[1])) for sets in (rows, columns))
    reading = np.flatnonzero(rows.any(1) & columns.any(1))
    rows, columns = rows[reading], columns[reading]
    different = len(np.unique(np.concatenate([rows, columns], axis=1), axis=0)) == len(reading)
    height, width = (len(np.unique(sets, axis=0)) for sets in (rows, columns))
    # Behind attention several read the same; and rows or columns of pixels are no patches.
    if not different or min(height, width) < 2:
        return False, None
    if height * width == len(reading) == reading[-1] - reading[0] + 1:
        rows, columns = (sets.reshape(height, width, -1) for sets in (rows, columns))
        if (rows == rows[:, :1]).all() and (columns == columns[:1]).all() and _ascends(rows[:, 0], columns[0]):
            return True, _Grid(int(reading[0]), height, width)
    return True, None


def _ascends(*sets: np.ndarray) -> bool:
    """Whether what is read first moves on from one to the next."""
    firsts = (np.unpackbits(of, axis=-1, bitorder="little").argmax(-1) for of in sets)
    return all((np.diff(first) >= 0).all() for first in firsts)
