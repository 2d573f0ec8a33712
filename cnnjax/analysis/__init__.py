"""What a function of images sees and what it ignores."""

from cnnjax.analysis.consistency import (
    PROTOCOL,
    SCORES,
    Predictions,
    classify_all,
    consistency,
    image_columns,
    predict,
    scores,
)
from cnnjax.analysis.orbits import Fill, Orbit, quarter_turns, rotations, shifts, subpixel_shifts

__all__ = [
    "PROTOCOL",
    "SCORES",
    "Fill",
    "Orbit",
    "Predictions",
    "classify_all",
    "consistency",
    "image_columns",
    "predict",
    "quarter_turns",
    "rotations",
    "scores",
    "shifts",
    "subpixel_shifts",
]
