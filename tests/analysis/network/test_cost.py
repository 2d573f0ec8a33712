"""Costs against XLA's own analysis, published figures, and arithmetic on paper."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnnjax import InputError, models, ops
from cnnjax.analysis import cost
from tests.repeats import repeated

MAPS = ("NHWC", "HWIO", "NHWC")


def struct(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def by_xla(f, *operands):
    """Multiply-adds in the compiler's account of a program that does nothing else."""
    return jax.jit(f).lower(*operands).compile().cost_analysis()["flops"] / 2


def xla_conv(x, kernel, *, strides=(1, 1), padding=((0, 0), (0, 0)), **options):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=MAPS, **options)


# XLA counts no product with padding, so these have none.
@pytest.mark.parametrize(
    ("options", "kernel"),
    repeated(
        [
            ({"strides": (2, 3)}, (3, 3, 4, 5)),
            ({"feature_group_count": 4}, (2, 3, 1, 8)),
            ({"lhs_dilation": (3, 2), "strides": (2, 1), "rhs_dilation": (1, 2)}, (3, 2, 4, 5)),
            ({"lhs_dilation": (2, 3), "padding": ((-1, 0), (-2, -1))}, (3, 4, 4, 5)),
            ({"batch_group_count": 2}, (3, 3, 4, 6)),
            ({}, (3, 2, 4, 6)),
            ({"rhs_dilation": (2, 1)}, (3, 3, 4, 5)),
            ({"feature_group_count": 2}, (3, 3, 2, 6)),
            ({"lhs_dilation": (2, 3)}, (3, 4, 4, 5)),
        ],
        quick=5,
    ),
)
def test_convolutions_agree_with_xla(options, kernel):
    x, kernel = struct(2, 9, 8, 4), struct(*kernel)
    conv = functools.partial(xla_conv, **options)
    assert cost(lambda kernel, x: conv(x, kernel), x, kernel).multiply_adds == by_xla(conv, x, kernel)


