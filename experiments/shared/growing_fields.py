"""Which layers of a network are shown of all: a few whose receptive fields grow evenly."""

from collections.abc import Mapping

import numpy as np

from cnnjax.analysis import ReceptiveField

SHOWN = 5
LARGEST = 2.2
"""How many sides of the image a field may have to be shown without being asked for: larger ones leave the view."""


def shown(fields: Mapping[str, ReceptiveField]) -> list[str]:
    """A few layers whose fields grow evenly on a logarithmic scale; the last that is no larger than `LARGEST` ends it.

    Of layers with the same field the first is meant. One that sees the whole image is there where no others are.
    """
    maps = {}
    for name, field in fields.items():
        size, side = float(field.size[0]), field.image_size[0]
        if field.stride[0] and size <= LARGEST * side:
            maps.setdefault(size, name)
    if len(maps) < 2:
        whole = next((name for name, field in fields.items() if not field.stride[0]), None)
        return [*maps.values(), *([whole] if whole else [])]
    sizes = np.array(sorted(maps))
    wanted = np.geomspace(sizes[0], sizes[-1], SHOWN)
    chosen = {float(sizes[np.abs(np.log(sizes / size)).argmin()]) for size in wanted}
    return [maps[size] for size in sorted(chosen)]
