"""Square jigsaw puzzles: a photograph is cut, mixed and turned, and put together by what its borders have in common.

- `cut`, `shuffle`, `render`, `true_arrangement`: the puzzle, and an `Arrangement` of its pieces as an image
- `color_jump`, `pomeranz`, `mahalanobis_gradient`, `gradient_and_prediction`, `in_lab`: how ill two borders fit
- `fits`, `relative`, `agreed`, `best_buddies`: all pairs; against their alternatives; with what closes 2×2 blocks
- `solve`: the arrangement of the lowest objective that was found, with a `Diagnosis` of twins and structure
- `right_best_neighbors`: how often the true neighbour fits best
- `score`, `frames`: shares of pieces in place and of right neighbours, also up to pieces that nothing tells apart
"""

from cnnjax.jigsaw.borders import Dissimilarity, facing_left, facing_right
from cnnjax.jigsaw.color import rgb_to_lab
from cnnjax.jigsaw.diagnosis import Diagnosis, best_buddies, diagnose, frames
from cnnjax.jigsaw.dissimilarity import (
    color_jump,
    gradient_and_prediction,
    in_lab,
    mahalanobis_gradient,
    pomeranz,
)
from cnnjax.jigsaw.pairs import Fits, agreed, fits, relative
from cnnjax.jigsaw.pieces import Arrangement, Cut, Shuffled, cut, render, shuffle, true_arrangement, turn
from cnnjax.jigsaw.scoring import Score, right_best_neighbors, right_cells, score
from cnnjax.jigsaw.solver import Solution, solve

__all__ = [
    "Arrangement",
    "Cut",
    "Diagnosis",
    "Dissimilarity",
    "Fits",
    "Score",
    "Shuffled",
    "Solution",
    "agreed",
    "best_buddies",
    "color_jump",
    "cut",
    "diagnose",
    "facing_left",
    "facing_right",
    "fits",
    "frames",
    "gradient_and_prediction",
    "in_lab",
    "mahalanobis_gradient",
    "pomeranz",
    "relative",
    "render",
    "rgb_to_lab",
    "right_best_neighbors",
    "right_cells",
    "score",
    "shuffle",
    "solve",
    "true_arrangement",
    "turn",
]
