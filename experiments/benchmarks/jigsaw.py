"""How much of a shuffled photograph do its borders put together again?

Eleven photographs that scikit-image and scikit-learn carry, cut into pieces of 28 pixels, mixed, and, as type 2, turned
as well; solved five times, each with its own mixing. Photographs of more than 600 rows, retina and hubble, are reduced
to 512. Before that, how often the true neighbour is the best fit under each dissimilarity alone.

    python -m experiments.benchmarks.jigsaw
    python -m experiments.benchmarks.jigsaw --types 1 --seeds 2 --images chelsea coffee

Expected: type 1 with more than 93 % of the neighbours right. What is missing are pieces that nothing tells apart
(retina's black corners) and hubble's stars on noise. The same command goes on where a killed one was.
"""

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from cnnjax import jigsaw, runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, Table, main, open_run, show_tables
from cnnjax.stats import over_seeds
from experiments.shared.puzzles import DISSIMILARITIES, best_neighbors, measures, photograph

TAKES = "about a quarter of an hour on two cores"

IMAGES = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "motorcycle",
    "motorcycle_right",
    "immunohistochemistry",
    "retina",
    "hubble",
    "china",
    "flower",
)
_MANY = 1225  # pieces, 35 by 35


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    images: tuple[str, ...] = IMAGES
    """Names of carried images, or image files."""
    piece: int = 28
    """Side of a piece in pixels."""
    types: tuple[Literal[1, 2], ...] = (1, 2)
    """1: pieces are mixed; 2: they are turned as well."""
    seeds: int = 5
    """Mixings of each image."""
    out: Path | None = None
    """The run directory (by default runs/benchmarks_jigsaw/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure everything, print the tables, write them as Markdown and CSV, and return the run directory."""
    if config.seeds < 1 or not config.images or not config.types:
        raise InputError("seeds must be at least 1, and images and types must name at least one each")
    runtime.configure()
    photographs = {name: photograph(name) for name in config.images}
    for image in photographs.values():
        jigsaw.cut(image, side=config.piece)
    cells = [(name, kind, seed) for kind in config.types for name in config.images for seed in range(config.seeds)]
    with open_run("benchmarks_jigsaw", config, out=config.out) as directory:
        rows: list[dict[str, Any]] = []
        best: list[dict[str, Any]] = []
        with Progress(len(DISSIMILARITIES) + len(cells)) as progress:
            for number, (name, dissimilarity) in enumerate(DISSIMILARITIES.items()):
                alone = partial(_alone, name, dissimilarity, photographs, config.piece)
                best.append(directory.once(f"dissimilarity{number}", "result.json", alone, progress=progress))
            for name, kind, seed in cells:
                label = f"{Path(name).stem}-type{kind}-seed{seed}"
                about = {"image": Path(name).stem, "type": kind, "seed": seed}
                solve = partial(solve_once, photographs[name], config.piece, seed, rotate=kind == 2, progress=progress)
                rows.append(about | directory.once(label, "result.json", solve, progress=progress))
        _report(directory, rows, best, config)
        return directory.path


def _alone(
    name: str, dissimilarity: jigsaw.Dissimilarity, photographs: dict[str, jax.Array], piece: int
) -> dict[str, Any]:
    """How often the best fit is the true neighbour, and how long all pairs of many pieces take, compilation aside."""
    shares = [best_neighbors(image, dissimilarity, piece=piece) for image in photographs.values()]
    pieces = jax.random.uniform(jax.random.key(0), (_MANY, piece, piece, 3))
    jigsaw.fits(pieces, dissimilarity)
    began = time.perf_counter()
    jigsaw.fits(pieces, dissimilarity)
    seconds = time.perf_counter() - began
    return {
        "dissimilarity": name,
        "right best neighbour": float(np.mean(shares)),
        f"{_MANY:,} pieces, s": f"{seconds:.2f}",
    }


def solve_once(image: jax.Array, piece: int, seed: int, *, rotate: bool, progress: Progress) -> dict[str, Any]:
    """Cut, mix and solve an image; the scores, objectives and seconds of the answer."""
    puzzle = jigsaw.cut(image, side=piece)
    for_mixing, for_search = jax.random.split(jax.random.key(seed))
    mixed = jigsaw.shuffle(for_mixing, puzzle.pieces, rotate=rotate)
    began = time.perf_counter()
    solution = jigsaw.solve(mixed.pieces, puzzle.grid, key=for_search, rotate=rotate, progress=progress.advance)
    seconds = time.perf_counter() - began
    truth = jigsaw.true_arrangement(mixed, puzzle.grid)
    return {**measures(solution, mixed, truth), "seconds": seconds}


def _report(directory: Any, rows: list[dict[str, Any]], best: list[dict[str, Any]], config: Config) -> None:
    import pandas as pd

    frame: Any = pd.DataFrame(rows)
    directory.write_table("summary", frame)
    tables = [
        Table(
            best,
            "Right best neighbours",
            f"In percent; {len(config.images)} images, each counting alike; one mixing. Seconds for the costs of all "
            "pairs, at the right and below, compilation aside.",
            percent=True,
        )
    ]
    about = (
        f"Pieces of {config.piece} pixels, {config.seeds} mixings. Direct: pieces in their place; neighbour: true "
        "neighbours found; in percent. Twins as one: pieces whose frames are equal count as one. Truth − found: "
        "objective of the true arrangement minus that of the answer; negative where the search failed, positive where "
        "the prior did."
    )
    for kind in config.types:
        chosen = frame[frame["type"] == kind]
        table = [_row(name, group) for name, group in chosen.groupby("image", sort=False)]
        columns = ["direct", "neighbour", "perfect", "direct_twins", "neighbour_twins", "perfect_twins"]
        means = chosen.groupby("seed")[[*columns, "seconds"]].mean()
        table.append(
            {
                "image": "all",
                "pieces": "",
                **{name: over_seeds(means[key]) for name, key in _COLUMNS.items()},
                "truth − found": "",
                "twins": "",
                "seconds": f"{means['seconds'].mean():.1f}",
            }
        )
        title = f"Type {kind}: {'mixed and turned' if kind == 2 else 'mixed'}"
        tables.append(Table(table, title, about, percent=True))
    show_tables(directory, tables)


_COLUMNS = {
    "direct": "direct",
    "neighbour": "neighbour",
    "perfect": "perfect",
    "direct, twins as one": "direct_twins",
    "neighbour, twins as one": "neighbour_twins",
}


def _row(name: Any, group: Any) -> dict[str, Any]:
    gap = (group["objective_of_truth"] - group["objective"]).mean()
    return {
        "image": name,
        "pieces": int(group["pieces"].iloc[0]),
        **{column: over_seeds(group[key]) for column, key in _COLUMNS.items()},
        "truth − found": f"{gap:.1f}",
        "twins": int(group["twins"].iloc[0]),
        "seconds": f"{group['seconds'].mean():.1f}",
    }


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.benchmarks.jigsaw", can_tell=False)
