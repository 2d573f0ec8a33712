"""Does a network that learned which borders fit beat a formula for it?

A small network reads the steps of colour across the border of two pieces, row by row, and is trained on borders of
photographs to pick each border's true neighbour among others. Photographs are in two halves (the two views of the
motorcycle in the same); a network is trained on one half and tested on the other, so that every photograph is tested by
networks that never saw it. The measure is the share of borders whose best fit among all pieces is the true neighbour.

    python -m experiments.jigsaw_learned

The compared formula, MGC, knows nothing but the two pieces before it. Expected: the network knows more neighbours than
steps of colour do, and fewer than MGC. The same command goes on where a killed one was.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax

from cnnjax import jigsaw, runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, open_run, show_tables
from cnnjax.stats import over_seeds
from cnnjax.sweep.ranges import check_ranges
from cnnjax.sweep.seeds import Seeds
from experiments.jigsaw_learned.border_network import Learned, Spec, train
from experiments.shared.puzzles import DISSIMILARITIES, best_neighbors, photograph

TAKES = "some ten minutes on two cores"

GROWS = ("seeds",)
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the experiment."""

    one_half: tuple[str, ...] = ("astronaut", "coffee", "motorcycle", "motorcycle_right", "retina", "flower")
    """Names of carried photographs, or image files."""
    other_half: tuple[str, ...] = ("chelsea", "rocket", "immunohistochemistry", "hubble", "china")
    """Others; views of one scene belong into the same half."""
    piece: int = 28
    """Side of a piece in pixels."""
    steps: int = 800
    """Training steps of each network, each on the borders of one photograph."""
    seeds: int = 3
    """Networks trained on each half."""
    out: Path | None = None
    """The run directory (by default runs/jigsaw_learned/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Train on each half, test on the other, print the table, and return the run directory."""
    check_ranges(config)
    halves = (config.one_half, config.other_half)
    if not all(halves) or set(config.one_half) & set(config.other_half):
        raise InputError("one_half and other_half must name at least one photograph each, and none in both")
    runtime.configure()
    photographs = {name: photograph(name) for half in halves for name in half}
    for image in photographs.values():
        jigsaw.cut(image, side=config.piece)
    cells = [(tested, seed) for tested in (0, 1) for seed in config.numbers]
    with open_run("jigsaw_learned", config, out=config.out, grows=GROWS) as directory:
        with Progress(len(cells) + 1) as progress:
            learned = []
            for tested, seed in cells:
                label = f"tested-half{tested}-seed{seed}"
                train_and_test = partial(_cell, photographs, halves, tested, seed, config, progress)
                learned.append((seed, directory.once(label, "result.json", train_and_test, progress=progress)))
            progress.cell("formulas")
            formulas = {
                name: {
                    image: best_neighbors(pixels, dissimilarity, piece=config.piece)
                    for image, pixels in photographs.items()
                }
                for name, dissimilarity in DISSIMILARITIES.items()
            }
        show_tables(directory, [_table(learned, formulas, config)])
        return directory.path


def _cell(
    photographs: dict[str, jax.Array],
    halves: tuple[tuple[str, ...], ...],
    tested: int,
    seed: int,
    config: Config,
    progress: Progress,
) -> dict[str, float]:
    """The share of right best neighbours in each photograph of one half, for a network trained on the other."""
    key = jax.random.fold_in(jax.random.key(seed), tested)
    seen = [photographs[name] for name in halves[1 - tested]]
    params = train(seen, key, spec=Spec(config.steps), side=config.piece, progress=progress.advance)
    network = Learned(params)
    return {name: best_neighbors(photographs[name], network, piece=config.piece) for name in halves[tested]}


def _table(learned: list[tuple[int, dict[str, float]]], formulas: dict[str, dict[str, float]], config: Config) -> Table:
    by_seed: dict[int, dict[str, float]] = {}
    for seed, shares in learned:
        by_seed.setdefault(seed, {}).update(shares)
    rows: list[dict[str, Any]] = []
    for image in [*config.one_half, *config.other_half]:
        rows.append(
            {
                "image": Path(image).stem,
                **{name: shares[image] for name, shares in formulas.items()},
                "learned": over_seeds([shares[image] for shares in by_seed.values()]),
            }
        )
    rows.append(
        {
            "image": "all",
            **{name: sum(shares.values()) / len(shares) for name, shares in formulas.items()},
            "learned": over_seeds([sum(shares.values()) / len(shares) for shares in by_seed.values()]),
        }
    )
    about = (
        f"Borders whose best fit is the true neighbour, in percent, pieces of {config.piece} pixels. Learned: "
        f"networks of {config.steps} steps, tested on photographs that they never saw."
    )
    return Table(rows, "Right best neighbours", about, percent=True)
