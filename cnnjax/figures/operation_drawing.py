"""How the operations within a layer are drawn: the longest way down the middle, shortcuts beside it."""

from collections.abc import Iterator, Sequence

from cnnjax.figures.box_drawing import SHORTCUT
from cnnjax.figures.drawing import Drawing, Shape, Words, arrow, box
from cnnjax.figures.style import FAINT, INK
from cnnjax.program.structure import Part

WIDE, TALL, STEP, LANE = 150.0, 26.0, 42.0, 178.0
EDGE = 14.0
FILLS = {"+": "#f7d9a8", "×": "#f7d9a8", "ReLU": "#f2f2f2", "normalisation": "#f2f2f2"}


def operations_drawing(parts: Sequence[Part], title: str) -> Drawing:
    """The parts of a layer from top to bottom, in order of what they wait for."""
    rank: dict[int, int] = {-1: 0}
    for number, part in enumerate(parts):
        rank[number] = 1 + max((rank[read] for read in part.reads), default=0)
    main = _longest(parts, rank)
    lanes = dict.fromkeys((-1, *main), 0)
    for number in range(len(parts)):
        if number not in lanes:
            beside = {lanes[other] for other in lanes if rank[other] == rank[number]}
            lanes[number] = min(set(range(1, len(parts) + 2)) - beside)
    far = [(read, n) for n, part in enumerate(parts) for read in part.reads if _passes(read, n, rank, lanes)]
    free = {pair: 1 + max(lanes.values()) + i for i, pair in enumerate(far)} if max(lanes.values()) else {}
    free = free or {pair: 1 + i for i, pair in enumerate(far)}
    last = max((*lanes.values(), *free.values(), 0))
    middle = EDGE + WIDE / 2
    top = EDGE + 40

    def at(number: int) -> tuple[float, float]:
        return middle + LANE * min(lanes[number], 1) + 40 * max(lanes[number] - 1, 0), top + STEP * rank[number]

    shapes: list[Shape] = [Words(title, EDGE, EDGE + 4, 12, anchor="start", bold=True)]
    for number, part in enumerate(parts):
        for read in part.reads:
            lane = free.get((read, number))
            shapes += _edge(at(read), at(number), None if lane is None else middle + WIDE / 2 + 26.0 * lane)
    for number in (-1, *range(len(parts))):
        shapes += _node(number, parts, at(number))
    end = top + STEP * (max(rank.values()) + 0.6)
    shapes += arrow(((middle, end - STEP * 0.6 + TALL / 2), (middle, end)), stroke=INK)
    lane_width = LANE if any(lanes.values()) else 0.0
    width = max(middle + WIDE / 2 + max(lane_width, 26.0 * last) + 2 * EDGE, 7.2 * len(title) + 2 * EDGE)
    return Drawing(width, end + EDGE, tuple(shapes))


def _longest(parts: Sequence[Part], rank: dict[int, int]) -> list[int]:
    """The parts on the longest way from the last one back."""
    way, number = [], len(parts) - 1
    while number >= 0:
        way.append(number)
        number = max(parts[number].reads, key=lambda read: rank[read], default=-1)
    return way


def _passes(start: int, end: int, rank: dict[int, int], lanes: dict[int, int]) -> bool:
    """Whether a line from one part of the middle to another passes others there."""
    return lanes[start] == lanes[end] == 0 and rank[end] - rank[start] > 1


def _edge(start: tuple[float, float], end: tuple[float, float], lane: float | None) -> Iterator[Shape]:
    (a, b), (x, y) = start, end
    if lane is not None:
        path = [(a + WIDE / 2, b), (lane, b), (lane, y), (x + WIDE / 2, y)]
        yield from arrow(path, stroke=SHORTCUT, width=1.5)
    elif a == x:
        yield from arrow([(a, b + TALL / 2), (x, y - TALL / 2)])
    elif x > a:
        yield from arrow([(a + WIDE / 2, b), (x, b), (x, y - TALL / 2)], stroke=SHORTCUT, width=1.5)
    else:
        yield from arrow([(a, b + TALL / 2), (a, y), (x + WIDE / 2, y)], stroke=SHORTCUT, width=1.5)


def _node(number: int, parts: Sequence[Part], place: tuple[float, float]) -> Iterator[Shape]:
    x, y = place
    label = "input" if number < 0 else parts[number].label
    fill = "#ffffff" if number < 0 else FILLS.get(label, "#cfe3f5")
    yield box(x - WIDE / 2, y - TALL / 2, WIDE, TALL, fill=fill, stroke=INK, width=0.8, dashed=number < 0)
    weights = parts[number].weights if number >= 0 else 0
    if weights:
        yield Words(label, x, y - 5, 10.5)
        yield Words(f"{weights:,} weights", x, y + 7, 8, FAINT)
    else:
        yield Words(label, x, y, 10.5)
