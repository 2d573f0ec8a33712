"""An experiment's grid, its run directory, its statistics, its figures; knows nothing of any one model or question.

pandas, matplotlib, rich and tyro are imported by the functions that use them: training waits for none of them.
"""

from cnnjax.intervals import Interval, over_images, over_seeds
from cnnjax.study.cli import main
from cnnjax.study.comparisons import compare, compare_summary, effect_size, holm
from cnnjax.study.depth_figures import depth_figure
from cnnjax.study.grids import Cell, grid
from cnnjax.study.page import Code, Picture, Section, Table, write_page
from cnnjax.study.picture_figures import (
    Covered,
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
from cnnjax.study.progress import Progress
from cnnjax.study.receptive_field_figures import (
    draw_effective_field,
    draw_receptive_fields,
    effective_field_figure,
    receptive_field_figure,
)
from cnnjax.study.records import RunWarning, read_config, read_metrics, read_summary
from cnnjax.study.result_figures import score_dots, training_curves
from cnnjax.study.run_directory import RunDirectory, open_run
from cnnjax.study.style import colours, save
from cnnjax.study.table import format_interval, markdown, print_table
from cnnjax.study.transformation_figures import angle_curves, translation_maps

__all__ = [
    "Cell",
    "Code",
    "Covered",
    "Interval",
    "MapTiles",
    "Picture",
    "Progress",
    "RunDirectory",
    "RunWarning",
    "Section",
    "Table",
    "angle_curves",
    "colours",
    "compare",
    "compare_summary",
    "curves_figure",
    "depth_figure",
    "draw_effective_field",
    "draw_receptive_fields",
    "effect_size",
    "effective_field_figure",
    "evolution_figure",
    "filter_figure",
    "format_interval",
    "grid",
    "holm",
    "main",
    "markdown",
    "montage_figure",
    "mosaic",
    "occlusion_figure",
    "open_run",
    "over_images",
    "over_seeds",
    "print_table",
    "read_config",
    "read_metrics",
    "read_summary",
    "receptive_field_figure",
    "save",
    "score_dots",
    "sheet_figure",
    "signed_grey",
    "training_curves",
    "translation_maps",
    "write_page",
]
