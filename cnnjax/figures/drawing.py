"""Drawings of outlines and words, still or moving: as SVG without a script, as PNG and as GIF, of the same shapes."""

import dataclasses
import functools
import html
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cnnjax.errors import InputError
from cnnjax.figures.style import INK
from cnnjax.files import write_atomic

Number: TypeAlias = float | int
Point: TypeAlias = tuple[Number, Number]
When: TypeAlias = tuple[int, int] | None
"""The first frame that a shape is in, and the first that it is no longer in; None for all."""

DASH = (3.0, 3.0)
FONT = "DejaVu Sans, Verdana, sans-serif"


@dataclasses.dataclass(frozen=True)
class Outline:
    """A polygon, or an open line through its points."""

    points: tuple[Point, ...]
    fill: str = "none"
    stroke: str = INK
    width: Number = 1.0
    dashed: bool = False
    closed: bool = True
    when: When = None


@dataclasses.dataclass(frozen=True)
class Words:
    """One line of text; (x, y) is the middle of its height, and its start, middle or end."""

    text: str
    x: Number
    y: Number
    size: Number = 11.0
    color: str = INK
    anchor: Literal["start", "middle", "end"] = "middle"
    bold: bool = False
    when: When = None


Shape: TypeAlias = Outline | Words


def box(x: Number, y: Number, across: Number, down: Number, **look: Any) -> Outline:
    """A rectangle by its upper left corner and its sides."""
    return Outline(((x, y), (x + across, y), (x + across, y + down), (x, y + down)), **look)


