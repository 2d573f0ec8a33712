"""Networks against published parameter counts and the exact facts of equivariance."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import pixels, shapes_of

from cnnjax import InputError, models
from tests.drawn import KEY, drawn_variables
from tests.repeats import repeated


def parameters(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def abstract(model, shape=(1, 32, 32, 3)):
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


# He et al. 2016, table 6 gives 0.27, 0.46, 0.66, 0.85 and 1.7 M; the digits are those of option A with batch norm.
@pytest.mark.parametrize(
    ("make", "count"),
    repeated(
        [
            (models.resnet20, 269_722),
            (models.resnet32, 464_154),
            (models.resnet44, 658_586),
            (models.resnet56, 853_018),
            (models.resnet110, 1_727_962),
        ],
        quick=2,
    ),
)
def test_cifar_resnets_have_the_published_parameter_counts(make, count):
    assert parameters(abstract(make(num_classes=10))) == count


def test_all_cnn_c_has_the_parameters_of_its_table():
    # Springenberg et al. 2015, table 1: 3x3 96, 96, 96/2, 192, 192, 192/2, 192, then 1x1 192 and 10, with biases.
    channels = [3, 96, 96, 96, 192, 192, 192, 192]
    expected = sum(9 * a * b + b for a, b in itertools.pairwise(channels))
    expected += (192 * 192 + 192) + (192 * 10 + 10)
    assert expected == 1_369_738
    assert parameters(abstract(models.all_cnn_c(num_classes=10, norm="none"))) == expected


@pytest.mark.parametrize("side", [8, 16])
def test_an_mlp_grows_with_the_image(side):
    count = parameters(abstract(models.MLP(num_classes=10, widths=(5,)), (1, side, side, 3)))
    assert count == (side * side * 3 * 5 + 5) + (5 * 10 + 10)


def test_activations_come_in_forward_order_and_end_in_the_logits():
    model = models.ResNet(num_classes=4, depth=1, widths=(8, 16))

    def check(images):
        (logits, activations), _ = model.init_with_output(KEY, images)
        assert activations["logits"] is logits

    jax.eval_shape(check, jnp.ones((2, 8, 8, 3)))
    assert list(shapes_of(model, 2, 8, 8, 3)[1].items()) == [
        ("conv1", (2, 8, 8, 8)),
        ("stage1_block1", (2, 8, 8, 8)),
        ("stage2_block1", (2, 4, 4, 16)),
        ("pool", (2, 16)),
        ("logits", (2, 4)),
    ]


@pytest.mark.parametrize("downsample", ["stride", "max", "average"])
def test_every_downsampling_halves_the_same_maps(downsample):
    model = models.AllConv(num_classes=3, widths=(4, 6), depth=2, head_width=5, downsample=downsample)
    _, activations = shapes_of(model, 2, 12, 12, 1)
    assert [shape[1:] for shape in activations.values()] == [
        (12, 12, 4),
        (6, 6, 4),
        (6, 6, 6),
        (3, 3, 6),
        (3, 3, 5),
        (3, 3, 5),
        (3, 3, 3),
        (3,),
    ]


def test_plain_twins_differ_in_the_shortcuts_alone():
    residual, plain = (models.ResNet(num_classes=4, depth=1, widths=(8, 16), residual=r) for r in (True, False))
    images = pixels(2, 8, 8, 3)

    @jax.jit
    def both(key, images):
        variables, again = (model.init(key, images) for model in (residual, plain))
        return variables, again, *(model.apply(variables, images)[0] for model in (residual, plain))

    variables, again, logits, of_plain = both(KEY, images)
    jax.tree.map(np.testing.assert_array_equal, variables, again)
    assert not np.allclose(logits, of_plain)


def test_a_residual_block_with_zero_kernels_passes_its_rectified_input_on():
    # He et al. 2016, section 3: F = 0 leaves the identity; option A pads the new channels with zeros.
    model = models.ResNet(num_classes=4, depth=1, widths=(3, 5), norm="none")
    images = pixels(2, 8, 8, 3)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.zeros_like(leaf) if "block" in jax.tree_util.keystr(path) else leaf,
        drawn_variables(model, images),
    )
    activations = jax.tree.map(np.asarray, jax.jit(model.apply)(variables, images)[1])
    np.testing.assert_array_equal(activations["stage1_block1"], activations["conv1"])
    np.testing.assert_array_equal(activations["stage2_block1"][..., :3], activations["conv1"][:, ::2, ::2])
    assert (activations["stage2_block1"][..., 3:] == 0).all()


@pytest.mark.parametrize(
    ("make", "downsample"),
    repeated(
        [
            *(("all_conv", "max"), ("resnet", "stride"), ("all_conv", "stride"), ("all_conv", "average")),
            *(("resnet", "max"), ("resnet", "average")),
        ],
        quick=2,
    ),
)
def test_circular_padding_is_exactly_invariant_to_shifts_by_the_total_stride(make, downsample):
    fields = dict(num_classes=5, widths=(6, 8, 8), depth=1, padding="circular", downsample=downsample)
    model, stride = (models.AllConv(head_width=8, **fields), 8) if make == "all_conv" else (models.ResNet(**fields), 4)
    images = pixels(2, 16, 16, 3)
    offsets = [(0, 0), (stride, 0), (-stride, 2 * stride), (1, 1)]
    moved = jnp.concatenate([np.roll(images, offset, (1, 2)) for offset in offsets])
    still, *shifted, other = np.split(jax.jit(model.apply)(drawn_variables(model, images), moved)[0], len(offsets))
    for logits in shifted:
        np.testing.assert_allclose(logits, still, atol=1e-5, rtol=1e-5)
    assert np.abs(other - still).max() > 1e-4


def test_a_fully_convolutional_network_takes_larger_images():
    model = models.AllConv(num_classes=3, widths=(4,), depth=1, head_width=4)
    _, activations = jax.eval_shape(model.apply, abstract(model, (1, 8, 8, 1)), jnp.ones((1, 24, 16, 1)))
    assert activations["class_maps"].shape == (1, 12, 8, 3)


@pytest.mark.parametrize("norm", repeated(["batch", "group", "layer", "none"], quick=2))
def test_gradients_reach_every_parameter(norm):
    model = models.ResNet(num_classes=4, depth=1, widths=(8, 8), norm=norm, activation=nn.tanh)
    images = pixels(4, 8, 8, 3)
    variables = drawn_variables(model, images)

    @jax.jit
    @jax.grad
    def gradient(params):
        out = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(out[0][0])[:, 0].mean()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_pixels_are_standardised_inside_the_model():
    images = pixels(2, 8, 8, 2)
    mean, std = (0.2, 0.6), (0.5, 0.25)
    fields = dict(num_classes=3, widths=(4,), depth=1, head_width=4)
    inside, outside = models.AllConv(mean=mean, std=std, **fields), models.AllConv(mean=(0.0,), std=(1.0,), **fields)
    variables = drawn_variables(inside, images)
    by_hand = (np.asarray(images) - np.array(mean, np.float32)) / np.array(std, np.float32)
    logits, expected = jax.jit(lambda v, x, y: (inside.apply(v, x)[0], outside.apply(v, y)[0]))(
        variables, images, by_hand
    )
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    fields = dict(num_classes=3, widths=(8,), depth=2, head_width=8)
    images = pixels(2, 8, 8, 3)
    half, single = models.AllConv(dtype=jnp.bfloat16, **fields), models.AllConv(**fields)
    variables = jax.jit(half.init)(KEY, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    (logits, activations), expected = jax.jit(lambda v: (half.apply(v, images), single.apply(v, images)[0]))(variables)
    assert activations["stage1_conv1"].dtype == jnp.bfloat16
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.AllConv(num_classes=3, widths=(4, 4, 4), depth=2, padding="valid"), "layer stage2_conv2/conv"),
        (lambda: models.ResNet(num_classes=3, depth=4, widths=(4, 4), padding="valid"), "layer stage1_block"),
        (lambda: models.AllConv(num_classes=3, widths=()), "widths=()"),
        (lambda: models.AllConv(num_classes=3, depth=0), "depth=0"),
        (lambda: models.ResNet(num_classes=0), "num_classes=0"),
        (lambda: models.ResNet(num_classes=3, widths=(8, 4)), "must not fall"),
        (lambda: models.AllConv(num_classes=3, downsample="median"), "AllConv: downsample='median' is unknown"),
        (lambda: models.AllConv(num_classes=3, norm="batched"), "AllConv: norm='batched' is unknown"),
        (lambda: models.AllConv(num_classes=3, mean=(0.1, 0.2)), "mean has 2 entries but the images have 1 channels"),
        (lambda: models.AllConv(num_classes=3, std=(0.0,)), "must be positive"),
    ],
)
def test_what_cannot_be_built_says_where(make, message, without_type_checks):
    with pytest.raises(InputError) as error:
        abstract(make(), (1, 12, 12, 1))
    assert message in str(error.value)


@pytest.mark.parametrize("images", [jnp.ones((8, 8, 1)), jnp.ones((1, 8, 8, 1), jnp.uint8), jnp.ones((1, 0, 8, 1))])
def test_what_is_no_image_is_refused(images, without_type_checks):
    with pytest.raises(InputError, match="images "):
        models.AllConv(num_classes=3).init(KEY, images)
