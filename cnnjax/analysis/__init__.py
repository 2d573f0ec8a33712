"""What a function of images sees and what it ignores."""

from cnnjax.analysis import sanity
from cnnjax.analysis.attribution import integrated_gradients, saliency, smooth_grad, strength
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
from cnnjax.analysis.correspondence import Correspondence, correspondence
from cnnjax.analysis.cost import Cost, LayerCost, cost
from cnnjax.analysis.deconvnet import deconvnet
from cnnjax.analysis.effective_field import EffectiveField, GaussianFit, effective_receptive_field
from cnnjax.analysis.equivariance import equivariance_error
from cnnjax.analysis.filters import filter_chroma, filter_orientation, filter_rms
from cnnjax.analysis.flip_rate import flip_rate
from cnnjax.analysis.generators import Generator
from cnnjax.analysis.goodfellow import GoodfellowInvariance, goodfellow_invariance
from cnnjax.analysis.grad_cam import grad_cam
from cnnjax.analysis.gradient_flow import GradientFlow, NotFiniteError, Signal, gradient_flow
from cnnjax.analysis.influence import influence
from cnnjax.analysis.intervene import intervene
from cnnjax.analysis.invariance_curve import confidence_curve, invariance_curve
from cnnjax.analysis.lie_attribution import LieContribution, lie_attribution
from cnnjax.analysis.lie_derivative import LocalError, lie_derivative, local_equivariance_error
from cnnjax.analysis.linearity import Linearity, LinearityError, is_linear, linearity_error
from cnnjax.analysis.normalized_variance import NormalizedVariance, normalized_variance
from cnnjax.analysis.occlusion import Occlusion, cover, occlusion
from cnnjax.analysis.orbits import Fill, Orbit, quarter_turns, rotations, shifts, subpixel_shifts
from cnnjax.analysis.perturbation import PerturbationCurve, deletion, insertion
from cnnjax.analysis.pointing_game import pointing_game
from cnnjax.analysis.pool_rules import with_pool_rule
from cnnjax.analysis.project import Projection, Projector, project
from cnnjax.analysis.receptive_field import ReceptiveField, receptive_field
from cnnjax.analysis.rectifiers import Nonlinearity, Rectifiers, rectifiers
from cnnjax.analysis.relu_rules import with_relu_rule
from cnnjax.analysis.scores import Attribution
from cnnjax.analysis.selectivity import ClassSelectivity, class_selectivity
from cnnjax.analysis.shift_terms import ShiftTerms, check_shift_terms, shift_terms
from cnnjax.analysis.similarity import cka, cka_matrix
from cnnjax.analysis.top_activations import TopActivations, top_activations
from cnnjax.analysis.transforms import Flip, Rotation, Scale, Shift, Transform
from cnnjax.analysis.translation_sensitivity import TranslationSensitivity, translation_sensitivity_map

__all__ = [
    "PROTOCOL",
    "SCORES",
    "Attribution",
    "ClassSelectivity",
    "Correspondence",
    "Cost",
    "EffectiveField",
    "Fill",
    "Flip",
    "GaussianFit",
    "Generator",
    "GoodfellowInvariance",
    "GradientFlow",
    "LayerCost",
    "LieContribution",
    "Linearity",
    "LinearityError",
    "LocalError",
    "Nonlinearity",
    "NormalizedVariance",
    "NotFiniteError",
    "Occlusion",
    "Orbit",
    "PerturbationCurve",
    "Predictions",
    "Projection",
    "Projector",
    "ReceptiveField",
    "Rectifiers",
    "Rotation",
    "Scale",
    "Shift",
    "ShiftTerms",
    "Signal",
    "TopActivations",
    "Transform",
    "TranslationSensitivity",
    "check_shift_terms",
    "cka",
    "cka_matrix",
    "class_selectivity",
    "classify_all",
    "confidence_curve",
    "consistency",
    "correspondence",
    "cost",
    "cover",
    "deconvnet",
    "deletion",
    "effective_receptive_field",
    "equivariance_error",
    "filter_chroma",
    "filter_orientation",
    "filter_rms",
    "flip_rate",
    "goodfellow_invariance",
    "grad_cam",
    "gradient_flow",
    "image_columns",
    "influence",
    "insertion",
    "integrated_gradients",
    "intervene",
    "invariance_curve",
    "is_linear",
    "lie_attribution",
    "lie_derivative",
    "linearity_error",
    "local_equivariance_error",
    "normalized_variance",
    "occlusion",
    "pointing_game",
    "predict",
    "project",
    "quarter_turns",
    "receptive_field",
    "rectifiers",
    "rotations",
    "saliency",
    "sanity",
    "scores",
    "shift_terms",
    "shifts",
    "smooth_grad",
    "strength",
    "subpixel_shifts",
    "top_activations",
    "translation_sensitivity_map",
    "with_pool_rule",
    "with_relu_rule",
]