@pytest.mark.parametrize(
    "options",
    repeated(
        [
            *({"groups": 4, "stride": 2, "dilation": (1, 2)}, {"groups": 2}),
            *({}, {"stride": 2}, {"dilation": 2}, {"groups": 4}),
        ],
        quick=2,
    ),
)
@pytest.mark.parametrize("rank", [1, 2])
def test_ops_conv_and_its_weight_gradient_agree_with_xla(options, rank):
    # However the backend computes groups: by parts, or as a sum of shifted maps.
    if rank == 1:
        options = {name: value[1] if isinstance(value, tuple) else value for name, value in options.items()}
    groups = options.get("groups", 1)
    x, kernel = struct(2, *(9, 8)[:rank], 4), struct(*(3, 2)[:rank], 4 // groups, 8)

    def conv(kernel, x):
        return ops.conv(x, kernel, padding="valid", **options)

    def gradient(kernel, x):
        y, pullback = jax.vjp(lambda kernel: conv(kernel, x), kernel)
        return pullback(jnp.ones(y.shape, y.dtype))[0]

    def reference(kernel, x):
        per_axis = {name: np.broadcast_to(value, rank).tolist() for name, value in options.items() if name != "groups"}
        return lax.conv_general_dilated(
            x,
            kernel,
            per_axis.get("stride", [1] * rank),
            "VALID",
            rhs_dilation=per_axis.get("dilation"),
            feature_group_count=groups,
            dimension_numbers=("NWC", "WIO", "NWC") if rank == 1 else MAPS,
        )

    expected = by_xla(reference, kernel, x)
    assert cost(conv, x, kernel).multiply_adds == expected
    # Each product of the forward pass has one in the gradient of its weight.
    assert cost(gradient, x, kernel).multiply_adds == expected


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_products_with_padding_count(groups):
    x, kernel = struct(2, 9, 8, 4), struct(3, 5, 4 // groups, 8)
    same = cost(lambda kernel, x: ops.conv(x, kernel, groups=groups), x, kernel)
    assert same.multiply_adds == 2 * (9 * 8) * (3 * 5) * 4 * 8 // groups
    assert same.layers["output"].activation_bytes == 4 * 2 * 9 * 8 * 8


def test_vmapped_depthwise_convolution_counts_every_example():
    x, kernels = struct(2, 9, 8, 4), struct(5, 3, 3, 1, 4)
    conv = jax.vmap(lambda kernel, x: ops.conv(x, kernel, groups=4), in_axes=(0, None))
    assert cost(conv, x, kernels).multiply_adds == 5 * 2 * (9 * 8) * 9 * 4


def test_depthwise_convolution_in_a_loop_counts_in_every_round():
    x, kernel = struct(5, 9, 8, 4), struct(3, 3, 1, 4)
    found = cost(lambda kernel, x: lax.map(lambda m: ops.conv(m[None], kernel, groups=4), x), x, kernel)
    assert found.multiply_adds == 5 * (9 * 8) * 9 * 4


@pytest.mark.parametrize(("window", "padding"), [(2, "valid"), (3, "same"), (4, 1)])
def test_a_transposed_convolution_multiplies_each_pixel_by_each_weight(window, padding):
    # The holes between the pixels that it spreads out are not multiplied: its convolution's own number.
    y, kernel = struct(2, 5, 4, 6), struct(window, window, 3, 6)
    up = cost(lambda k, y: ops.conv_transpose(y, k, input_size=(10, 8), stride=2, padding=padding), y, kernel)
    down = cost(lambda k, x: ops.conv(x, k, stride=2, padding=padding), struct(2, 10, 8, 3), kernel)
    assert up.multiply_adds == down.multiply_adds == 2 * (5 * 4) * window**2 * 3 * 6


@pytest.mark.parametrize(
    ("subscripts", "a", "b"),
    [("ij,jk->ik", (3, 4), (4, 5)), ("bqhd,bkhd->bhqk", (2, 5, 3, 4), (2, 6, 3, 4))],
)
def test_matrix_products_agree_with_xla(subscripts, a, b):
    product, a, b = functools.partial(jnp.einsum, subscripts), struct(*a), struct(*b)
    found = cost(lambda ab, x: product(*ab), struct(1, 2, 1), (a, b)).multiply_adds
    assert found == by_xla(product, a, b) == np.prod([2 if s == "b" else n for s, n in _sizes(subscripts, a, b)])


def _sizes(subscripts, a, b):
    left, right = subscripts.split("->")[0].split(",")
    return dict([*zip(left, a.shape, strict=True), *zip(right, b.shape, strict=True)]).items()


def test_a_linear_network_agrees_with_xla():
    def net(weights, x):
        x = xla_conv(x, weights[0], strides=(2, 2))
        x = ops.conv(x, weights[1], padding="valid", groups=2)
        return x.reshape(x.shape[0], -1) @ weights[2]

    weights, x = [struct(3, 3, 3, 4), struct(2, 2, 2, 6), struct(3 * 3 * 6, 5)], struct(2, 9, 9, 3)
    assert cost(net, x, weights).multiply_adds == by_xla(net, weights, x)
    assert cost(net, x, weights).parameters == 3 * 3 * 3 * 4 + 2 * 2 * 2 * 6 + 3 * 3 * 6 * 5


def abstract(model, side):
    images = struct(1, side, side, 3)
    return images, jax.eval_shape(model.init, jax.random.key(0), images)


def test_alexnet_has_the_published_cost():
    # torchvision's variant: 61,100,840 parameters and 0.71 GMAC, by layer as its table of sizes gives them.
    model = models.alexnet_one_tower(num_classes=1000)
    found = cost(model.apply, *abstract(model, 224))
    expected = {
        "conv1": 55**2 * 11**2 * 3 * 64,
        "conv2": 27**2 * 5**2 * 64 * 192,
        "conv3": 13**2 * 3**2 * 192 * 384,
        "conv4": 13**2 * 3**2 * 384 * 256,
        "conv5": 13**2 * 3**2 * 256 * 256,
        "fc6": 6**2 * 256 * 4096,
        "fc7": 4096**2,
        "logits": 4096 * 1000,
    }
    assert {name: layer.multiply_adds for name, layer in found.layers.items() if layer.multiply_adds} == expected
    assert found.multiply_adds == sum(expected.values())
    assert round(found.multiply_adds / 1e9, 2) == 0.71
    assert found.parameters == 61_100_840
    assert found.layers["conv1"].parameters == 11**2 * 3 * 64 + 64
    assert found.layers["conv1"].activation_bytes == 4 * 55**2 * 64
    assert found.inexact == ()


# torchvision's tables: parameters, and GMAC at 224 pixels.
@pytest.mark.parametrize(
    ("name", "parameters", "gmac"),
    repeated([("resnet18", 11_689_512, 1.81), ("resnet34", 21_797_672, 3.66), ("resnet50", 25_557_032, 4.09)]),
)
def test_resnets_have_the_published_cost(name, parameters, gmac):
    model = getattr(models, name)(num_classes=1000)
    found = cost(model.apply, *abstract(model, 224))
    assert found.parameters == parameters
    assert round(found.multiply_adds / 1e9, 2) == gmac


@pytest.mark.slow
def test_a_vision_transformer_costs_its_products():
    model = models.vit_tiny(num_classes=1000, patch_size=16)
    found = cost(model.apply, *abstract(model, 224))
    block = 197 * (4 * 192**2 + 2 * 192 * 768) + 2 * 197**2 * 192
    expected = {"patches": 196 * 16**2 * 3 * 192, **{f"block{i}": block for i in range(1, 13)}, "logits": 192 * 1000}
    assert {name: layer.multiply_adds for name, layer in found.layers.items() if layer.multiply_adds} == expected
    assert found.parameters == 5_717_416


def two_layers(weights, images):
    x = images.reshape(images.shape[0], -1)
    hidden = jnp.tanh(x @ weights["a"])
    logits = hidden @ weights["b"] + (x @ weights["c"])
    return logits, {"z_hidden": hidden, "logits": logits}


WEIGHTS = {"a": struct(12, 5), "b": struct(5, 3), "c": struct(12, 3)}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint, lambda f: jax.jit(jax.jit(f))])
def test_layers_keep_the_order_of_computation_and_what_they_are_first_to_need(wrap):
    found = cost(wrap(two_layers), struct(2, 2, 2, 3), WEIGHTS).layers
    assert [(name, layer.multiply_adds, layer.parameters, layer.activation_bytes) for name, layer in found.items()] == [
        ("z_hidden", 2 * 12 * 5, 60, 4 * 2 * 5),
        ("logits", 2 * 5 * 3 + 2 * 12 * 3, 15 + 36, 4 * 2 * 3),
    ]


