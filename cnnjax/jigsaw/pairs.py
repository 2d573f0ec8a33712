"""What every two pieces side by side cost, and what the others say about it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnnjax.door import checked
from cnnjax.door.arrays import converted
from cnnjax.door.pictures import check_unit_range
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.jigsaw.borders import Dissimilarity, facing_left, facing_right

MOST_STATES = 8192
"""States of a puzzle: a table of their pairs takes 256 MB then, and a product of two tables 10¹² operations."""


_MOST_ROUNDS = 100  # the compiler writes out each


@dataclasses.dataclass(frozen=True)
class Fits:
    """Costs of neighbours. A *state* is a piece in a turn: turn · pieces + piece.

    `right[a, b]` is the cost of state b at the right of state a, `down[a, b]` of b below a; a piece is no neighbour of
    itself (infinite). Where pieces may be turned there are four states of each, else one.
    """

    right: Float[np.ndarray, "states states"]
    down: Float[np.ndarray, "states states"]
    pieces: int

    @property
    def turns(self) -> int:
        """1, or 4 where pieces may be turned."""
        return len(self.right) // self.pieces

    def total(self, states: Int[np.ndarray, "rows columns"]) -> float:
        """The sum of costs over all neighbours in an arrangement of states."""
        across = self.right[states[:, :-1], states[:, 1:]].sum(dtype=np.float64)
        return float(across + self.down[states[:-1], states[1:]].sum(dtype=np.float64))

    def capped(self, cap: float | int) -> "Fits":
        """No cost above `cap`: beyond it a neighbour is wrong, and how wrong tells nothing."""
        return Fits(np.minimum(self.right, cap), np.minimum(self.down, cap), self.pieces)


@checked()
def fits(pieces: Float[Array, "n side side channels"], dissimilarity: Dissimilarity, *, rotate: bool = False) -> Fits:
    """The costs of all neighbours under a dissimilarity of borders; with `rotate`, in all turns of both.

    Raises InputError for more states than `MOST_STATES`, and for pieces whose values are not in [0, 1], and a
    dissimilarity that does not give a cost for every pair.
    """
    check_unit_range("pieces", pieces)
    n = len(pieces)
    states = 4 * n if rotate else n
    if states > MOST_STATES:
        turned = ", which may each be turned," if rotate else ""
        raise InputError(f"{n} pieces{turned} are too many to compare all pairs: give larger pieces or a smaller image")
    right, down = _tables(pieces, dissimilarity, rotate)
    return Fits(np.asarray(right), np.asarray(down), n)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _tables(pieces: Array, dissimilarity: Dissimilarity, rotate: bool) -> tuple[Array, Array]:
    n = len(pieces)
    if rotate:
        borders = (jnp.concatenate([facing(pieces, k) for k in range(4)]) for facing in (facing_right, facing_left))
        right = _exclude_itself(_compared(dissimilarity, *borders), n)
        return right, _below(right, n)
    # What lies below lies at the right once both are turned by a quarter.
    sides = [(facing_right(pieces, k), facing_left(pieces, k)) for k in (0, 1)]
    right, down = (_exclude_itself(_compared(dissimilarity, *borders), n) for borders in sides)
    return right, down


def _compared(dissimilarity: Dissimilarity, right: Array, left: Array) -> Array:
    cost = converted("what dissimilarity returns", dissimilarity(right, left), [jax.Array])
    if cost.shape != (len(right), len(left)) or not jnp.issubdtype(cost.dtype, jnp.floating):
        raise InputError(
            f"dissimilarity must return a number of floating point for every pair of borders, "
            f"({len(right)}, {len(left)}); it returned {shown(cost)}"
        )
    return cost


def _exclude_itself(cost: Array, n: int) -> Array:
    piece = jnp.arange(len(cost)) % n
    return jnp.where(piece[:, None] == piece[None], jnp.inf, cost)


def _below(right: Array, n: int) -> Array:
    """The table of neighbours below, where states are turns too: turn both by a quarter, and below is at the right."""
    return jnp.roll(right, (-n, -n), axis=(0, 1))


@checked()
def relative(table: Fits) -> Fits:
    """Every cost divided by the lowest cost of an alternative at either of its two borders.

    Below 1 for best buddies and for no other pair, the lower the surer; 1 for two that fit equally well. After the
    ratio of Gallagher (2012), section 3, who divides by the second-lowest cost.
    """
    right, down = _relative(table.right), _relative(table.down)
    return Fits(np.asarray(right), np.asarray(down), table.pieces)


@jax.jit
def _relative(cost: Float[Array, "states states"]) -> Float[Array, "states states"]:
    def others(axis: int) -> tuple[Array, Array]:
        index = jax.lax.broadcasted_iota(jnp.int32, cost.shape, axis)
        best = index == jnp.argmin(cost, axis=axis, keepdims=True)
        first = jnp.min(cost, axis=axis, keepdims=True)
        return first, jnp.where(best, jnp.min(jnp.where(best, jnp.inf, cost), axis=axis, keepdims=True), first)

    first, along_rows = others(1)
    _, along_columns = others(0)
    # Two perfect fits are 0/0, and two almost perfect ones no surer.
    little = jnp.maximum(1e-3 * jnp.median(first), jnp.finfo(cost.dtype).tiny)
    return (cost + little) / (jnp.minimum(along_rows, along_columns) + little)


@checked()
def agreed(relative: Fits, *, rounds: int = 4) -> Fits:
    """−log of how likely pieces are neighbours, given also what closes the 2×2 blocks they are in; 0 is certain.

    With affinities R = exp(−4 · relative cost) at the right and D below, each scaled by the geometric mean of its rows'
    and columns' sums, a round is R ← R₀ ∘ (ε + D R Dᵀ + Dᵀ R D), scaled, and D alike: b is at the right of a if some
    pair at their lower (or upper) sides is so too. A soft form of the loop constraints of Son, Hays and Cooper (2014),
    "Solving square jigsaw puzzles with loop constraints", as matrix products. Raises InputError unless `rounds` lie
    from 0 to 100.
    """
    if not 0 <= rounds <= _MOST_ROUNDS:
        raise InputError(f"rounds={rounds} must lie from 0 to {_MOST_ROUNDS}")
    right, down = _agreed(relative.right, relative.down, relative.pieces, rounds)
    return Fits(np.asarray(right), np.asarray(down), relative.pieces)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _agreed(right: Array, down: Array, n: int, rounds: int) -> tuple[Array, Array]:
    tiny, unsupported = 1e-30, 0.01

    def scaled(affinity: Array) -> Array:
        sums = affinity.sum(axis=1, keepdims=True) * affinity.sum(axis=0, keepdims=True)
        return affinity / jnp.maximum(jnp.sqrt(sums), tiny)

    def affinity(cost: Array) -> Array:
        return scaled(jnp.where(jnp.isfinite(cost), jnp.exp(-4 * jnp.minimum(cost, 6)), 0))

    first = R, D = affinity(right), affinity(down)
    for _ in range(rounds):
        across = scaled(first[0] * (unsupported + D @ R @ D.T + D.T @ R @ D))
        if len(right) > n:
            R, D = across, _below(across, n)
        else:
            R, D = across, scaled(first[1] * (unsupported + R @ D @ R.T + R.T @ D @ R))

    def cost(given: Array, affinity: Array) -> Array:
        return jnp.where(jnp.isfinite(given), -jnp.log(jnp.maximum(affinity, tiny)), jnp.inf)

    return cost(right, R), cost(down, D)
