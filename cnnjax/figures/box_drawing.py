"""How a network is drawn: its maps as boxes to scale in a row, its dense layers as bars, its shortcuts as arcs."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cnnjax.figures.drawing import Drawing, Outline, Point, Shape, Words, arrow, box
from cnnjax.figures.style import FAINT, INK

FRONT, TOP, SIDE, BAR, IMAGE, LINES = "#cfe3f5", "#e6f0fa", "#a9cbe8", "#bfe3d0", "#e8e8e8", "#8a8a8a"
SHORTCUT = "#D55E00"
TALLEST, TALLEST_IMAGE, THICK, LONGEST_BAR = 120.0, 260.0, 520.0, 150.0
"""The tallest box of a map and of the image, all channels together, the longest bar."""
SLANT = (0.30, 0.22)
"""Where width goes: to the right and up, for each unit."""
EDGE, GAP, LINE = 14.0, 16.0, 13.0
NOTE = "Boxes: height and width of all maps to one scale, thickness: channels to another. Bars: units, to a third."


class Column(NamedTuple):
    """A layer as it is drawn."""

    name: str
    size: tuple[int, ...]
    """Height, width and channels, or length and channels; or the number of units."""
    made: str
    parameters: int
    towers: int = 1
    shortcut: bool = False
    reads: tuple[str, ...] = ()
    times: int = 1
    """How many layers like this one stand in a row."""


class _Place(NamedTuple):
    """Where a column stands: its left edge, the heights at which its towers have their middles, and their sides."""

    x: float
    centers: tuple[float, ...]
    width: float
    height: float
    slant: tuple[float, float]

    @property
    def reach(self) -> float:
        """From the middle to the highest and the lowest point."""
        return (self.height + self.slant[1]) / 2


def boxes_drawing(columns: Sequence[Column], title: str) -> Drawing:
    """The columns from left to right."""
    maps = [column for column in columns if len(column.size) > 1]
    tallest = max((column.size[0] for column in maps[1:]), default=columns[0].size[0])
    scale = min(TALLEST / tallest, TALLEST_IMAGE / columns[0].size[0])
    thickness = min(3.0, THICK / sum(column.size[-1] / column.towers for column in maps))
    per_unit = LONGEST_BAR / max((column.size[0] for column in columns if len(column.size) == 1), default=1)
    apart = GAP + scale * (1 + SLANT[1]) * max((column.size[0] for column in maps if column.towers > 1), default=0)
    x, places, shapes = EDGE, list[_Place](), list[Shape]()
    for column in columns:
        place, width = _place(column, x, apart, scale, thickness, per_unit)
        places.append(place)
        x += width + GAP
    arcs = 30.0 if any(column.shortcut or len(column.reads) > 1 for column in columns) else 6.0
    middle = 2 * EDGE + arcs + 8 - min(center - place.reach for place in places for center in place.centers)
    places = [place._replace(centers=tuple(center + middle for center in place.centers)) for place in places]
    bottom = max(center + place.reach for place in places for center in place.centers) + 16
    for i in range(1, len(columns)):
        shapes += _lines(columns[i - 1], places[i - 1], columns[i], places[i])
    for column, place in zip(columns, places, strict=True):
        for center in place.centers:
            shapes += _box(column, place, center)
        shapes += _labels(column, place, bottom)
    for start, end in _arcs(columns):
        shapes += _arc(places[start], places[end])
    height = bottom + 5 * LINE + 2 * EDGE
    width = max(x, 6.6 * len(title) + 2 * EDGE, 5.6 * len(NOTE) + 2 * EDGE)
    shapes.append(Words(title, EDGE, EDGE + 4, 12, anchor="start", bold=True))
    shapes.append(Words(NOTE, EDGE, height - EDGE, 9, FAINT, "start"))
    return Drawing(width, height, tuple(shapes))


def _place(
    column: Column, x: float, apart: float, scale: float, thickness: float, per_unit: float
) -> tuple[_Place, float]:
    """Where a column from x on stands, about 0, and its width with its labels."""
    if len(column.size) == 1:
        width, height, slant = 9.0, max(4.0, column.size[0] * per_unit), (0.0, 0.0)
    else:
        across = column.size[1] * scale if len(column.size) == 3 else 0.0
        width = max(2.0, column.size[-1] / column.towers * thickness)
        height, slant = max(2.0, column.size[0] * scale), (SLANT[0] * across, SLANT[1] * across)
    centers = tuple((tower - (column.towers - 1) / 2) * apart for tower in range(column.towers))
    drawn = width + slant[0]
    whole = max(drawn, 5.6 * max(map(len, _texts(column))))
    return _Place(x + (whole - drawn) / 2, centers, width, height, slant), whole


def _texts(column: Column) -> list[str]:
    name = column.name if column.times == 1 else f"{column.name} … ×{column.times}"
    size = f"{column.size[0]:,} units" if len(column.size) == 1 else "×".join(map(str, column.size))
    lines = [name, size, column.made, f"{counted(column.parameters)} parameters" if column.parameters else ""]
    return [line for i, line in enumerate(lines) if line or i < 2]


def counted(n: int) -> str:
    """A number of parameters, short: 156, 2.4 k, 37.7 M."""
    if n < 1000:
        return str(n)
    unit, sign = (1e6, "M") if n >= 999_500 else (1e3, "k")
    return f"{n / unit:.3g} {sign}"


def _box(column: Column, place: _Place, center: float) -> Iterator[Shape]:
    x, width, height, (right, up) = place.x, place.width, place.height, place.slant
    top = center - (height - up) / 2
    image = column.name == "images"
    look: Any = dict(stroke=INK, width=0.7)
    if right:
        roof = ((x, top), (x + right, top - up), (x + width + right, top - up), (x + width, top))
        wall = ((x + width, top), (x + width + right, top - up), (x + width + right, top - up + height))
        yield Outline(roof, fill=IMAGE if image else TOP, **look)
        yield Outline((*wall, (x + width, top + height)), fill=IMAGE if image else SIDE, **look)
    yield box(x, top, width, height, fill=BAR if len(column.size) == 1 else IMAGE if image else FRONT, **look)


def _labels(column: Column, place: _Place, bottom: float) -> Iterator[Shape]:
    center = place.x + (place.width + place.slant[0]) / 2
    for number, line in enumerate(_texts(column)):
        look: Any = dict(bold=True) if number == 0 else dict(color=FAINT)
        yield Words(line, center, bottom + LINE * number, 9, **look)


def _lines(before: Column, start: _Place, after: Column, end: _Place) -> Iterator[Shape]:
    """From a layer to the next: straight within a tower, crossing where a layer of one product reads all."""
    crossed = before.towers == after.towers > 1 and after.made and "groups" not in after.made
    for s, first in enumerate(start.centers):
        for e, second in enumerate(end.centers):
            if before.towers != after.towers or s == e or crossed:
                line = ((start.x + start.width + start.slant[0] + 2, first), (end.x - 2, second))
                yield from arrow(line, stroke=LINES, width=0.8)


def _arcs(columns: Sequence[Column]) -> Iterator[tuple[int, int]]:
    """From where to where a shortcut leads: over a layer that has one within, and from layers further back."""
    at = {column.name: i for i, column in enumerate(columns)}
    for i, column in enumerate(columns):
        if column.shortcut and len(column.reads) == 1:
            yield i - 1, i
        yield from ((at[name], i) for name in column.reads if name in at and at[name] < i - 1 and len(column.reads) > 1)


def _arc(start: _Place, end: _Place) -> Iterator[Shape]:
    def roof(place: _Place) -> Point:
        return place.x + (place.width + place.slant[0]) / 2, min(place.centers) - place.reach - 3

    (a, b), (x, y) = roof(start), roof(end)
    high = min(b, y) - 22
    points = []
    for step in range(17):
        t = step / 16
        points.append((a + (x - a) * (1 - math.cos(math.pi * t)) / 2, _bezier(b, high, y, t)))
    yield from arrow(points, stroke=SHORTCUT, width=1.3)


def _bezier(start: float, top: float, end: float, t: float) -> float:
    return (1 - t) ** 3 * start + 3 * t * (1 - t) * top + t**3 * end
