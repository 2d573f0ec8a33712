"""The cells of a table of layers: as numbers, as text, as HTML."""

import html
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnjax.analysis.network.layer_table import LayerRow, LayerTable


def as_records(table: "LayerTable") -> list[dict[str, Any]]:
    """The columns of each row, None in an empty cell."""
    endings, sides = {2: (("",), ("length",)), 3: (("_y", "_x"), ("height", "width"))}[len(table.image)]

    def record(row: "LayerRow") -> dict[str, Any]:
        cells: dict[str, Any] = {"layer": row.name}
        cells |= dict(zip((*sides, "channels"), row.map or [None] * (len(sides) + 1), strict=True))
        for name, values in _field(row).items():
            cells |= {name + ending: value for ending, value in zip(endings, values, strict=True)}
        cells["size_exact"] = all(row.field.exact)
        if table.generator is not None:
            cells |= {"effective" + ending: value for ending, value in zip(endings, _effective(row), strict=True)}
        cells |= {"parameters": row.cost.parameters, "multiply_adds": row.cost.multiply_adds}
        cells["multiply_adds_exact"] = not row.cost.inexact
        if table.generator is not None:
            cells["lie_share"] = _share(row)
        return cells

    return [record(row) for row in table.rows]


def as_text(table: "LayerTable") -> str:
    """The table with its columns aligned, and what it adds up to."""
    header, *body = _cells(table)
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(n) if i == 0 else cell.rjust(n) for i, (cell, n) in enumerate(zip(line, widths, strict=True))
        )
        for line in (header, ["─" * n for n in widths], *body)
    ]
    return "\n".join([*map(str.rstrip, lines), "", *_about(table)])


def as_html(table: "LayerTable") -> str:
    """The table as HTML, to stand in a page."""

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["left", *["right"] * (len(cells) - 1)]
        written = [
            f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        ]
        return f"<tr>{''.join(written)}</tr>"

    header, *body = _cells(table)
    rows = "\n".join(line(cells, "td") for cells in body)
    about = "<br>".join(map(html.escape, _about(table)))
    return f"<table>\n<thead>{line(header, 'th')}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n<p>{about}</p>"


def _cells(table: "LayerTable") -> list[list[str]]:
    measured = table.generator is not None
    columns: dict[str, Callable[[LayerRow], str]] = {
        "layer": lambda row: row.name,
        "map": lambda row: " × ".join(map(str, row.map or ())),
        "field": lambda row: _sides(_field(row)["size"], "≤ " * (not all(row.field.exact))),
        "stride": lambda row: _sides(_field(row)["stride"]),
        "padding": lambda row: _sides(_field(row)["padding"]),
        **({"effective": lambda row: _sides(_effective(row))} if measured else {}),
        "parameters": lambda row: f"{row.cost.parameters:,}",
        "multiply-adds": lambda row: "≈ " * bool(row.cost.inexact) + f"{row.cost.multiply_adds:,}",
        **({"Lie share": lambda row: _percent(_share(row))} if measured else {}),
    }
    return [list(columns), *([cell(row) for cell in columns.values()] for row in table.rows)]


def _about(table: "LayerTable") -> list[str]:
    costs = [row.cost for row in table.rows]
    about = "about " * any(cost.inexact for cost in costs)
    lines = [
        f"{sum(cost.parameters for cost in costs):,} parameters, {about}{sum(c.multiply_adds for c in costs):,} "
        f"multiply-adds for an image of {' × '.join(map(str, table.image))}.",
        "Field, stride, padding: the receptive field, in pixels; height × width where they differ"
        + "; ≤: a bound" * (not all(all(row.field.exact) for row in table.rows))
        + ".",
    ]
    if table.generator is not None:
        lines.append(
            "Effective: four standard deviations of the effective field of the middle unit. Lie share: of the Lie "
            f"derivative of the output along {table.generator}."
        )
    return lines


def _field(row: "LayerRow") -> dict[str, list[Any]]:
    """Size, stride and padding along each axis; the last two only where units lie along it."""
    field = row.field
    held = [axis is not None for axis in field.axis]
    steps = {"stride": field.stride, "padding": field.padding}
    return {
        "size": [_number(n) for n in field.size],
        **{k: [_number(n) if h else None for n, h in zip(v, held, strict=True)] for k, v in steps.items()},
    }


def _effective(row: "LayerRow") -> list[float | None]:
    return [None] * len(row.field.axis) if row.effective is None else [4 * sigma for sigma in row.effective.sigma]


def _share(row: "LayerRow") -> float | None:
    return row.lie.share if row.lie is not None and math.isfinite(row.lie.share) else None


def _percent(share: float | None) -> str:
    # Adding 0 turns −0 into 0.
    return "" if share is None else f"{round(share, 3) + 0:.1%}"


def _number(n: int | Fraction) -> int | float:
    return int(n) if n == int(n) else float(n)


def _sides(values: Sequence[Any], before: str = "") -> str:
    """Both numbers of a pair, or the one that they are; nothing where there is none."""
    texts = ["" if n is None else f"{n:.1f}" if isinstance(n, float) else f"{n}" for n in values]
    if not any(texts):
        return ""
    return before + (texts[0] if len(set(texts)) == 1 else " × ".join(text or "–" for text in texts))