def test_sums_are_over_layers():
    found = cost(two_layers, struct(2, 2, 2, 3), WEIGHTS)
    assert found.multiply_adds == 2 * (12 * 5 + 5 * 3 + 12 * 3)
    assert found.parameters == 60 + 15 + 36
    assert found.activation_bytes == 4 * 2 * (5 + 3)


def test_what_no_activation_needs_is_left_out():
    def f(weights, images):
        logits, activations = two_layers(weights, images)
        jnp.sin(logits @ logits.T)
        return activations["z_hidden"]

    found = cost(f, struct(2, 2, 2, 3), WEIGHTS)
    assert list(found.layers) == ["output"]
    assert (found.multiply_adds, found.parameters) == (2 * 12 * 5, 60)


def test_names_are_paths_where_they_would_be_ambiguous():
    found = cost(lambda x: ({"conv": 2 * x, "b": [x]}, {"conv": 3 * x}), struct(1, 2, 1))
    assert list(found.layers) == ["0", "0/conv", "1/conv"]


def test_bytes_follow_the_dtype():
    found = cost(lambda x: {"half": x.astype(jnp.bfloat16), "flag": x > 0}, struct(2, 3, 3, 5))
    assert {name: layer.activation_bytes for name, layer in found.layers.items()} == {"half": 180, "flag": 90}


def test_parameters_are_those_closed_over_or_those_given():
    kernel, statistics, table = jnp.ones((3, 3, 2, 4)), jnp.ones(4), jnp.arange(3)

    def f(kernel, x):
        scale = jnp.asarray((0.5, 2.0), jnp.float32).reshape(1, 1, 1, 2)  # a constant of f's own
        return (ops.conv(x * scale, kernel) + statistics.reshape(1, 1, 1, 4)).at[:, table].set(0.0)

    x = struct(1, 8, 8, 2)
    assert cost(functools.partial(f, kernel), x).parameters == 72 + 4
    assert cost(jax.jit(functools.partial(f, kernel)), x).parameters == 72 + 4
    assert cost(f, x, kernel).parameters == 72
    assert cost(f, x, struct(3, 3, 2, 4)).parameters == 72


def test_of_flax_variables_the_parameters_count():
    model = models.ResNet(num_classes=4, depth=1, widths=(4, 8))
    images, variables = abstract(model, 8)
    expected = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    found = cost(model.apply, images, variables)
    assert found.parameters == expected
    assert found.layers["conv1"].parameters == 27 * 4 + 2 * 4
    running = sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"]))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
    assert cost(lambda x: model.apply(zeros, x), images).parameters == expected + running


