"""What an answer to a jigsaw is worth, as numbers."""

from typing import Any

from cnnjax.priors import jigsaw


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