def arrow(points: Iterable[Point], **look: Any) -> Iterator[Outline]:
    """A line through the points with a head at the last one."""
    *_, (a, b), (x, y) = path = tuple(points)
    length = max(((x - a) ** 2 + (y - b) ** 2) ** 0.5, 1e-9)
    u, v = (x - a) / length, (y - b) / length
    yield Outline(path, closed=False, **look)
    color = look.get("stroke", INK)
    back = (x - 6 * u, y - 6 * v)
    head = ((x, y), (back[0] - 3 * v, back[1] + 3 * u), (back[0] + 3 * v, back[1] - 3 * u))
    yield Outline(head, fill=color, stroke=color, width=0.5, when=look.get("when"))


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A picture that shows itself in a notebook: `str` is its SVG, which plays by itself where it has several frames.

    `len` is the number of frames, `frame(i)` one of them, still; `save` writes SVG, PNG or GIF.
    """

    width: Number
    height: Number
    shapes: tuple[Shape, ...] = dataclasses.field(repr=False)
    frames: int = 1
    seconds: Number = 0.8
    """What each frame is shown for."""

    def __len__(self) -> int:
        return self.frames

    def frame(self, number: int) -> "Drawing":
        """One frame as a still drawing; negative numbers count from the last. Raises InputError for others."""
        if not -self.frames <= number < self.frames:
            raise InputError(f"number={number} is not a frame: there are {self.frames}, from 0 to {self.frames - 1}.")
        at = number % self.frames
        still = (
            dataclasses.replace(s, when=None) for s in self.shapes if s.when is None or s.when[0] <= at < s.when[1]
        )
        return Drawing(self.width, self.height, tuple(still))

    def __str__(self) -> str:
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        look = f'font-family="{FONT}" fill="{INK}" text-anchor="middle"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {look}>'
        parts = [f'<rect width="{self.width:g}" height="{self.height:g}" fill="white"/>']
        group: When = None
        for shape in self.shapes:
            if shape.when != group:
                parts += ["</g>"] * (group is not None)
                parts += [self._entering(shape.when)] if shape.when is not None else []
                group = shape.when
            parts.append(_tag(shape))
        parts += ["</g>"] * (group is not None)
        return "\n".join([head, *parts, "</svg>"])

    def _entering(self, when: tuple[int, int]) -> str:
        """The start of a group that is seen in these frames; where nothing plays, as in the last frame."""
        first, end = when
        steps = [(0.0, int(first == 0))] + [(first / self.frames, 1)] * (first > 0)
        steps += [(end / self.frames, 0)] * (end < self.frames)
        if len(steps) == 1:
            return "<g>"
        values, times = ";".join(str(v) for _, v in steps), ";".join(f"{t:.5g}" for t, _ in steps)
        clock = f'dur="{self.frames * self.seconds:g}s" repeatCount="indefinite" calcMode="discrete"'
        play = f'<animate attributeName="opacity" values="{values}" keyTimes="{times}" {clock}/>'
        return f'<g opacity="{int(end >= self.frames)}">{play}'

    def image(self, number: int = 0, *, scale: Number = 2.0) -> Any:
        """One frame as an image of Pillow's, `scale` dots for each unit of length."""
        from PIL import Image, ImageDraw

        # Drawn twice as large and made smaller: Pillow does not smooth the edges of what it draws.
        picture = Image.new("RGB", (round(2 * scale * self.width), round(2 * scale * self.height)), "white")
        draw = ImageDraw.Draw(picture)
        for shape in self.frame(number).shapes:
            _paint(draw, shape, 2 * scale)
        return picture.resize((round(scale * self.width), round(scale * self.height)), Image.Resampling.BOX)

    def save(self, path: str | Path) -> None:
        """Write the drawing, whole or not at all, in the format of the path's ending.

        `.svg` plays by itself, `.gif` does everywhere; `.png` is the last frame: of another one `frame(i).save(path)`.
        Raises InputError for another ending.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".svg":
                content = str(self).encode()
            case ".png":
                content = _encoded([self.image(self.frames - 1)], "PNG", optimize=True)
            case ".gif":
                images = [self.image(number, scale=1.5) for number in range(self.frames)]
                content = _encoded(images, "GIF", duration=round(1000 * self.seconds), loop=0)
            case other:
                raise InputError(f"path={str(path)!r} ends in {other!r}; use .svg, .gif or .png.")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": str(self), "text/plain": repr(self)}


def _tag(shape: Shape) -> str:
    """A shape as an element, without what its parent has set."""
    if isinstance(shape, Words):
        # From the middle of the letters to the line that they stand on: other ways depend on who shows the SVG.
        look = [f'x="{shape.x:.5g}" y="{shape.y + 0.36 * shape.size:.5g}" font-size="{shape.size:g}"']
        look += [f'fill="{shape.color}"'] * (shape.color != INK)
        look += [f'text-anchor="{shape.anchor}"'] * (shape.anchor != "middle")
        look += ['font-weight="bold"'] * shape.bold
        return f"<text {' '.join(look)}>{html.escape(shape.text)}</text>"
    (x, y), *rest = shape.points
    path = f"M{x:.5g} {y:.5g}L" + " ".join(f"{x:.5g} {y:.5g}" for x, y in rest) + "z" * shape.closed
    look = [f'd="{path}" fill="{shape.fill}" stroke="{shape.stroke}"']
    look += [f'stroke-width="{shape.width:g}"'] * (shape.width != 1)
    look += [f'stroke-dasharray="{DASH[0]:g},{DASH[1]:g}"'] * shape.dashed
    return f"<path {' '.join(look)}/>"


def _paint(draw: Any, shape: Shape, scale: Number) -> None:
    if isinstance(shape, Words):
        anchor = {"start": "l", "middle": "m", "end": "r"}[shape.anchor] + "m"
        place = (shape.x * scale, shape.y * scale)
        draw.text(place, shape.text, shape.color, _font(shape.size * scale, shape.bold), anchor=anchor)
        return
    points: list[Point] = [(x * scale, y * scale) for x, y in shape.points]
    if shape.fill != "none":
        draw.polygon(points, fill=shape.fill)
    if shape.stroke == "none":
        return
    ends = [*points[1:], points[0]] if shape.closed else points[1:]
    for a, b in zip(points, ends, strict=False):
        for start, end in _dashes(a, b, scale) if shape.dashed else [(a, b)]:
            draw.line([start, end], fill=shape.stroke, width=max(1, round(shape.width * scale)))


def _dashes(a: Point, b: Point, scale: Number) -> Iterator[tuple[Point, Point]]:
    length = ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5
    on, off = DASH[0] * scale, DASH[1] * scale

    def at(distance: float) -> Point:
        share = min(distance / max(length, 1e-9), 1.0)
        return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])

    for number in range(int(length / (on + off)) + 1):
        yield at(number * (on + off)), at(number * (on + off) + on)


@functools.lru_cache(64)
def _font(size: Number, bold: bool) -> Any:
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _encoded(images: list[Any], kind: str, **options: Any) -> bytes:
    """Images with at most 64 colours, which drawings do not need more of."""
    from PIL import Image

    few = [image.quantize(64, dither=Image.Dither.NONE) for image in images]
    file = io.BytesIO()
    more: Any = dict(save_all=True, append_images=few[1:]) if kind == "GIF" else {}
    few[0].save(file, kind, **more, **options)
    return file.getvalue()
