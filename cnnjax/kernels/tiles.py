"""How Winograd's tiles of four by four lie on a map, and where a worker keeps them."""

import math
from typing import NamedTuple

from cnnjax.kernels.geometry import Geometry
from cnnjax.kernels.vectors import Processor, shares

PLACES = 16
"""In a tile."""
WEIGHTS = PLACES + 9
"""For each channel read and each channel made: one for each place, and those of the window."""

TOGETHER = 16
"""Tiles computed together, more or less: few, so that they stay near, but enough to read weights once for several."""


class Tiles(NamedTuple):
    """The tiles of one pass: each reads four by four of a map, and two by two neighbours of another are made of it."""

    read: tuple[int, ...]
    made: tuple[int, ...]
    before: tuple[int, int]
    """How far outside of the map the first tile begins; negative where it begins inside."""
    read_channels: int
    made_channels: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles in a map."""
        return math.ceil(self.made[0] / 2), math.ceil(self.made[1] / 2)

    @property
    def per_map(self) -> int:
        """Tiles in a map."""
        return math.prod(self.grid)


def tiles_of(geometry: Geometry, *, gradient: bool) -> Tiles:
    """The tiles of the forward pass or the input gradient, which is a forward pass with the window turned around."""
    (top, _), (left, _) = geometry.padding
    if gradient:
        return Tiles(geometry.out, geometry.size, (2 - top, 2 - left), geometry.features, geometry.channels)
    return Tiles(geometry.size, geometry.out, (top, left), geometry.channels, geometry.features)


class Layout(NamedTuple):
    """Tiles that are computed together, and their places in a worker's memory, counted in numbers."""

    held: int
    """Tiles whose sums are in registers at once; `together` is a multiple."""
    together: int
    unit: int
    """Tiles in a unit of work; divides the tiles of a map."""
    read: int
    """From a tile to the next: channels read, up to whole vectors."""
    made: int
    """From a tile that is made to the next: channels made, up to whole vectors, as in the weights."""
    width: int
    """Channels made whose weights lie together."""

    @property
    def read_place(self) -> int:
        """From one of the 16 places to the next. One line of the cache is left free, else all would share one set."""
        return self.together * self.read + 16

    @property
    def made_place(self) -> int:
        """The same of tiles that are made."""
        return self.together * self.made + 16

    @property
    def size(self) -> int:
        """All of it: tiles read, tiles made, a tile with what is outside of the map, and room for what is not kept."""
        return PLACES * (self.read_place + self.made_place + self.read) + self.made


def layout(tiles: Tiles, processor: Processor) -> Layout:
    """How a worker computes these tiles."""
    lanes, cut, most = shares(tiles.made_channels, TOGETHER, processor)
    held = math.ceil(TOGETHER / math.ceil(TOGETHER / most))
    together = TOGETHER // held * held
    whole = lambda channels, lanes: math.ceil(channels / lanes) * lanes  # noqa: E731
    return Layout(
        held=held,
        together=together,
        unit=max(d for d in range(1, min(together, tiles.per_map) + 1) if tiles.per_map % d == 0),
        read=whole(tiles.read_channels, processor.lanes_for(tiles.read_channels)),
        made=whole(tiles.made_channels, lanes),
        width=cut[0].width(lanes),
    )
