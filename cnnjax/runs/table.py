"""Results as a table, on a terminal and in Markdown: a mean ± half the width of its interval."""

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnjax.door import checked
from cnnjax.door.limits import NotNegative
from cnnjax.errors import InputError
from cnnjax.stats.intervals import Interval, describe_methods

if TYPE_CHECKING:
    import pandas


Percent = bool | Collection[str]
"""The columns whose fractions are shown in percent; True: all."""


@checked()
def print_table(
    rows: "pandas.DataFrame | Sequence[Mapping[str, Any]]",
    *,
    title: str,
    caption: str = "",
    percent: Percent = (),
    digits: NotNegative = 1,
) -> None:
    """Print `rows` as a table on the standard output: the first column labels the rows, the others are cells.

    Intervals and floats are rounded to `digits`, those of the columns named in `percent` (True: of all) as percent of
    1; text and ints stand as they are. The caption goes on to say what ± means and how large n is. Raises InputError
    for no rows, and a column in `percent` that is not there.
    """
    import rich.box
    import rich.console
    import rich.table

    header, body, meaning = as_text(rows, percent=percent, digits=digits)
    console = rich.console.Console(markup=False, highlight=False)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for i, (name, *cells) in enumerate(zip(header, *body, strict=True)):
        # A column is as wide as its cells: a header wraps at its spaces, a number is never torn apart.
        width = max(map(len, [*name.split(), *cells]))
        wrapped = "\n".join(textwrap.wrap(name, width, break_on_hyphens=False))
        table.add_column(wrapped, justify="right" if i else "left", no_wrap=True)
    for row in body:
        table.add_row(*row)
    # Wider than the terminal is harder to read than narrower, but loses nothing; rich would crop.
    console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    console.print(title, style="bold")
    console.print(table)
    if about := " ".join(filter(None, [caption, meaning])):
        console.print(about)


@checked()
def markdown(
    rows: "pandas.DataFrame | Sequence[Mapping[str, Any]]",
    *,
    caption: str = "",
    percent: Percent = (),
    digits: NotNegative = 1,
) -> str:
    """The table that `print_table` prints, as Markdown that is aligned in its source too; the caption follows it."""
    header, body, meaning = as_text(rows, percent=percent, digits=digits)
    # A bar, as of |g|, would end the cell.
    header, *body = [[cell.replace("|", r"\|") for cell in row] for row in (header, *body)]
    widths = [max(3, *map(len, column)) for column in zip(header, *body, strict=True)]
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    lines = []
    for first, *others in (header, rule, *body):
        cells = [first.ljust(widths[0]), *[cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]]
        lines.append(f"| {' | '.join(cells)} |")
    about = " ".join(filter(None, [caption, meaning]))
    return "\n".join([*lines, *(["", about] if about else [])]) + "\n"


@checked()
def format_interval(interval: Interval, *, scale: int | float = 100, digits: NotNegative = 1) -> str:
    """`97.3 ± 0.4`: mean and half the width of an interval, times `scale`; only the mean where there is none.

    An interval of two, whose width says little, is marked `(n = 2)`. One that ends at its mean, as shares do that are
    all 1 or all 0, has its other end: `100.0 (≥ 98.8)`, `0.0 (≤ 1.2)`. One of shares so near to 0 or 1 that it is far
    from symmetric has both its ends: `99.0 (96.3 to 99.9)`.
    """
    mean, low, high = (f"{value * scale:.{digits}f}" for value in interval[:3])
    if not math.isfinite(interval.low):
        return mean
    if _is_one_sided(interval):
        return f"{mean} (≤ {high})" if math.isclose(interval.mean, interval.low) else f"{mean} (≥ {low})"
    if _is_lopsided(interval):
        return f"{mean} ({low} to {high})"
    half = f"{(interval.high - interval.low) / 2 * scale:.{digits}f}"
    return f"{mean} ± {half}{' (n = 2)' * (interval.n == 2)}"


def _is_lopsided(interval: Interval) -> bool:
    """Whether it is of shares, and as far either way from its mean would lie outside [0, 1]."""
    half = (interval.high - interval.low) / 2
    return interval.method == "Gaffke" and not half <= interval.mean <= 1 - half


def _is_one_sided(interval: Interval) -> bool:
    """Whether one end of the interval, and only one, is its mean."""
    low, high = (math.isclose(interval.mean, end, abs_tol=1e-12) for end in (interval.low, interval.high))
    return low != high


def as_text(
    rows: "pandas.DataFrame | Sequence[Mapping[str, Any]]", *, percent: Percent, digits: int
) -> tuple[list[str], list[list[str]], str]:
    """The header, the cells as text, and what ± means in them.

    Raises InputError for no rows, and where `percent` names a column that is not there.
    """
    records: Any = rows if isinstance(rows, Sequence) else rows.to_dict("records")
    if not records:
        raise InputError("The table has no rows; did every cell of the experiment fail?")
    header = list(dict.fromkeys(name for record in records for name in record))
    if not isinstance(percent, bool) and (unknown := [name for name in percent if name not in header]):
        raise InputError(f"percent names {unknown[0]!r}, which is no column; there are {', '.join(map(str, header))}.")
    scales = [100 if percent is True or (percent and name in percent) else 1 for name in header]
    body = [
        [_text(record.get(name), scale, digits) for name, scale in zip(header, scales, strict=True)]
        for record in records
    ]
    intervals = [value for record in records for value in record.values() if isinstance(value, Interval)]
    return [str(name) for name in header], body, _meaning(intervals)


def _text(value: Any, scale: int | float, digits: int) -> str:
    if isinstance(value, Interval):
        return format_interval(value, scale=scale, digits=digits)
    if isinstance(value, float):
        return f"{value * scale:.{digits}f}" if math.isfinite(value) else "–"
    return "–" if value is None else str(value)


def _meaning(intervals: Sequence[Interval]) -> str:
    sentences = []
    for over, level in dict.fromkeys((interval.over, interval.level) for interval in intervals):
        some = [interval for interval in intervals if (interval.over, interval.level) == (over, level)]
        counts = {interval.n for interval in some}
        if counts == {1}:
            sentences.append(f"n = 1 {over[:-1]}, which has no interval.")
            continue
        n = " to ".join(f"{n}" for n in sorted({min(counts), max(counts)}))
        bounds = [interval for interval in some if _is_one_sided(interval)]
        if methods := {interval.method for interval in some if interval.n > 1 and interval not in bounds}:
            name = f"{level * 100:g} % {describe_methods(methods)} interval over n = {n} {over}"
            ends = "; in brackets: its ends, where it is far from symmetric" * any(map(_is_lopsided, some))
            sentences.append(f"±: half the width of the {name}{ends}.")
        if bounds:
            sentences.append(f"≥, ≤: the {level * 100:g} % bound by the number of images, all of which count, or none.")
    return " ".join(sentences)
