"""Jigsaws of photographs: which, how they are compared, and what an answer is worth, as numbers."""

from typing import Any

import jax
import jax.numpy as jnp

from cnnjax import jigsaw
from cnnjax.data import load_image, resize

DISSIMILARITIES = {
    "colour jump, RGB": jigsaw.color_jump,
    "colour jump, L*a*b*": jigsaw.in_lab(jigsaw.color_jump),
    "Pomeranz, L*a*b*": jigsaw.in_lab(jigsaw.pomeranz),
    "MGC, RGB": jigsaw.mahalanobis_gradient,
    "MGC × Pomeranz": jigsaw.gradient_and_prediction,
}
_TALLEST, _REDUCED = 600, 512


def photograph(name: str) -> jax.Array:
    """An image, a tall one reduced."""
    image = load_image(name)
    height, width, _ = image.shape
    return jnp.asarray(resize(image, (_REDUCED, round(width * _REDUCED / height))) if height > _TALLEST else image)


def best_neighbors(image: jax.Array, dissimilarity: jigsaw.Dissimilarity, *, piece: int) -> float:
    """The share of borders in an image, cut and mixed, whose best fit is the true neighbour."""
    puzzle = jigsaw.cut(image, side=piece)
    mixed = jigsaw.shuffle(jax.random.key(0), puzzle.pieces)
    truth = jigsaw.true_arrangement(mixed, puzzle.grid)
    return jigsaw.right_best_neighbors(jigsaw.fits(mixed.pieces, dissimilarity), truth)


def measures(solution: jigsaw.Solution, mixed: jigsaw.Shuffled, truth: jigsaw.Arrangement) -> dict[str, Any]:
    """The scores, strict and with pieces of equal frames as one, the objectives, and the diagnosis."""
    strict = jigsaw.score(solution.arrangement, truth)
    alike = jigsaw.score(solution.arrangement, truth, labels=jigsaw.frames(mixed.pieces))
    return {
        "pieces": len(mixed.pieces),
        "direct": strict.direct,
        "neighbour": strict.neighbour,
        "perfect": strict.perfect,
        "direct_twins": alike.direct,
        "neighbour_twins": alike.neighbour,
        "perfect_twins": alike.perfect,
        "objective": solution.objective,
        "objective_of_truth": solution.objective_of(truth),
        **solution.diagnosis._asdict(),
    }
