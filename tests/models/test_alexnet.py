"""AlexNet against the numbers and the structure of its paper (Krizhevsky et al. 2012)."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import pixels, shapes_of

from cnnjax import InputError, analysis, layers, models
from tests.drawn import KEY, drawn_variables

NARROW = dict(num_classes=5, widths=(4, 8, 12, 12, 8), dense_widths=(10, 6))


def narrow(**fields):
    """Both towers in a few channels, for images of a few pixels."""
    return models.alexnet_small(**NARROW | fields)


def activations_of(model, variables, images, **keywords):
    return jax.tree.map(np.asarray, jax.jit(lambda v, x: model.apply(v, x, **keywords)[1])(variables, images))


def maps_of(model, *shape):
    """The spatial sizes of the maps, by name."""
    return {name: size[1:3] for name, size in shapes_of(model, *shape)[1].items() if len(size) == 4}


# The paper rounds to 60 million; 61,100,840 is what PyTorch's and other libraries state for theirs.
@pytest.mark.parametrize(("make", "count"), [(models.AlexNet, 60_965_224), (models.alexnet_one_tower, 61_100_840)])
def test_parameter_counts(make, count):
    params, _ = shapes_of(make(num_classes=1000), 1, 224, 224, 3)
    assert sum(map(math.prod, params.values())) == count


def test_kernels_and_maps_are_those_of_figure_2():
    model = models.AlexNet(num_classes=1000)
    params, _ = shapes_of(model, 1, 224, 224, 3)
    assert {name.removesuffix("/kernel"): shape for name, shape in params.items() if len(shape) > 1} == {
        "conv1": (11, 11, 3, 2 * 48),
        "conv2": (5, 5, 48, 2 * 128),
        "conv3": (3, 3, 256, 2 * 192),
        "conv4": (3, 3, 192, 2 * 192),
        "conv5": (3, 3, 192, 2 * 128),
        "fc6": (6 * 6 * 256, 2 * 2048),
        "fc7": (4096, 2 * 2048),
        "logits": (4096, 1000),
    }
    sizes = {"conv1": 55, "norm1": 55, "pool1": 27, "conv2": 27, "norm2": 27, "pool2": 13}
    sizes |= {"conv3": 13, "conv4": 13, "conv5": 13, "pool5": 6}
    assert maps_of(model, 1, 224, 224, 3) == {name: (size, size) for name, size in sizes.items()}


def test_the_paper_reads_227_pixels_of_the_224_and_their_border():
    # Section 3.5 gives 55×55 maps of 11×11 windows at stride 4, which needs 54 · 4 + 11 = 227.
    model = models.AlexNet(num_classes=2, widths=(2, 2, 2, 2, 2), dense_widths=(2, 2))
    images = pixels(1, 224, 224, 3)
    variables = drawn_variables(model, images)
    wide = np.pad(np.asarray(images) - 0.5, ((0, 0), (2, 1), (2, 1), (0, 0))) + 0.5

    @jax.jit
    def both(images, wide):
        standardized = layers.standardize(wide, (0.5,), (1 / 255,))
        by_hand = layers.Conv(2, 11, strides=4, padding="valid").apply(
            {"params": variables["params"]["conv1"]}, standardized
        )
        return model.apply(variables, images)[1]["conv1"], by_hand

    conv1, by_hand = both(images, wide.astype(np.float32))
    assert by_hand.shape == (1, 55, 55, 2)
    np.testing.assert_allclose(conv1, np.maximum(by_hand, 0), rtol=1e-5, atol=1e-3)


def test_receptive_fields():
    # Araujo et al. 2019 for the same windows without padding in conv1, whose 2 pixels are added to every P.
    model = models.AlexNet(num_classes=2, widths=(8, 8, 8, 8, 8), dense_widths=(2, 2))
    images = jnp.ones((1, 224, 224, 3))
    variables = drawn_variables(model, images)
    _, fields = analysis.receptive_field(lambda images: model.apply(variables, images), images)
    for name, (size, stride, padding) in {
        "conv1": (11, 4, 0),
        "pool1": (19, 8, 0),
        "conv2": (51, 8, 16),
        "conv3": (99, 16, 32),
        "conv4": (131, 16, 48),
        "conv5": (163, 16, 64),
        "pool5": (195, 32, 64),
    }.items():
        field = fields[name]
        assert (field.size, field.stride, field.padding) == ((size,) * 2, (stride,) * 2, (padding + 2,) * 2), name
        assert field.exact == (True, True)


@pytest.mark.parametrize(
    ("norm", "names"),
    [
        ("local_response", "conv1 norm1 pool1 conv2 norm2 pool2 conv3 conv4 conv5 pool5 fc6 fc7 logits"),
        ("none", "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5 fc6 fc7 logits"),
    ],
)
def test_activations_come_in_forward_order_and_end_in_the_logits(norm, names):
    def check(images):
        (logits, activations), _ = narrow(norm=norm).init_with_output(KEY, images)
        assert list(activations) == names.split()
        assert activations["logits"] is logits

    jax.eval_shape(check, jnp.ones((2, 16, 16, 3)))


def test_the_small_one_keeps_the_structure_at_32_pixels():
    model = models.alexnet_small(num_classes=10)
    sizes = maps_of(model, 1, 32, 32, 3)
    expected = {"conv1": 32, "pool1": 15, "conv2": 15, "pool2": 7, "conv5": 7, "pool5": 3}
    assert {name: sizes[name] for name in expected} == {name: (size, size) for name, size in expected.items()}
    (large, _), (small, _) = (shapes_of(m, 1, 96, 96, 3) for m in (models.AlexNet(num_classes=10), model))
    smaller = {name: large[name][-1] / shape[-1] for name, shape in small.items()}
    factors = {"conv": 2, "fc": 8, "logits": 1}
    assert smaller == {name: factors[name.split("/")[0].rstrip("1234567")] for name in large}


def test_initialisation_is_that_of_section_5():
    model = models.AlexNet(num_classes=7, widths=(16, 32, 32, 32, 32), dense_widths=(64, 48))
    params = jax.jit(model.init)(KEY, jnp.ones((1, 67, 67, 3)))["params"]
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    for name, layer in params.items():
        assert (np.asarray(layer["bias"]) == float(name in ones)).all(), name
        kernel = np.asarray(layer["kernel"]).ravel()
        # Five standard errors of the deviation and of the mean of independent normal draws.
        assert abs(kernel.std() / 0.01 - 1) < 5 / math.sqrt(2 * kernel.size), name
        assert abs(kernel.mean()) < 5 * 0.01 / math.sqrt(kernel.size), name


def test_towers_see_each_other_in_conv3_and_in_the_dense_layers_alone():
    model, images = narrow(std=(1 / 255,)), pixels(1, 16, 16, 3)
    variables = drawn_variables(model, images)
    before = activations_of(model, variables, images)

    def changed_by_the_second_tower_of(layer):
        """Which towers change, for each activation, where the kernels of a layer's second tower do."""
        kernel = np.array(variables["params"][layer]["kernel"])
        kernel[..., kernel.shape[-1] // 2 :] *= 1.5
        params = variables["params"] | {layer: variables["params"][layer] | {"kernel": kernel}}
        after = activations_of(model, {"params": params}, images)
        towers = {name: np.split(after[name] != before[name], 2, axis=-1) for name in after if name != "logits"}
        return {name: tuple(bool(tower.any()) for tower in both) for name, both in towers.items()}

    second, both, neither = (False, True), (True, True), (False, False)
    names = ["conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7"]
    assert changed_by_the_second_tower_of("conv1") == dict.fromkeys(names[:6], second) | dict.fromkeys(names[6:], both)
    assert changed_by_the_second_tower_of("conv3") == (
        dict.fromkeys(names[:6], neither) | dict.fromkeys(names[6:10], second) | dict.fromkeys(names[10:], both)
    )
    assert changed_by_the_second_tower_of("fc6") == (
        dict.fromkeys(names[:10], neither) | {"fc6": second} | dict.fromkeys(names[11:], both)
    )


def test_without_exchange_a_tower_is_the_network_whose_kernels_across_are_zero():
    apart, images = narrow(exchange=False, std=(1 / 255,)), pixels(2, 16, 20, 3)
    variables = drawn_variables(apart, images)
    params = dict(variables["params"])
    for name in ("conv3", "fc6", "fc7"):
        kernel = np.asarray(params[name]["kernel"])
        first, second = np.split(kernel, 2, -1)
        nothing = np.zeros_like(first)
        across = np.concatenate([np.concatenate([first, nothing], -1), np.concatenate([nothing, second], -1)], -2)
        params[name] = params[name] | {"kernel": across if name == "conv3" else across.reshape(-1, across.shape[-1])}
    expected = activations_of(narrow(std=(1 / 255,)), {"params": params}, images)
    for name, value in activations_of(apart, variables, images).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5 * expected[name].max(), err_msg=name)
    with pytest.raises(InputError, match=r"layer fc6: it was initialised on \d+ values for each image and gets a map"):
        jax.eval_shape(apart.apply, variables, pixels(1, 32, 32, 3))


