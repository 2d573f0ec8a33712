"""Convolution layers are their ops with kernels of the right shape, drawn with the right fan-in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import draw

from cnnjax import InputError, layers, ops
from tests.drawn import KEY, drawn_variables
from tests.repeats import repeated


@pytest.mark.parametrize(
    ("shape", "fields", "kernel"),
    [
        ((2, 9, 4), dict(kernel_size=3, strides=2), (3, 4, 6)),
        ((2, 9, 8, 4), dict(kernel_size=(3, 1), strides=(1, 2), dilation=(2, 1)), (3, 1, 4, 6)),
        ((2, 9, 8, 6), dict(kernel_size=3, groups=6, padding="circular"), (3, 3, 1, 6)),
        ((2, 9, 8, 4), dict(kernel_size=3, groups=2, padding=((0, 1), (2, 0)), use_bias=False), (3, 3, 2, 6)),
    ],
)
def test_conv_is_the_op_with_a_kernel_of_its_own(shape, fields, kernel):
    x, layer = draw(*shape), layers.Conv(6, **fields)
    params = drawn_variables(layer, x)["params"]
    assert params["kernel"].shape == kernel
    given = {
        "stride": fields.get("strides", 1),
        **{n: fields[n] for n in ("padding", "dilation", "groups") if n in fields},
    }
    found, expected = jax.jit(lambda p, x: (layer.apply({"params": p}, x), ops.conv(x, p["kernel"], **given)))(
        params, x
    )
    expected = np.asarray(expected) + (np.asarray(params["bias"]) if "bias" in params else 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "fields"),
    [
        ((2, 4, 6), dict(kernel_size=5, strides=3)),
        ((2, 3, 4, 6), dict(kernel_size=(2, 3), strides=(2, 1))),
        ((2, 3, 4, 6), dict(kernel_size=4, strides=2, padding=1, groups=2)),
        ((2, 3, 4, 6), dict(kernel_size=2, strides=2, padding="valid")),
        ((2, 3, 4, 6), dict(kernel_size=3, strides=2, padding="circular", dilation=2)),
    ],
)
def test_conv_transpose_is_the_adjoint_of_a_convolution_of_a_larger_map(shape, fields):
    y, layer = draw(*shape), layers.ConvTranspose(4, use_bias=False, **fields)
    params = drawn_variables(layer, y)["params"]
    up = jax.jit(layer.apply)({"params": params}, y)
    strides = np.broadcast_to(fields["strides"], len(shape) - 2)
    assert up.shape == (2, *(n * s for n, s in zip(shape[1:-1], strides, strict=True)), 4)
    x = draw(*up.shape, seed=3)
    options = {name: fields[name] for name in ("padding", "dilation", "groups") if name in fields}
    down = jax.jit(lambda x, w: ops.conv(x, w, stride=fields["strides"], **options))(x, params["kernel"])
    assert np.vdot(down, y) == pytest.approx(np.vdot(x, up), rel=1e-4)


def test_a_transposed_kernel_is_drawn_by_the_fan_in_of_its_own_sum():
    x = draw(1, 2, 2, 64)
    for groups in (1, 4):
        kernel = jax.jit(layers.ConvTranspose(32, groups=groups).init)(KEY, x)["params"]["kernel"]
        assert kernel.shape == (3, 3, 32 // groups, 64)
        assert np.std(np.asarray(kernel)) == pytest.approx(np.sqrt(2 / (9 * 64 / groups)), rel=0.03)


def test_a_grouped_transposed_convolution_is_one_for_each_group():
    x, kernel = np.asarray(draw(1, 3, 2, 4)), np.asarray(draw(3, 3, 2, 6, seed=2))
    layer = layers.ConvTranspose(6, groups=2, strides=2, use_bias=False, kernel_init=lambda *_: jnp.asarray(kernel))
    parts = [
        layers.ConvTranspose(3, strides=2, use_bias=False, kernel_init=lambda *_, part=part: jnp.asarray(part))
        for part in np.split(kernel, 2, axis=-1)
    ]
    run = lambda layer, x: jax.jit(lambda x: layer.init_with_output(KEY, x)[0])(x)  # noqa: E731
    expected = [run(part, x) for part, x in zip(parts, np.split(x, 2, axis=-1), strict=True)]
    np.testing.assert_allclose(run(layer, x), np.concatenate(expected, -1), atol=1e-6)


@pytest.mark.parametrize(("name", "gain"), [("he_normal", 2), ("lecun_normal", 1)])
@pytest.mark.parametrize("shape", [(5, 64, 96), (3, 3, 32, 64), (3, 3, 4, 16, 64)])
def test_the_variance_of_a_kernel_is_the_gain_over_the_fan_in(name, gain, shape):
    # He et al. 2015, section 2.2; for the last shape the sum runs over the group too.
    kernel = np.asarray(jax.jit(lambda: getattr(layers, name)(KEY, shape, jnp.float32))())
    assert kernel.var() == pytest.approx(gain / np.prod(shape[:-1]), rel=0.05)


@pytest.mark.parametrize(
    ("shape", "kernel_size", "features"),
    repeated([((2, 7, 4), 4, 7), ((2, 5, 6, 4), 3, 7), ((2, 7, 4), 3, 4), ((2, 5, 6, 4), 4, 4)], quick=2),
)
def test_delta_orthogonal_keeps_the_norm_of_every_pixel(shape, kernel_size, features):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=shape)
        layer = layers.Conv(
            features,
            kernel_size,
            padding="circular",
            use_bias=False,
            kernel_init=layers.delta_orthogonal,
            dtype=jnp.float64,
        )
        y = jax.jit(lambda x: layer.init_with_output(KEY, x)[0])(x)
        np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-12)


def test_delta_orthogonal_needs_as_many_outputs_as_inputs():
    with pytest.raises(InputError, match=r"layer Conv: delta_orthogonal cannot fill .*\(3, 3, 4, 2\): .* out ≥ in"):
        layers.Conv(2, kernel_init=layers.delta_orthogonal).init(KEY, draw(1, 4, 4, 4))


@pytest.mark.parametrize("group", repeated(["p4m", "p4"]))
def test_group_layers_are_their_ops_and_commute_with_turns_and_mirror_images(group):
    order = {"p4": 4, "p4m": 8}[group]
    x = draw(2, 5, 5, 3)
    lift, conv = layers.LiftingConv(4, group=group), layers.GroupConv(5, group=group, strides=2)
    lifted_params = drawn_variables(lift, x)["params"]

    @jax.jit
    def lifts(x, p):
        expected = ops.lifting_conv(x, p["kernel"], group=group) + p["bias"][None, None, None, None]
        return lift.apply({"params": p}, x), expected

    lifted, expected = lifts(x, lifted_params)
    assert lifted.shape == (2, 5, 5, order, 4)
    np.testing.assert_allclose(lifted, expected, rtol=1e-5, atol=1e-5)
    params = drawn_variables(conv, lifted)["params"]
    assert params["kernel"].shape == (3, 3, order, 4, 5)
    assert sum(p.size for p in jax.tree.leaves(params)) == 9 * order * 4 * 5 + 5

    @jax.jit
    def convs(x, p):
        expected = ops.group_conv(x, p["kernel"], group=group, stride=2) + p["bias"][None, None, None, None]
        return conv.apply({"params": p}, x), expected

    maps, expected = convs(lifted, params)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-5)

    norm = layers.Norm("batch")
    variables = drawn_variables(norm, maps, train=True)
    assert {leaf.shape for leaf in jax.tree.leaves(variables)} == {(5,)}  # one of each for all orientations

    @jax.jit
    def features(x):
        maps = conv.apply({"params": params}, lift.apply({"params": lifted_params}, x))
        maps, _ = norm.apply(variables, maps, train=True, mutable=["batch_stats"])
        return ops.group_pool(jax.nn.relu(maps)).mean((1, 2))

    turned = np.rot90(x, axes=(1, 2))
    np.testing.assert_allclose(features(turned), features(x), atol=1e-5)
    if group == "p4m":
        np.testing.assert_allclose(features(np.flip(x, 2)), features(x), atol=1e-5)


def test_batch_norm_of_a_group_map_takes_orientations_as_positions():
    x = np.asarray(draw(2, 3, 3, 4, 5)) * np.float32(2) + np.float32(1)
    norm = layers.Norm("batch")
    y = jax.jit(lambda x: norm.init_with_output(KEY, x, train=True)[0])(x)
    mean, var = x.mean((0, 1, 2, 3)), x.var((0, 1, 2, 3))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv(4, 9, padding="valid"), r"layer Conv: the window spans 9"),
        (lambda: layers.Conv(4, groups=3), r"layer Conv: groups=3 must be positive and divide the 4 channels"),
        (lambda: layers.Conv(4, groups=8), r"layer Conv: groups=8"),
        (lambda: layers.Conv(4, groups=0), r"Conv: groups=0"),
        (lambda: layers.Conv(5, groups=2), r"layer Conv: groups=2 .* 5 outputs"),
        (lambda: layers.Conv(4, 0), r"layer Conv: kernel_size=0"),
        (lambda: layers.Conv(4, (3, 3, 3)), r"layer Conv: kernel_size=\(3, 3, 3\)"),
        (
            lambda: layers.ConvTranspose(4, 3, strides=2, padding="valid"),
            r"layer ConvTranspose: y has spatial size \(6, 6\)",
        ),
        (lambda: layers.ConvTranspose(5, groups=2), r"layer ConvTranspose: groups=2 must be positive and divide the 5"),
        (lambda: layers.ConvTranspose(4, strides=0), r"layer ConvTranspose: strides=0"),
        (lambda: layers.LiftingConv(4, strides=2), r"layer LiftingConv: .*exact=False"),
        (lambda: layers.LiftingConv(4, group="p5"), r"layer LiftingConv: group='p5'"),
        (lambda: layers.GroupConv(4), r"layer GroupConv: x has shape"),
    ],
)
def test_what_a_layer_cannot_do_is_said_with_its_name(make, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(make().init, KEY, draw(1, 6, 6, 4))
