"""The montage of a layer: the strongest units of some of its maps, projected, beside what they see."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnnjax import analysis
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.figures.pictures import MapTiles, montage_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def montage(
    layer: str, top: Mapping[str, np.ndarray], field: analysis.ReceptiveField, *, rule: Rule, where: str
) -> "Figure":
    """The maps of a layer that `strongest` has chosen; `where` says whose they are."""
    shown = top["shown"]
    blocks = [
        MapTiles(f"map {top['maps'][row]}: {_range(top['values'][row])}", pictures, patches)
        for row, pictures, patches in zip(shown, top["pictures"], top["patches"], strict=True)
    ]
    alive = int((top["values"][:, 0] > 0).sum())
    return montage_figure(
        blocks,
        title=f"What excites the maps of {layer} most",
        note=(
            f"Left: projections ({rule}) of the {top['images'].shape[1]} strongest units, one an image; "
            f"right: what they see, r = {float(field.size[0]):g}, cut at the image's border. "
            f"{len(shown)} maps at even steps over {alive} that are alive, of {len(top['maps'])} looked at of "
            f"{int(top['channels'])}. Above: the activations, strongest to weakest. {where}"
        ),
    )


def _range(values: np.ndarray) -> str:
    return f"{values[0]:.2g} to {values[-1]:.2g}" if values[0] > 0 else "dead"