def test_response_normalisation_stays_within_a_tower():
    model, images = narrow(widths=(14, 8, 12, 12, 8), std=(1 / 255,)), pixels(2, 16, 16, 3)
    activations = activations_of(model, drawn_variables(model, images), images)
    a, b = (activations[name].astype(np.float64) for name in ("conv1", "norm1"))
    for tower, channel in itertools.product(range(2), range(7)):
        near = slice(7 * tower + max(0, channel - 2), 7 * tower + min(6, channel + 2) + 1)
        energy = (a[..., near] ** 2).sum(-1)
        i = 7 * tower + channel
        assert (1e-4 * energy).max() > 1
        np.testing.assert_allclose(b[..., i], a[..., i] / (2 + 1e-4 * energy) ** 0.75, rtol=1e-5)


def test_dropout_zeroes_half_of_the_dense_units_and_doubles_the_others():
    model, images = narrow(dense_widths=(400, 400)), pixels(4, 16, 16, 3)
    variables = drawn_variables(model, images)
    whole = activations_of(model, variables, images)["fc6"]
    alive = whole > 0
    masks = []
    for seed in (0, 1):
        rngs = {"dropout": jax.random.fold_in(KEY, seed)}
        dropped = activations_of(model, variables, images, train=True, rngs=rngs)["fc6"]
        masks.append(dropped > 0)
        np.testing.assert_allclose(dropped, np.where(masks[-1], 2 * whole, 0), rtol=1e-5)
        assert abs(masks[-1][alive].mean() - 0.5) < 5 * 0.5 / math.sqrt(alive.sum())
    assert (masks[0] != masks[1]).any()


