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
from cnnjax.analysis.cost import Cost, LayerCost, cost
from cnnjax.analysis.effective_field import EffectiveField, GaussianFit, effective_receptive_field
from cnnjax.analysis.influence import influence
from cnnjax.analysis.orbits import Fill, Orbit, quarter_turns, rotations, shifts, subpixel_shifts
from cnnjax.analysis.receptive_field import ReceptiveField, receptive_field

__all__ = [
    "PROTOCOL",
    "SCORES",
    "Cost",
    "EffectiveField",
    "Fill",
    "GaussianFit",
    "LayerCost",
    "Orbit",
    "Predictions",
    "ReceptiveField",
    "classify_all",
    "consistency",
    "cost",
    "effective_receptive_field",
    "image_columns",
    "influence",
    "predict",
    "quarter_turns",
    "receptive_field",
    "rotations",
    "scores",
    "shifts",
    "subpixel_shifts",
]