def test_shared_parameters_count_once_and_unread_ones_not_at_all():
    def f(weights, x):
        first = x.reshape(1, -1) @ weights["shared"]
        return {"first": first, "second": first @ weights["shared"]}

    found = cost(f, struct(1, 2, 2, 1), {"shared": struct(4, 4), "unread": struct(7)})
    assert [(layer.multiply_adds, layer.parameters) for layer in found.layers.values()] == [(16, 16), (16, 0)]


def test_an_array_that_several_programs_close_over_is_one_parameter():
    weight = jnp.ones((4, 4))
    first, second = jax.jit(lambda x: x @ weight), jax.jit(lambda x: weight @ x)
    assert cost(lambda x: second(first(x[0, :, :, 0])), struct(1, 4, 4, 1)).parameters == 16


def test_one_step_with_two_results_counts_once():
    def f(weight, x):
        last, all_rounds = lax.scan(lambda x, _: (x @ weight, x), x[0, :, :, 0], length=3)
        return {"last": last, "all": all_rounds}

    found = cost(f, struct(1, 4, 4, 1), struct(4, 4))
    assert [(layer.multiply_adds, layer.parameters) for layer in found.layers.values()] == [(3 * 64, 16), (0, 0)]


def square(x):
    return x @ x


@jax.custom_vjp
def with_own_gradient(x):
    return square(x)


with_own_gradient.defvjp(lambda x: (square(x), x), lambda x, g: (x @ x @ g,))


@jax.custom_jvp
def with_own_derivative(x):
    return square(x)


with_own_derivative.defjvp(lambda x, t: (square(*x), *t))

LOOPS = {
    "jit": (jax.jit(square), 1, ()),
    "remat": (jax.checkpoint(square), 1, ()),
    "custom_vjp": (with_own_gradient, 1, ()),
    "custom_jvp": (with_own_derivative, 1, ()),
    "fori_loop": (lambda x: lax.fori_loop(0, 7, lambda _, x: square(x), x), 7, ()),
    "nested": (lambda x: lax.scan(lambda x, _: (lax.map(square, x[None])[0], 0.0), x, length=5)[0], 5, ()),
    "vmap": (lambda x: jax.vmap(square)(jnp.stack([x, x])), 2, ()),
    "cond": (lambda x: lax.cond(x[0, 0] > 0, lambda x: square(square(x)), square, x), 2, ("cond",)),
    "equal cond": (lambda x: lax.cond(x[0, 0] > 0, lambda x: square(2 * x), square, x), 1, ()),
    "cheap cond": (lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), 0, ()),
    "while": (lambda x: lax.while_loop(lambda x: square(x)[0, 0] < 9, square, x), 2, ("while",)),
    "cheap while": (lambda x: lax.while_loop(lambda x: x[0, 0] < 9, lambda x: 2 * x, x), 0, ()),
    "while in scan": (
        lambda x: lax.scan(lambda x, _: (lax.while_loop(lambda x: x[0, 0] < 9, square, x), 0.0), x, length=3)[0],
        3,
        ("while",),
    ),
    "fft": (lambda x: jnp.fft.fft(square(x)), 1, ("fft",)),
    "qr": (lambda x: jnp.linalg.qr(square(x))[1], 1, ("qr",)),
    "solve": (lambda x: jax.scipy.linalg.solve_triangular(x, square(x)), 1, ("triangular_solve",)),
    "callback": (lambda x: jax.pure_callback(np.asarray, x, x), 0, ("pure_callback",)),
    "sort": (lambda x: jnp.sort(x), 0, ()),
}


@pytest.mark.parametrize("name", LOOPS)
def test_control_flow_counts_as_often_as_it_runs_or_says_that_nobody_knows(name):
    f, times, inexact = LOOPS[name]
    found = cost(lambda x: f(x[0, :, :, 0]), struct(1, 4, 4, 1))
    assert found.multiply_adds == times * 4**3
    assert found.inexact == inexact


def test_nothing_is_computed():
    # 10¹² pixels fit into no memory.
    found = cost(lambda kernel, x: ops.conv(x, kernel), struct(1, 10**6, 10**6, 1), struct(3, 3, 1, 1))
    assert found.multiply_adds == 9 * 10**12


@pytest.mark.parametrize("images", [struct(8, 8), struct(1, 0, 8, 1), struct(1, 8, 8, 1, dtype=jnp.uint8)])
def test_what_is_no_batch_of_images_is_refused(images, without_type_checks):
    with pytest.raises(InputError, match="images "):
        cost(lambda x: x, images)
