"""A grey image for a network of colour images is one line, from every analysis; what f raises of its own stays."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from cnnjax import InputError, analysis

pytestmark = pytest.mark.usefixtures("without_type_checks")

GREY = np.random.default_rng(0).uniform(size=(3, 6, 6, 1)).astype(np.float32)


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        maps = nn.relu(nn.max_pool(nn.Conv(4, (3, 3), name="conv1")(x), (2, 2)))
        return nn.Dense(3)(maps.mean((1, 2))), {"maps": maps}


VARIABLES = Network().init(jax.random.key(0), jnp.zeros((1, 6, 6, 3)))
F = Partial(Network().apply, VARIABLES)
SHIFT, ORBIT, LABELS = analysis.Shift((0, 1), fill="circular"), analysis.shifts(1), np.arange(3)


def classify(x):
    return F(x)[0]


def explain(f, x):
    return analysis.saliency(f, x).maps


def loss(params, x):
    return Network().apply(params, x)[0].mean()


ANALYSES = {
    "saliency": lambda: analysis.saliency(F, GREY),
    "smooth_grad": lambda: analysis.smooth_grad(F, GREY, key=jax.random.key(0)),
    "integrated_gradients": lambda: analysis.integrated_gradients(F, GREY),
    "grad_cam": lambda: analysis.grad_cam(F, GREY, "maps"),
    "project": lambda: analysis.project(F, GREY[0], "maps"),
    "occlusion": lambda: analysis.occlusion(F, GREY[0], "maps"),
    "top_activations": lambda: analysis.top_activations(F, GREY, "maps", k=1),
    "deletion": lambda: analysis.deletion(F, GREY, GREY[..., 0]),
    "insertion": lambda: analysis.insertion(F, GREY, GREY[..., 0]),
    "confidence_curve": lambda: analysis.confidence_curve(F, GREY, LABELS, [SHIFT]),
    "invariance_curve": lambda: analysis.invariance_curve(F, GREY, [SHIFT]),
    "equivariance_error": lambda: analysis.equivariance_error(F, GREY, SHIFT),
    "shift_terms": lambda: analysis.shift_terms(F, GREY, SHIFT),
    "lie_derivative": lambda: analysis.lie_derivative(F, GREY, "rotation"),
    "local_equivariance_error": lambda: analysis.local_equivariance_error(F, GREY, "rotation"),
    "lie_attribution": lambda: analysis.lie_attribution(F, GREY, "rotation"),
    "normalized_variance": lambda: analysis.normalized_variance(F, GREY, ORBIT),
    "goodfellow_invariance": lambda: analysis.goodfellow_invariance(F, GREY, ORBIT),
    "translation_sensitivity_map": lambda: analysis.translation_sensitivity_map(F, GREY, max_shift=1),
    "consistency": lambda: analysis.consistency(classify, GREY, ORBIT),
    "flip_rate": lambda: analysis.flip_rate(classify, GREY, ORBIT),
    "predict": lambda: analysis.predict(classify, GREY, ORBIT),
    "classify_all": lambda: analysis.classify_all(classify, (255 * GREY).astype(np.uint8)),
    "correspondence": lambda: analysis.correspondence(F, GREY, GREY / 2),
    "cost": lambda: analysis.cost(F, GREY),
    "cost with parameters": lambda: analysis.cost(Network().apply, GREY, VARIABLES),
    "receptive_field": lambda: analysis.receptive_field(F, GREY),
    "effective_receptive_field": lambda: analysis.effective_receptive_field(F, GREY, "maps"),
    "influence": lambda: analysis.influence(F, GREY, "maps"),
    "rectifiers": lambda: analysis.rectifiers(F, GREY),
    "is_linear": lambda: analysis.is_linear(F, GREY),
    "linearity_error": lambda: analysis.linearity_error(F, GREY),
    "gradient_flow": lambda: analysis.gradient_flow(loss, VARIABLES, GREY),
    "intervene": lambda: analysis.intervene(F, lambda name, a: a)(GREY),
    "with_relu_rule": lambda: analysis.with_relu_rule(F, "guided")(GREY),
    "with_pool_rule": lambda: analysis.with_pool_rule(F, "max")(GREY),
    "cascading_randomization": lambda: analysis.sanity.cascading_randomization(
        lambda p, x: Network().apply(p, x)[0], VARIABLES, VARIABLES, GREY, explain
    ),
    "image_recovery": lambda: analysis.sanity.image_recovery(F, GREY, explain),
}


@pytest.mark.parametrize("measure", ANALYSES.values(), ids=ANALYSES)
def test_grey_images_for_a_colour_network(measure):
    message = (
        r"cannot take float32 of shape \(\d, 6, 6, 1\): Scope.*\(3, 3, 1, 4\).*\(3, 3, 3, 4\).*channels that it was"
    )
    with pytest.raises(InputError, match=message) as caught:
        measure()
    assert "\n" not in str(caught.value)
    assert "ScopeParamShapeError" in type(caught.value.__cause__).__name__


class OwnError(ValueError):
    pass


def raising(error):
    def f(x):
        raise error

    return f


@pytest.mark.parametrize("error", [OwnError("mine"), KeyError("mine"), RuntimeError("mine"), InputError("mine")])
def test_what_a_function_raises_of_its_own_stays(error):
    with pytest.raises(type(error), match="mine") as caught:
        analysis.receptive_field(raising(error), GREY)
    assert caught.value is error


def test_values_that_are_not_known_while_tracing_are_not_blamed_on_the_images():
    with pytest.raises(jax.errors.TracerBoolConversionError):
        analysis.saliency(lambda x: x.sum((1, 2)) if x.sum() > 0 else x, GREY)
    with pytest.raises(jax.errors.TracerArrayConversionError):
        analysis.equivariance_error(lambda x: np.asarray(x), GREY, SHIFT)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x @ jnp.ones((3, 2)), "TypeError: dot_general"),
        (lambda x: x.reshape(3, 12, 9), "TypeError: cannot reshape"),
        (lambda x: x[..., 0].shape[3] * x, "IndexError: tuple index out of range"),
    ],
)
def test_what_jax_and_python_say_of_shapes(f, message):
    with pytest.raises(InputError, match=message):
        analysis.linearity_error(f, GREY)
