"""What a function of images sees and what it ignores."""

from cnnjax.analysis.attribution import sanity
from cnnjax.analysis.attribution.backward.pool_rules import with_pool_rule
from cnnjax.analysis.attribution.backward.project import Projection, Projector, project
from cnnjax.analysis.attribution.backward.rectifiers import Nonlinearity, Rectifiers, rectifiers
from cnnjax.analysis.attribution.backward.relu_rules import with_relu_rule
from cnnjax.analysis.attribution.grad_cam import grad_cam
from cnnjax.analysis.attribution.gradients import integrated_gradients, saliency, smooth_grad, strength
from cnnjax.analysis.attribution.occlusion import Occlusion, cover, occlusion
from cnnjax.analysis.attribution.perturbation import PerturbationCurve, deletion, insertion
from cnnjax.analysis.attribution.pointing_game import pointing_game
from cnnjax.analysis.attribution.top_activations import TopActivations, top_activations
from cnnjax.analysis.attribution.unit_scores import Attribution
from cnnjax.analysis.equivariance.equivariance_error import equivariance_error
from cnnjax.analysis.equivariance.lie_attribution import LieContribution, lie_attribution
from cnnjax.analysis.equivariance.lie_derivative import LocalError, lie_derivative, local_equivariance_error
from cnnjax.analysis.equivariance.shift_terms import ShiftTerms, check_shift_terms, shift_terms
from cnnjax.analysis.fields.effective_field import EffectiveField, GaussianFit, effective_receptive_field
from cnnjax.analysis.fields.influence import influence
from cnnjax.analysis.fields.receptive_field import ReceptiveField, receptive_field
from cnnjax.analysis.invariance.consistency import (
    PROTOCOL,
    SCORES,
    Predictions,
    classify_all,
    consistency,
    image_columns,
    predict,
    scores,
)
from cnnjax.analysis.invariance.flip_rate import flip_rate
from cnnjax.analysis.invariance.goodfellow import GoodfellowInvariance, goodfellow_invariance
from cnnjax.analysis.invariance.invariance_curve import confidence_curve, invariance_curve
from cnnjax.analysis.invariance.normalized_variance import NormalizedVariance, normalized_variance
from cnnjax.analysis.invariance.translation_sensitivity import TranslationSensitivity, translation_sensitivity_map
from cnnjax.analysis.network.correspondence import Correspondence, correspondence
from cnnjax.analysis.network.cost import Cost, LayerCost, cost
from cnnjax.analysis.network.filters import filter_chroma, filter_orientation, filter_rms
from cnnjax.analysis.network.gradient_flow import GradientFlow, NotFiniteError, Signal, gradient_flow
from cnnjax.analysis.network.linearity import Linearity, LinearityError, is_linear, linearity_error
from cnnjax.analysis.network.selectivity import ClassSelectivity, class_selectivity
from cnnjax.analysis.network.similarity import cka, cka_matrix
from cnnjax.analysis.transforms.generators import Generator
from cnnjax.analysis.transforms.geometric import Flip, Rotation, Scale, Shift, Transform
from cnnjax.analysis.transforms.orbits import Fill, Orbit, quarter_turns, rotations, shifts, subpixel_shifts
from cnnjax.program.intervene import intervene

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
