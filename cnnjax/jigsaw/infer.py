"""Loose cells filled anew, all at once: which piece belongs in each, by belief propagation.

A grid whose neighbours have affinities is a Markov random field; Cho, Avidan and Freeman (2010), "A probabilistic image
jigsaw puzzle solver", infer its pieces by the same sum-product messages.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from cnnjax.jigsaw.pairs import Fits

_LEFT, _RIGHT, _ABOVE, _BELOW = range(4)
_STEPS = ((0, -1), (0, 1), (-1, 0), (1, 0))
_OPPOSITE = np.array([_RIGHT, _LEFT, _BELOW, _ABOVE])
_TINY = 1e-30
_SMALLEST = 32


def infer(
    states: Int[np.ndarray, "rows columns"], loose: Bool[np.ndarray, "rows columns"], guide: Fits, *, rounds: int = 30
) -> Int[np.ndarray, "rows columns"]:
    """Lay the pieces of the `loose` cells anew, each in one of them, so that they suit each other and those that stay.

    `guide` are −log likelihoods of neighbours, finite (capped). Messages run between the cells for `rounds` rounds,
    each averaged with the last; that each piece is used once is kept by scaling the beliefs towards a doubly stochastic
    table (Sinkhorn 1967), and the surest assignment of the final beliefs is taken.
    """
    y, x = np.nonzero(loose)
    m, turns = len(y), guide.turns
    if m < 2:
        return states
    # Cells and pieces that only each other can be fill up to a power of two, so that few programs are compiled.
    size = max(_SMALLEST, 1 << (m - 1).bit_length())
    here = states[y, x] % guide.pieces
    choice = np.arange(turns)[:, None] * guide.pieces + np.pad(here, (0, size - m))[None]
    number = np.full(np.add(states.shape, 2), size)  # of each loose cell, with a margin; `size` is none
    number[y + 1, x + 1] = np.arange(m)
    held = np.pad(np.where(loose, -1, states), 1, constant_values=-1)
    tables = (guide.right, guide.right.T, guide.down, guide.down.T)
    neighbours = np.full((4, size), size)
    misfit = np.zeros((size, turns, size), np.float32)
    for direction, ((dy, dx), table) in enumerate(zip(_STEPS, tables, strict=True)):
        neighbours[direction, :m] = number[y + 1 + dy, x + 1 + dx]
        state = held[y + 1 + dy, x + 1 + dx]
        misfit[:m][state >= 0] += table[state[state >= 0][:, None, None], choice]
    misfit[:m, :, m:] = misfit[m:, :, :m] = np.inf
    affinities = [np.exp(-table[np.ix_(choice.ravel(), choice.ravel())]) for table in (guide.right, guide.down)]
    beliefs = np.asarray(_propagate(misfit, neighbours, *affinities, rounds))[:m, :, :m]
    cell, piece = linear_sum_assignment(-np.log(beliefs.max(axis=1) + _TINY))
    new = states.copy()
    new[y[cell], x[cell]] = beliefs.argmax(axis=1)[cell, piece] * guide.pieces + here[piece]
    return new


@functools.partial(jax.jit, static_argnums=4)
def _propagate(
    misfit: Float[Array, "cells turns cells"],
    neighbours: Int[Array, "4 cells"],
    right: Float[Array, "states states"],
    down: Float[Array, "states states"],
    rounds: int,
) -> Float[Array, "cells turns cells"]:
    """Beliefs after `rounds` rounds of messages that come from the left, from the right, from above and from below."""
    cells, turns, _ = misfit.shape
    states = turns * cells
    itself = jnp.arange(states) % cells
    right, down = (jnp.where(itself[:, None] == itself[None], 0, table) for table in (right, down))
    misfit = misfit.reshape(cells, states)
    evidence = jnp.exp(misfit.min(axis=1, keepdims=True) - misfit)

    def believe(messages: Array, times: int) -> Array:
        def once_each(_: Array, beliefs: Array) -> Array:
            table = beliefs.reshape(cells, turns, cells)
            used = jnp.maximum(table.sum(axis=(0, 1)), _TINY)
            return _normalised((table / used[None, None]).reshape(cells, states))

        return jax.lax.fori_loop(0, times, once_each, _normalised(evidence * jnp.prod(messages * states, axis=0)))

    def talk(_: Array, messages: Array) -> Array:
        # What a cell tells a neighbour leaves out what that one has told it.
        known = believe(messages, 3)[None] / jnp.maximum(messages[_OPPOSITE], _TINY)
        told = [_normalised(k) @ table for k, table in zip(known, (right, right.T, down, down.T), strict=True)]
        told = jnp.pad(_normalised(jnp.stack(told)), ((0, 0), (0, 1), (0, 0)), constant_values=1 / states)
        return (messages + jnp.take_along_axis(told, neighbours[:, :, None], axis=1)) / 2

    messages = jax.lax.fori_loop(0, rounds, talk, jnp.full((4, cells, states), 1 / states, evidence.dtype))
    return believe(messages, 10).reshape(cells, turns, cells)


def _normalised(x: Float[Array, "*tables states"]) -> Float[Array, "*tables states"]:
    return x / jnp.maximum(x.sum(axis=-1, keepdims=True), _TINY)