def test_padding_reaches_every_convolution_and_pool():
    # Circular convolutions and pools commute with circular shifts by the total stride, 2 · 2 · 2.
    model, images = narrow(padding="circular"), pixels(1, 16, 24, 3)
    variables = drawn_variables(model, images)
    shifted = np.roll(images, (8, 16), (1, 2))
    maps, moved = (activations_of(model, variables, x)["pool5"] for x in (images, shifted))
    assert maps.shape == (1, 2, 3, 8)
    np.testing.assert_allclose(moved, np.roll(maps, (1, 2), (1, 2)), atol=1e-5)
    assert np.abs(maps - maps[:, :1, :1]).max() > 1e-2


@pytest.mark.parametrize(
    "downsample", ["max", "average", "blur", "max_blur", "polyphase", "learned_polyphase", "alias_free", "stride"]
)
def test_pools_of_every_kind(downsample):
    maps = maps_of(narrow(downsample=downsample, padding="same"), 1, 16, 24, 3)
    assert [maps[f"pool{layer}"] for layer in (1, 2, 5)] == [(8, 12), (4, 6), (2, 3)]


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    half, single, images = narrow(dtype=jnp.bfloat16), narrow(), pixels(2, 16, 16, 3)
    variables = drawn_variables(half, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    activations = activations_of(half, variables, images, train=True, rngs={"dropout": KEY})
    assert {x.dtype for name, x in activations.items() if name != "logits"} == {jnp.dtype("bfloat16")}
    assert activations["logits"].dtype == np.float32
    expected = activations_of(single, variables, images, train=True, rngs={"dropout": KEY})["logits"]
    np.testing.assert_allclose(activations["logits"], expected, atol=0.05 * np.abs(expected).max())


def test_seeds_are_initialised_together():
    model, images, keys = models.alexnet_small(num_classes=10), jnp.ones((1, 32, 32, 3)), jax.random.split(KEY, 3)
    together = jax.eval_shape(jax.vmap(lambda key: model.init(key, images)), keys)
    alone = jax.eval_shape(model.init, KEY, images)
    assert jax.tree.map(lambda leaf: leaf.shape, together) == jax.tree.map(lambda leaf: (3, *leaf.shape), alone)
    params = jax.jit(jax.vmap(lambda key: narrow().init(key, images)))(keys)["params"]
    for name, layer in params.items():
        for a, b in itertools.combinations(np.asarray(layer["kernel"]), 2):
            assert (a != b).mean() > 0.99, name
        assert (np.asarray(layer["bias"]) == np.asarray(layer["bias"])[:1]).all(), name


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: models.AlexNet(num_classes=2), (1, 62, 62, 3), "layer pool5: the window spans 3 positions, more than"),
        (lambda: models.AlexNet(num_classes=2), (1, 6, 64, 3), "layer conv1: the window spans 11 positions, more than"),
        (lambda: narrow(widths=(4, 8, 12, 8)), (1, 16, 16, 3), "widths=(4, 8, 12, 8) must be 5 positive integers"),
        (lambda: narrow(kernel_sizes=(5, 5)), (1, 16, 16, 3), "kernel_sizes=(5, 5) must be 5 positive integers"),
        (lambda: narrow(dense_widths=(4, 0)), (1, 16, 16, 3), "dense_widths[1]=0 must be at least 1"),
        (lambda: narrow(widths=(4, 8, 11, 8, 8)), (1, 16, 16, 3), "widths=(4, 8, 11, 8, 8) must be multiples of tower"),
        (lambda: narrow(dense_widths=(4, 3)), (1, 16, 16, 3), "dense_widths=(4, 3) must be multiples of towers=2"),
        (lambda: narrow(towers=0), (1, 16, 16, 3), "towers=0 must be at least 1"),
        (lambda: narrow(norm="batch"), (1, 16, 16, 3), "norm='batch' is unknown; use one of local_response"),
        (lambda: narrow(downsample="median"), (1, 16, 16, 3), "AlexNet: downsample='median' is unknown"),
        (lambda: narrow(dropout=1.0), (1, 16, 16, 3), "dropout=1.0 must lie in [0, 1)"),
        (lambda: narrow(), (16, 16, 3), "images have shape (16, 16, 3)"),
    ],
)
def test_what_cannot_be_built_says_where(make, shape, message, without_type_checks):
    with pytest.raises(InputError) as error:
        shapes_of(make(), *shape)
    assert message in str(error.value)


def test_images_of_another_size_than_the_parameters_are_refused():
    model = models.AlexNet(num_classes=1000)
    variables = jax.eval_shape(model.init, KEY, jnp.ones((1, 224, 224, 3)))
    with pytest.raises(InputError, match=r"layer fc6: it was initialised on 9216 values .* a map of 7×6×256, which"):
        jax.eval_shape(model.apply, variables, jnp.ones((1, 256, 224, 3)))
