"""How figures look: one quiet style, a colour that a cell keeps, a frame that says what is shown."""

import contextlib
import functools
import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#2b2b2b"
FAINT = "#6f6f6f"
GRID = "#dddddd"

# Okabe and Ito (2008), "Color Universal Design": told apart with every common colour vision. Grey comes first, for
# the first cell is commonly the baseline; yellow is left out, for it vanishes on white.
_PALETTE = ("#555555", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.axisbelow": True,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "white",
    "mathtext.default": "regular",
}

_TITLE_ROW, _LEGEND_ROW, _NOTE_ROW, _EDGE = 0.26, 0.22, 0.16, 0.08  # inches


@checked()
def colors(cells: Sequence[str]) -> dict[str, str]:
    """A colour for every cell, by order; ask once with all cells, and give every figure the answer."""
    names = list(dict.fromkeys(cells))
    if len(names) <= len(_PALETTE):
        return dict(zip(names, _PALETTE, strict=False))
    with styled():
        import matplotlib
        from matplotlib.colors import to_hex

        ramp = matplotlib.colormaps["viridis"].resampled(len(names) + 1)  # its last colour vanishes on white
        return {name: to_hex(ramp(i)) for i, name in enumerate(names)}


@checked()
def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG of 150 dots an inch, at once; the folder is made if need be."""
    content = png(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)


@checked()
def png(figure: "Figure") -> bytes:
    """A figure as a PNG of 150 dots an inch, as `save` writes it."""
    image = io.BytesIO()
    with styled():
        figure.savefig(image, format="png", dpi=150)
    return image.getvalue()


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in this module's style, as a context or a decorator; raises InputError where matplotlib is not installed."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise InputError("Figures need matplotlib, which is not installed: `pip install matplotlib`.") from error
    with mpl.rc_context(_STYLE):
        yield


@checked()
def tidy(axes: "Axes", *, grid: Literal["both", "x", "y", ""] = "both") -> None:
    """Take away what carries no data, two of the four borders and the tick marks; leave a light grid ("" for none)."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0, pad=5, labelsize=8.5, labelcolor=FAINT)
    if grid:
        axes.grid(True, axis=grid, color=GRID, linewidth=0.6)  # pyright: ignore[reportArgumentType]


@checked()
def frame(figure: "Figure", title: str, notes: Sequence[str], legend: "Axes | None" = None) -> None:
    """Put a title and the legend of the axes `legend` above a figure, notes below it, and give the rest to its axes.

    A notebook then shows the figure as a picture, whether or not pyplot was imported. Raises InputError for a figure
    without a constrained or compressed layout.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine, TightLayoutEngine

    engine = figure.get_layout_engine()
    if not isinstance(engine, ConstrainedLayoutEngine | TightLayoutEngine):
        raise InputError('figure has no layout that makes room: make it with Figure(layout="constrained")')
    # A notebook asks an object for its picture; matplotlib says how for all figures, but only once pyplot is imported.
    figure._repr_png_ = functools.partial(png, figure)  # pyright: ignore[reportAttributeAccessIssue]
    width, height = figure.get_size_inches()
    titles = textwrap.wrap(title, int(width * 9.5))
    top = _EDGE + _TITLE_ROW * len(titles) + _EDGE
    heading = figure.text(_EDGE / width, 1 - _EDGE / height, "\n".join(titles), va="top", fontsize=11.5, weight="bold")
    heading.set_in_layout(False)
    handles, labels = ([], []) if legend is None else legend.get_legend_handles_labels()
    if labels:
        across = max(1, int(width / (0.6 + 0.085 * max(map(len, labels)))))
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(_EDGE / width, 1 - top / height),
            ncols=min(across, len(labels)),
            borderpad=0,
            borderaxespad=0,
            handlelength=1.6,
            columnspacing=1.8,
        ).set_in_layout(False)
        top += _LEGEND_ROW * -(-len(labels) // across) + _EDGE
    lines = textwrap.wrap("  ".join(filter(None, notes)), int(width * 16))
    note = figure.text(_EDGE / width, _EDGE / height, "\n".join(lines), va="bottom", fontsize=8, color=FAINT)
    note.set_in_layout(False)
    bottom = _EDGE + _NOTE_ROW * len(lines)
    engine.set(rect=(0, bottom / height, 1, 1 - (top + bottom) / height))


@checked()
def short_labels(cells: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What the cells differ in, and a short label for each: `augmentation=none`, `augmentation=crop` as `none`, `crop`.

    The first value is a phrase for a title, such as `, by augmentation`; empty where the names are not settings.
    """
    names = list(dict.fromkeys(cells))
    parts = [[part.partition("=") for part in name.split(",")] for name in names]
    keys = [tuple(key for key, _, _ in row) for row in parts]
    if len(names) < 2 or len(set(keys)) > 1 or not all(equals for row in parts for _, equals, _ in row):
        return "", {name: name for name in names}
    varying = [i for i in range(len(keys[0])) if len({row[i][2] for row in parts}) > 1]
    phrase = ", by " + " and ".join(keys[0][i].replace("_", " ").strip() for i in varying)
    return phrase, {name: ", ".join(row[i][2] for i in varying) for name, row in zip(names, parts, strict=True)}


@checked()
def seeds_note(counts: Sequence[int]) -> str:
    """What a line and its band are, where cells have `counts` seeds; raises InputError for no cells."""
    if not counts:
        raise InputError("counts is empty: give the number of seeds of each cell")
    low, high = min(counts), max(counts)
    if high == 1:
        return "One seed."
    return f"Line: mean over {low if low == high else f'{low} to {high}'} seeds; band: lowest to highest seed."


def draw_chance(axes: Any, chance: float | int | None, *, upright: bool = False, errors: bool = False) -> list[str]:
    """A dotted line at a share, in percent, and the note that says what it is; nothing for None.

    With `errors` the axis is of errors, and the line at what is left of 100 %. Raises InputError for what is not a
    share.
    """
    if chance is None:
        return []
    if not 0 <= chance <= 1:
        raise InputError(f"chance={chance} must be a share, from 0 to 1")
    place = 100 * (1 - chance if errors else chance)
    (axes.axvline if upright else axes.axhline)(place, color=FAINT, linewidth=0.9, linestyle=":", zorder=1)
    return [chance_note(chance)]


def chance_note(chance: float | int) -> str:
    """What a dotted line is."""
    return f"Dotted: always the commonest class, right for {100 * chance:.1f} %."


def need(table: Any, columns: Sequence[str]) -> None:
    """Raise InputError where a pandas table lacks one of `columns`, or rows."""
    if missing := [name for name in columns if name not in table]:
        have = ", ".join(map(str, table.columns))
        raise InputError(f"The table lacks the columns {', '.join(missing)}; it has {have}.")
    if not len(table):
        raise InputError("The table has no rows; there is nothing to draw.")
