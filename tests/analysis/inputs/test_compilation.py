"""What is compiled for one network serves another of its architecture, if the function says that it may be kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from cnnjax import analysis, ops
from cnnjax.analysis.inputs.compilation import compiled, evaluation
from tests.repeats import repeated

IMAGES = np.random.default_rng(0).random((2, 6, 6, 1)).astype(np.float32)
KERNELS = np.random.default_rng(1).normal(size=(2, 3, 3, 1, 2)).astype(np.float32)

MEASURES = {
    "correspondence": lambda f: analysis.correspondence(f, IMAGES, IMAGES * (IMAGES < 0.5)),
    "effective_receptive_field": lambda f: analysis.effective_receptive_field(f, IMAGES, "maps").map,
    "equivariance_error": lambda f: analysis.equivariance_error(f, IMAGES, analysis.Shift((0, 1))),
    "influence": lambda f: analysis.influence(f, IMAGES, "maps", probes=1),
    "invariance_curve": lambda f: analysis.invariance_curve(f, IMAGES, [analysis.Shift((0, 1))]),
    "lie_attribution": lambda f: analysis.lie_attribution(f, IMAGES, "translation_x")["maps"].field,
    "lie_derivative": lambda f: analysis.lie_derivative(f, IMAGES, "translation_x"),
    "linearity_error": lambda f: analysis.linearity_error(f, IMAGES)["maps"].homogeneity,
    "local_equivariance_error": lambda f: analysis.local_equivariance_error(f, IMAGES, "translation_x"),
    "saliency": lambda f: analysis.saliency(f, IMAGES, "maps", (2, 2, 0)).maps,
}


@pytest.mark.parametrize("measure", repeated(MEASURES.values(), quick=4), ids=MEASURES)
def test_the_second_network_is_traced_for_its_shapes_only(measure):
    traced = []

    def network(kernel, x):
        traced.append(x.shape)
        return {"maps": jnp.tanh(ops.conv(x, kernel))}

    counts = []
    for kernel in map(jnp.asarray, KERNELS):
        before = len(traced)
        found = measure(Partial(network, kernel))
        counts.append(len(traced) - before)
        expected = measure(lambda x, kernel=kernel: {"maps": jnp.tanh(ops.conv(x, kernel))})
        for a, b in zip(numbers(found), numbers(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert counts[1] < counts[0]


def numbers(result):
    """All numbers in a tree of arrays and of the results of analyses."""
    leaves = jax.tree.leaves(result)
    return [np.asarray(a) for leaf in leaves for a in (vars(leaf).values() if hasattr(leaf, "__dict__") else [leaf])]


def test_a_function_that_may_change_is_traced_anew():
    scale = [1.0]
    for factor in (1.0, 2.0):
        scale[0] = factor
        np.testing.assert_array_equal(evaluation(lambda x: {"maps": scale[0] * x})(jnp.ones(3))[0], factor)


def test_what_is_given_with_a_function_is_compiled_with_it():
    def core(shift, f, x, times):
        return f(x + shift) * times

    double = Partial(lambda factor, x: factor * x, jnp.float32(2))
    for shift in (1, 5):
        found = compiled(core, double, given=(shift,), static=("times",))(jnp.ones(2), times=3)
        np.testing.assert_array_equal(found, 2 * (1 + shift) * 3)
