"""What a function of images sees and what it ignores: measurements of any JAX function of images.

`f` takes images (batch, height, width, channels), or signals (batch, length, channels), and returns activations: an
array, or any tree of arrays, as a model's `(logits, activations)`. What is "per activation" comes as a tree like f's.
`classify` may return such a pair, or logits only.

Given as `models.bind(model, variables)`, networks of one architecture share what is compiled. Any other function is
traced anew by each call, for what it closes over may have changed in between.

Which measure to believe when was tried on functions whose equivariance is known: "Measures" in experiments/README.md,
`python -m experiments.measures`. In short: of what moves between pixels the Lie derivative over the size of the maps
(`local_equivariance_error(...).relative`) with room around the picture, or else its own term (`lie_terms`); of whole
pixels, quarter turns and mirror images, `equivariance_error`; of channels that turn into each other,
`fitted_map_error`; of pooled features, `normalized_variance`; of answers, `consistency`, which does not tell whether
maps move along. All find nothing wrong with a function that ignores its input, except those that divide by how much it
varies.

Fields (`fields`): which pixels a unit reads.

- `receptive_field`: per activation the exact `ReceptiveField`, size, stride and padding, read off the program
- `effective_receptive_field`: the `EffectiveField`, |∂ unit / ∂ pixel| averaged over images; with its `GaussianFit`
- `influence`: the pixels that a unit's derivatives reach
- `token_maps`: f with its tokens (batch, tokens, channels) as maps over the image, which every analysis takes

Transforms (`transforms`): what moves images and maps.

- `Shift`, `Rotation`, `Flip`, `Scale`: one `Transform`, of an image and of a map whose units lie a stride apart
- `OwnTransform`: another, a function of images and one of maps
- `shifts`, `subpixel_shifts`, `rotations`: an `Orbit`, a finite family with paths through it
- `orbit_of`: one of transforms of your own
- `quarter_turns`: which members of an orbit of rotations are multiples of 90°
- `Generator`: the derivative of a family at the identity, for Lie derivatives

Invariance (`invariance`): what does not change.

- `consistency`: `SCORES` of a classifier over an orbit with their intervals, by the `PROTOCOL`
- `predict`, `classify_all`: `Predictions` for every image under every transform; the classes of images as they are
- `image_columns`, `scores`: what the scores are made of, image by image; the scores from its means
- `flip_rate`: how often the answer changes from one frame of a path to the next
- `invariance_curve`, `confidence_curve`: per activation `‖f(T x) − f(x)‖ / ‖f(x)‖`; the right class's probability
- `translation_sensitivity_map`: per activation the `TranslationSensitivity`, distance by shift over that of images
- `normalized_variance`: per unit the `NormalizedVariance`, deviation under transforms over that between images
- `goodfellow_invariance`: per unit the `GoodfellowInvariance`, how often it still fires over how often it fires

Equivariance (`equivariance`): what moves along.

- `equivariance_error`: per activation `‖f(T x) − T f(x)‖ / ‖T f(x)‖`
- `assert_equivariant`: AssertionError where that is above a tolerance, for tests of networks
- `shift_terms`, `check_shift_terms`: the error under a shift as `ShiftTerms`: aliasing, border and content
- `fitted_map_error`: the same up to a linear map of the channels, which is fitted
- `lie_derivative`: per activation `d/dt T₋ₜ f(Tₜ x)` at t = 0
- `local_equivariance_error`: its size over that of the activation, a `LocalError`
- `lie_terms`: the same as `LieTerms`: what the function makes of it, and what the border adds
- `lie_attribution`: what each layer adds to it, a `LieContribution`

Attribution (`attribution`): which pixels have to do with a unit. Maps of images come as an `Attribution`.

- `saliency`, `smooth_grad`, `integrated_gradients`: the gradient; averaged over noise; integrated from a baseline
- `strength`: the largest absolute value over a map's channels
- `grad_cam`: a layer's maps, weighted by what they do for a class
- `occlusion`, `cover`: the `Occlusion` of Zeiler & Fergus, a square moved over the image; images with a square covered
- `top_activations`: the `TopActivations` of each map over a dataset, with patches and projections
- `deletion`, `insertion`: the `PerturbationCurve` of a class as important pixels go, or come
- `pointing_game`: whether the strongest point of a map lies on the object
- `sanity`: whether pictures change with the weights, and whether they copy the image

Backward (`attribution.backward`): from a unit back to pixels.

- `project`, `Projector`: the `Projection` of units, by the deconvnet or another rule
- `with_relu_rule`, `with_pool_rule`: f with another derivative at its rectifiers, or at pools that overlap
- `rectifiers`: where f rectifies, as `Rectifiers`, each a `Nonlinearity`

Network (`network`): what is asked of a network as a whole.

- `table`: the `LayerTable`, a `LayerRow` for each activation: map, fields, cost, share of the Lie derivative
- `cost`: multiply-adds, parameters and bytes of each layer, a `Cost` of `LayerCost`s
- `gradient_flow`: the `GradientFlow`, a `Signal` for each parameter and activation; raises `NotFiniteError`
- `is_linear`, `linearity_error`: per activation the `Linearity` that the program shows; the `LinearityError` measured
- `cka`, `cka_matrix`: how alike two sets of activations are, whatever their units
- `class_selectivity`: the `ClassSelectivity` of units, how much more one class excites them
- `correspondence`: per activation the `Correspondence`, whether covering a part changes images alike
- `filter_chroma`, `filter_orientation`, `filter_rms`: colour, stripes and strength of first-layer filters

Programs (`cnnjax.program`): f itself.

- `intervene`: f with its activations edited where they are computed
- `by_name`: the entries of a result like f's by layer
"""

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
from cnnjax.analysis.equivariance.assertion import assert_equivariant
from cnnjax.analysis.equivariance.equivariance_error import equivariance_error
from cnnjax.analysis.equivariance.fitted_map import fitted_map_error
from cnnjax.analysis.equivariance.lie_attribution import LieContribution, lie_attribution
from cnnjax.analysis.equivariance.lie_derivative import LocalError, lie_derivative, local_equivariance_error
from cnnjax.analysis.equivariance.lie_terms import LieTerms, lie_terms
from cnnjax.analysis.equivariance.shift_terms import ShiftTerms, check_shift_terms, shift_terms
from cnnjax.analysis.fields.effective_field import EffectiveField, GaussianFit, effective_receptive_field
from cnnjax.analysis.fields.influence import influence
from cnnjax.analysis.fields.receptive_field import ReceptiveField, receptive_field
from cnnjax.analysis.fields.tokens import token_maps
from cnnjax.analysis.invariance.consistency import PROTOCOL, SCORES, consistency, image_columns, scores
from cnnjax.analysis.invariance.flip_rate import flip_rate
from cnnjax.analysis.invariance.goodfellow import GoodfellowInvariance, goodfellow_invariance
from cnnjax.analysis.invariance.invariance_curve import confidence_curve, invariance_curve
from cnnjax.analysis.invariance.normalized_variance import NormalizedVariance, normalized_variance
from cnnjax.analysis.invariance.predictions import Predictions, classify_all, predict
from cnnjax.analysis.invariance.translation_sensitivity import TranslationSensitivity, translation_sensitivity_map
from cnnjax.analysis.network.correspondence import Correspondence, correspondence
from cnnjax.analysis.network.cost import Cost, LayerCost, cost
from cnnjax.analysis.network.filters import filter_chroma, filter_orientation, filter_rms
from cnnjax.analysis.network.gradient_flow import GradientFlow, Signal, gradient_flow
from cnnjax.analysis.network.layer_table import LayerRow, LayerTable, table
from cnnjax.analysis.network.linearity import Linearity, LinearityError, is_linear, linearity_error
from cnnjax.analysis.network.selectivity import ClassSelectivity, class_selectivity
from cnnjax.analysis.network.similarity import cka, cka_matrix
from cnnjax.analysis.transforms.generators import Generator
from cnnjax.analysis.transforms.geometric import Flip, OwnTransform, Rotation, Scale, Shift, Transform
from cnnjax.analysis.transforms.orbits import Orbit, orbit_of, quarter_turns, rotations, shifts, subpixel_shifts
from cnnjax.errors import NotFiniteError
from cnnjax.program.intervene import intervene
from cnnjax.program.names import by_name

__all__ = [
    "PROTOCOL",
    "SCORES",
    "Attribution",
    "ClassSelectivity",
    "Correspondence",
    "Cost",
    "EffectiveField",
    "Flip",
    "GaussianFit",
    "Generator",
    "GoodfellowInvariance",
    "GradientFlow",
    "LayerCost",
    "LayerRow",
    "LayerTable",
    "LieContribution",
    "LieTerms",
    "Linearity",
    "LinearityError",
    "LocalError",
    "Nonlinearity",
    "NormalizedVariance",
    "NotFiniteError",
    "Occlusion",
    "Orbit",
    "OwnTransform",
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
    "assert_equivariant",
    "by_name",
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
    "fitted_map_error",
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
    "lie_terms",
    "linearity_error",
    "local_equivariance_error",
    "normalized_variance",
    "occlusion",
    "orbit_of",
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
    "table",
    "token_maps",
    "top_activations",
    "translation_sensitivity_map",
    "with_pool_rule",
    "with_relu_rule",
]
