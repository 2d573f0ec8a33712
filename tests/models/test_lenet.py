"""LeNet-5 against the numbers of its paper (LeCun et al. 1998) and a forward pass in SciPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import pixels, shapes_of
from scipy.signal import correlate

from cnnjax import InputError, analysis, models
from tests.drawn import KEY, drawn_variables
from tests.repeats import repeated


@pytest.mark.parametrize("side", [28, 32])
def test_parameters_and_maps_are_those_of_section_ii(side):
    params, activations = shapes_of(models.LeNet5(num_classes=10), 1, side, side, 1)
    assert activations == {
        "c1": (1, 28, 28, 6),
        "s2": (1, 14, 14, 6),
        "c3": (1, 10, 10, 16),
        "s4": (1, 5, 5, 16),
        "c5": (1, 120),
        "f6": (1, 84),
        "logits": (1, 10),
    }
    # The paper's c3 has 1,516, as its maps read 3, 4 or 6 of s2: in all 60 connections of 25 weights instead of 96.
    published = {"c1": 156, "c3": 1516 + (96 - 60) * 25, "c5": 48_120, "f6": 10_164, "logits": 84 * 10 + 10}
    counts = dict.fromkeys(published, 0)
    for name, shape in params.items():
        counts[name.split("/")[0]] += math.prod(shape)
    assert counts == published
    assert sum(counts.values()) == 61_706


def test_activations_come_in_forward_order_and_end_in_the_logits():
    def check(images):
        (logits, activations), _ = models.LeNet5(num_classes=2).init_with_output(KEY, images)
        assert list(activations) == ["c1", "s2", "c3", "s4", "c5", "f6", "logits"]
        assert activations["logits"] is logits

    jax.eval_shape(check, jnp.ones((1, 28, 28, 1)))


def by_hand(params, image, mean, std):
    """One image of 28 pixels, `(height, width, channels)`, in float64."""
    x = np.pad((image - mean) / std, ((2, 2), (2, 2), (0, 0)))
    for name in ("c1", "c3"):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        maps = [correlate(x, kernel[..., o], mode="valid")[..., 0] + bias[o] for o in range(len(bias))]
        x = np.tanh(np.stack(maps, -1))
        height, width, channels = x.shape
        x = x.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))
    x = x.ravel()
    for name in ("c5", "f6"):
        x = np.tanh(x @ params[name]["kernel"] + params[name]["bias"])
    return x @ params["logits"]["kernel"] + params["logits"]["bias"]


def test_it_is_the_network_written_out():
    images = pixels(2, 28, 28, 2)
    model = models.LeNet5(num_classes=10, mean=(0.1, 0.6), std=(0.3, 0.5))
    variables = drawn_variables(model, images)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    expected = [by_hand(params, np.asarray(image, np.float64), (0.1, 0.6), (0.3, 0.5)) for image in images]
    for run in (model.apply, jax.jit(model.apply)):
        np.testing.assert_allclose(run(variables, images)[0], expected, atol=1e-5)


def test_gradients_reach_every_parameter():
    model, images = models.LeNet5(num_classes=4), pixels(3, 8, 8, 1)
    variables = drawn_variables(model, images)
    loss = jax.jit(jax.grad(lambda v: -jax.nn.log_softmax(model.apply(v, images)[0])[:, 0].mean()))
    gradients = loss(variables)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert float(jnp.abs(gradient).max()) > 0, jax.tree_util.keystr(path)


def test_receptive_fields():
    # Araujo et al. 2019: r = 16, S = 4 and P = 0 without padding.
    model, images = models.LeNet5(num_classes=2, padding="valid"), jnp.ones((1, 28, 28, 1))
    variables = drawn_variables(model, images)
    _, fields = analysis.receptive_field(lambda images: model.apply(variables, images), images)
    field = fields["s4"]
    assert (field.size, field.stride, field.padding) == ((16, 16), (4, 4), (0, 0))


@pytest.mark.parametrize("shape", repeated([((28, 20),), ((31, 5),), ((8, 8),)]))
def test_smaller_images_lie_in_the_middle_of_the_papers_field(shape):
    images = pixels(1, *shape, 1)
    model = models.LeNet5(num_classes=2, mean=(0.0,), std=(1.0,))
    variables = drawn_variables(model, images)
    before = [(32 - n) // 2 for n in shape]
    after = [32 - n - b for n, b in zip(shape, before, strict=True)]
    field = np.pad(images, ((0, 0), *zip(before, after, strict=True), (0, 0)))
    small, large = (jax.jit(model.apply)(variables, x)[1] for x in (images, field))
    for name in small:
        np.testing.assert_allclose(small[name], large[name], atol=1e-5, err_msg=name)


def test_fields():
    fields = dict(padding="same", downsample="max", dtype=jnp.bfloat16)
    model, images = models.LeNet5(num_classes=3, **fields), pixels(1, 16, 12, 1)
    variables = drawn_variables(model, images)
    logits, activations = jax.jit(model.apply)(variables, images)
    assert activations["s4"].shape == (1, 4, 3, 16)
    assert {x.dtype for name, x in activations.items() if name != "logits"} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in [logits, *jax.tree.leaves(variables)]} == {jnp.dtype("float32")}
    c1, s2 = (np.asarray(activations[name], np.float32) for name in ("c1", "s2"))
    np.testing.assert_array_equal(s2, c1.reshape(1, 8, 2, 6, 2, 6).max((2, 4)))


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        (dict(widths=(6,)), (1, 28, 28, 1), "widths=(6,) and dense_widths=(120, 84) must be two and two"),
        (dict(dense_widths=(120, 0)), (1, 28, 28, 1), "dense_widths[1]=0 must be at least 1"),
        (dict(kernel_size=0), (1, 28, 28, 1), "kernel_size=0 must be at least 1"),
        (dict(padding="valid"), (1, 13, 28, 1), "layer c3: the window spans 5 positions, more than the 4"),
        (dict(), (28, 28, 1), "images have shape (28, 28, 1)"),
    ],
)
def test_what_cannot_be_built_says_where(fields, shape, message, without_type_checks):
    with pytest.raises(InputError) as error:
        shapes_of(models.LeNet5(**dict(num_classes=2) | fields), *shape)
    assert message in str(error.value)


def test_images_of_another_size_than_the_parameters_are_refused():
    model = models.LeNet5(num_classes=2)
    variables = jax.eval_shape(model.init, KEY, jnp.ones((1, 28, 28, 1)))
    with pytest.raises(InputError, match=r"layer c5: it was initialised on 400 values .* a map of 6×5×16"):
        jax.eval_shape(model.apply, variables, jnp.ones((1, 36, 28, 1)))
