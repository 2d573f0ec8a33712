"""Figures of runs and of analyses, in one style. matplotlib is imported by the functions that draw."""

from cnnjax.figures.depth import depth_figure
from cnnjax.figures.pictures import (
    MapTiles,
    curves_figure,
    evolution_figure,
    filter_figure,
    montage_figure,
    mosaic,
    occlusion_figure,
    sheet_figure,
    signed_grey,
)
from cnnjax.figures.receptive_fields import (
    draw_effective_field,
    draw_receptive_fields,
    effective_field_figure,
    receptive_field_figure,
)
from cnnjax.figures.results import score_dots, training_curves
from cnnjax.figures.style import colours, save
from cnnjax.figures.transformations import angle_curves, translation_maps

__all__ = [
    "MapTiles",
    "angle_curves",
    "colours",
    "curves_figure",
    "depth_figure",
    "draw_effective_field",
    "draw_receptive_fields",
    "effective_field_figure",
    "evolution_figure",
    "filter_figure",
    "montage_figure",
    "mosaic",
    "occlusion_figure",
    "receptive_field_figure",
    "save",
    "score_dots",
    "sheet_figure",
    "signed_grey",
    "training_curves",
    "translation_maps",
]
