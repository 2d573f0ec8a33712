"""Is the border of a patch enough to know its neighbour? Cuts a photograph into pieces, mixes them, puts them together.

    python -m experiments.jigsaw
    python -m experiments.jigsaw --image photo.jpg --piece 28 --rotate
    python -m experiments.jigsaw --image coffee --shuffle-pixels        the control: no structure, no picture

`--image` names a file or a photograph that scikit-image or scikit-learn carries. Draws the pieces before and after,
with wrong ones marked, and prints how many are in their place and beside their neighbour; the objective of the answer
beside that of the truth (if the truth's is higher, the prior was misled; if it is lower, the search was); and how many
pieces have a twin with the same frame, which nothing tells apart.

Expected: chelsea, a cat of 160 pieces, is put together without an error, turned or not; with its pixels shuffled
nothing is, and the program says so.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cnnjax import jigsaw, runtime
from cnnjax.data import load_image
from cnnjax.figures import save
from cnnjax.files import write_atomic
from cnnjax.runs import Progress, Table, open_run, show_tables
from cnnjax.sweep.ranges import check_ranges
from experiments.jigsaw import figures
from experiments.shared.puzzles import measures

TAKES = "half a minute on two cores"

_NO_STRUCTURE = (
    "No structure seen: borders that fit each other best close no more 2×2 blocks than chance would, so the "
    "arrangement means nothing."
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the jigsaw."""

    image: str = "chelsea"
    """An image file, or the name of a photograph that scikit-image or scikit-learn carries."""
    piece: int = 28
    """Side of a piece in pixels."""
    rotate: bool = False
    """Turn the pieces too (type 2)."""
    shuffle_pixels: bool = False
    """The control: mix all pixels of the image before it is cut."""
    patience: int = 24
    """Repairs without gain after which the search ends."""
    seed: int = 0
    """Seed of the mixing and of the search."""
    out: Path | None = None
    """The run directory (by default runs/jigsaw/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Cut, mix and solve, print the table, draw the figure, and return the run directory."""
    check_ranges(config)
    runtime.configure()
    image = jnp.asarray(load_image(config.image))
    for_pixels, for_mixing, for_search = jax.random.split(jax.random.key(config.seed), 3)
    if config.shuffle_pixels:
        image = jax.random.permutation(for_pixels, image.reshape(-1, 3)).reshape(image.shape)
    puzzle = jigsaw.cut(image, side=config.piece)
    mixed = jigsaw.shuffle(for_mixing, puzzle.pieces, rotate=config.rotate)
    truth = jigsaw.true_arrangement(mixed, puzzle.grid)
    with open_run("jigsaw", config, out=config.out) as directory:
        with Progress(1) as progress:
            if any(puzzle.cropped):
                progress.note(
                    f"cropped: {puzzle.cropped[0]} rows at the bottom, {puzzle.cropped[1]} columns at the right"
                )
            progress.cell(f"{puzzle.grid[0]}×{puzzle.grid[1]} pieces")
            began = time.perf_counter()
            solution = jigsaw.solve(
                mixed.pieces,
                puzzle.grid,
                key=for_search,
                rotate=config.rotate,
                patience=config.patience,
                progress=progress.advance,
            )
            seconds = time.perf_counter() - began
        row = measures(solution, mixed, truth) | {"seconds": seconds}
        directory.log(**row)
        write_atomic(directory.path / "result.json", json.dumps(row, indent=2))
        show_tables(directory, [_table(row, solution.diagnosis.structure)])
        save(_figure(config, mixed, solution, truth), directory.figures / "before_and_after.png")
        return directory.path


def _table(row: dict[str, Any], structure: bool) -> Table:
    percent = {
        "pieces in their place (direct)": "direct",
        "true neighbours found": "neighbour",
        "in place, twins as one": "direct_twins",
        "neighbours, twins as one": "neighbour_twins",
        "borders that are best buddies": "best_buddies",
    }
    rows = [{"measure": name, "value": f"{100 * row[key]:.1f} %"} for name, key in percent.items()]
    rows += [
        {"measure": "every piece in place", "value": "yes" if row["perfect"] else "no"},
        {"measure": "pieces", "value": f"{row['pieces']}"},
        {"measure": "pieces with a twin (ambiguous)", "value": f"{row['twins']}"},
        {"measure": "2×2 blocks closed by best buddies", "value": f"{row['loops']}"},
        {"measure": "objective of the answer", "value": f"{row['objective']:.1f}"},
        {"measure": "objective of the truth", "value": f"{row['objective_of_truth']:.1f}"},
        {"measure": "seconds", "value": f"{row['seconds']:.1f}"},
    ]
    about = "" if structure else _NO_STRUCTURE
    if row["twins"]:
        about = " ".join(filter(None, [about, "Twins have the same frame, two pixels deep: any order of them fits."]))
    return Table(rows, "The answer", about)


def _figure(config: Config, mixed: jigsaw.Shuffled, solution: jigsaw.Solution, truth: jigsaw.Arrangement) -> Any:
    labels = jigsaw.frames(mixed.pieces)
    shown, right = jigsaw.right_cells(solution.arrangement, truth)
    twins = labels[shown.pieces, shown.turns % 4] == labels[truth.pieces, truth.turns % 4]
    found = jigsaw.score(solution.arrangement, truth)
    what = f"{len(mixed.pieces)} pieces of {config.piece}×{config.piece} pixels"
    title = f"{what}: {100 * found.direct:.0f} % in their place, {100 * found.neighbour:.0f} % of neighbours right"
    notes = [] if solution.diagnosis.structure else [_NO_STRUCTURE]
    return figures.before_and_after(mixed.pieces, shown, wrong=~right, twins=twins, title=title, notes=notes)
