"""Figures of runs and of analyses, in one style, and drawings of networks and convolutions.

matplotlib is imported by the functions that draw.
"""

from cnnjax.figures.convolution_arithmetic import ConvolutionStep, ConvolutionSteps, convolution_steps
from cnnjax.figures.depth import depth_figure
from cnnjax.figures.drawing import Drawing
from cnnjax.figures.layer_boxes import architecture
from cnnjax.figures.overlays import comparison_figure, overlay_figure
from cnnjax.figures.pictures import (
    MapTiles,
    curves_figure,
    evolution_figure,
    filter_figure,
    montage_figure,
    mosaic,
    occlusion_figure,
    sheet_figure,
    signed_gray,
)
from cnnjax.figures.receptive_fields import (
    draw_effective_field,
    draw_receptive_fields,
    effective_field_figure,
    receptive_field_figure,
)
from cnnjax.figures.results import score_dots, training_curves
from cnnjax.figures.style import colors, frame, png, save, seeds_note, short_labels, styled, tidy
from cnnjax.figures.transformations import angle_curves, translation_maps

__all__ = [
    "ConvolutionStep",
    "ConvolutionSteps",
    "Drawing",
    "MapTiles",
    "angle_curves",
    "architecture",
    "colors",
    "comparison_figure",
    "convolution_steps",
    "curves_figure",
    "depth_figure",
    "draw_effective_field",
    "draw_receptive_fields",
    "effective_field_figure",
    "evolution_figure",
    "filter_figure",
    "frame",
    "montage_figure",
    "mosaic",
    "occlusion_figure",
    "overlay_figure",
    "png",
    "receptive_field_figure",
    "save",
    "score_dots",
    "seeds_note",
    "sheet_figure",
    "short_labels",
    "signed_gray",
    "styled",
    "tidy",
    "training_curves",
    "translation_maps",
]
