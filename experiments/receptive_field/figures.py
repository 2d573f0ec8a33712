"""The figures of one network's receptive fields."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnjax.analysis import EffectiveField, ReceptiveField
from cnnjax.figures import depth_figure, effective_field_figure, receptive_field_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    network: str,
    fields: Mapping[str, ReceptiveField],
    effective: Mapping[str, EffectiveField],
    picture: np.ndarray,
    *,
    layers: Sequence[str],
    unit: tuple[int, int] | None,
    unproductive: Sequence[str],
) -> "dict[str, Figure]":
    """Fields on the picture, effective ones where there are any, and both against depth, by name."""
    image = picture if picture.shape[-1] == 3 else picture[..., 0]
    drawn = {
        f"{network}_fields": receptive_field_figure(
            image,
            {name: fields[name] for name in layers},
            position=unit,
            title=f"What a unit of {network} can see",
            note="In brackets: row and column of the unit in its layer's map.",
        ),
        f"{network}_depth": depth_figure(
            fields,
            effective={name: 2 * field.radius() for name, field in effective.items()},
            unproductive=unproductive,
            title=f"How the receptive field of {network} grows with depth",
            note="Effective field: before training, one draw of the weights." if effective else "",
        ),
    }
    if effective:
        drawn[f"{network}_effective"] = effective_field_figure(
            effective,
            fields,
            position=unit,
            image=image,
            title=f"How much each pixel weighs in a unit of {network} before training",
            note=EFFECTIVE,
        )
    return drawn


EFFECTIVE = (
    "Weight: the mean absolute derivative of the unit, summed over its channels, for one draw of the weights and the "
    "picture in its eight orientations."
)
