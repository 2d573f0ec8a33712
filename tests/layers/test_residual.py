"""Residual blocks: what their fields change, and what starts, stays and is counted as the papers say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import draw

from cnnjax import InputError, layers
from tests.drawn import KEY, drawn_variables
from tests.repeats import repeated

BLOCKS = {
    "basic": functools.partial(layers.BasicBlock, 8),
    "bottleneck": functools.partial(layers.BottleneckBlock, 2),
    "bottleneck, 1x1": functools.partial(layers.BottleneckBlock, 2, stride_at="1x1"),
}


def identity(x):
    return x


@pytest.mark.parametrize("pre", [False, True])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_parameters_are_those_of_the_formula(shortcut, pre):
    n, f = 8, 6
    kernels = {
        "basic": [9 * n * f, 9 * f * f],
        "bottleneck": [n * f, 9 * f * f, f * 4 * f],
    }
    for name, make in (("basic", layers.BasicBlock), ("bottleneck", layers.BottleneckBlock)):
        out = f if name == "basic" else 4 * f
        block = make(f, factor=2, shortcut=shortcut, pre_activation=pre, residual=name != "basic" or shortcut == "B")
        params = jax.eval_shape(lambda block=block: block.init(KEY, jnp.ones((1, 6, 6, n)), train=False))["params"]
        norms = [n, *[f] * (len(kernels[name]) - 1)] if pre else [*[f] * (len(kernels[name]) - 1), out]
        expected = sum(kernels[name]) + 2 * sum(norms)
        if shortcut == "B":
            expected += n * out + (0 if pre else 2 * out)
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected, name


@pytest.mark.parametrize(
    ("make", "padding", "downsample"),
    repeated(
        [("basic", p, d) for p, d in (("reflect", "stride"), ("full", "polyphase"), ("valid", "max"))]
        + [("basic", "circular", d) for d in ("blur", "learned_polyphase")]
        + [("bottleneck", 1, "stride"), ("bottleneck, 1x1", 1, "blur")]
        + [("basic", p, "stride") for p in ("same", "valid", "full", "circular", 1)]
        + [("basic", p, "polyphase") for p in ("circular", 1)]
        + [("basic", "valid", d) for d in ("average", "blur", "max_blur", "learned_polyphase")]
        + [("basic", "circular", d) for d in ("max", "average", "max_blur")]
        + [("bottleneck", 1, "learned_polyphase"), ("bottleneck, 1x1", 1, "learned_polyphase")],
        quick=7,
    ),
)
def test_branch_and_shortcut_are_aligned(make, padding, downsample):
    # With a one at the centre of every kernel the branch passes its input on, so the sum is twice the branch: at the
    # same positions, at the same phase, under the same blur.
    def center(path, leaf):
        if "phase" in jax.tree_util.keystr(path):
            return leaf
        value = np.zeros(leaf.shape, np.float32)
        if leaf.ndim > 1:
            value[*((k - 1) // 2 for k in leaf.shape[:-2])] = np.eye(*leaf.shape[-2:])
        return jnp.asarray(value)

    fields = dict(factor=2, downsample=downsample, padding=padding, norm="none", activation=identity)
    # Channels beyond the bottleneck's features would be lost in it.
    x = draw(2, 12, 10, 8 if make == "basic" else 2)
    block, plain = (BLOCKS[make](residual=residual, **fields) for residual in (True, False))
    variables = jax.tree_util.tree_map_with_path(center, drawn_variables(block, x, train=False))

    @functools.partial(jax.jit, static_argnums=0)
    def run(train):
        return [b.apply(variables, x, train=train, rngs={"dropout": KEY}) for b in (block, plain)]

    both, branch = run(False)
    assert np.abs(branch).max() > 0.5
    np.testing.assert_allclose(both, 2 * np.asarray(branch), atol=1e-5)
    if downsample == "learned_polyphase":
        both, soft = run(True)
        soft = np.asarray(soft)
        np.testing.assert_allclose(both, 2 * soft, atol=1e-5)
        assert np.abs(soft - branch).max() > 1e-2


@pytest.mark.parametrize(
    ("make", "pre", "norm"),
    repeated(
        [
            *(("basic", True, "batch"), ("bottleneck", False, "batch")),
            *(("bottleneck", True, "none"), ("basic", False, "none")),
        ],
        quick=2,
    ),
)
def test_a_zero_branch_is_the_identity_and_can_leave_it(make, pre, norm):
    # A rectified input passes the rectifier after the sum unchanged.
    x = np.maximum(np.asarray(draw(3, 4, 4, 8)), 0)
    block = BLOCKS[make](pre_activation=pre, norm=norm, zero_init_last=True)
    both = block, block.clone(zero_init_last=False)
    variables, usual = jax.jit(lambda x: [b.init(KEY, x, train=False) for b in both])(x)

    @jax.jit
    def run(variables, x):
        def loss(params):
            y, _ = block.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return (y * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)).sum()

        return block.apply(variables, x, train=False), jax.grad(loss)(variables["params"])

    y, gradients = run(variables, x)
    np.testing.assert_array_equal(y, x)
    assert max(np.abs(gradient).max() for gradient in jax.tree.leaves(gradients)) > 1e-2
    assert np.abs(run(usual, x)[0] - x).max() > 0.1


@pytest.mark.parametrize(("make", "pre"), repeated([("bottleneck", True), ("basic", False)]))
def test_gradients_reach_every_parameter(make, pre):
    fields = dict(factor=2, shortcut="B", squeeze_excite=True, survival=0.9, downsample="learned_polyphase")
    block = BLOCKS[make](pre_activation=pre, activation=jnp.tanh, **fields)
    x = draw(16, 6, 6, 4)
    variables = drawn_variables(block, x, train=False)

    @jax.jit
    def gradient_of(params):
        def loss(params):
            rngs = {"dropout": KEY}
            y, _ = block.apply({**variables, "params": params}, x, train=True, rngs=rngs, mutable=["batch_stats"])
            return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()

        return jax.grad(loss)(params)

    for path, gradient in jax.tree_util.tree_leaves_with_path(gradient_of(variables["params"])):
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("pre", [False, True])
def test_stochastic_depth_leaves_branches_out_image_by_image(pre):
    x = np.maximum(np.asarray(draw(64, 4, 4, 8)), 0)
    block = BLOCKS["basic"](pre_activation=pre, survival=0.75, norm="none")
    variables = drawn_variables(block, x, positive=True, train=False)
    whole = block.clone(survival=1.0)
    branch = block.clone(residual=False, survival=1.0, activation=identity)

    @jax.jit
    def run(variables, x):
        y = block.apply(variables, x, train=True, rngs={"dropout": KEY})
        evaluated = block.apply(variables, x, train=False), whole.apply(variables, x, train=True)
        return y, evaluated, branch.apply(variables, x, train=True)

    y, evaluated, branch = jax.tree.map(np.asarray, run(variables, x))
    np.testing.assert_array_equal(*evaluated)
    left_out = (y == x).all((1, 2, 3))
    assert 5 < left_out.sum() < 30  # 16 expected
    if not pre:  # all is positive, so the rectifier inside changes nothing
        expected = x + branch / np.float32(0.75)
        np.testing.assert_allclose(y[~left_out], expected[~left_out], rtol=1e-5)


def test_stochastic_depth_keeps_the_expectation():
    x = np.full((20_000, 1, 1, 1), 2, np.float32)
    layer = layers.StochasticDepth(0.8)
    y = np.asarray(jax.jit(lambda x: layer.apply({}, x, train=True, rngs={"dropout": KEY}))(x))
    assert set(np.unique(y)) == {np.float32(0), np.float32(2 / 0.8)}
    assert y.mean() == pytest.approx(2, abs=5 * 2.5 * np.sqrt(0.2 * 0.8 / 20_000))
    x = jnp.asarray(x)
    assert layer.apply({}, x, train=False) is x


def test_squeeze_excite_weights_whole_channels():
    x = draw(2, 3, 4, 5)
    layer = layers.SqueezeExcite(reduction=2)
    variables = drawn_variables(layer, x)
    weights = np.asarray(jax.jit(layer.apply)(variables, x)) / np.asarray(x)
    np.testing.assert_allclose(weights, np.broadcast_to(weights[:, :1, :1], weights.shape), rtol=1e-4)
    p = jax.tree.map(np.asarray, variables["params"])
    hidden = np.maximum(np.asarray(x).mean((1, 2)) @ p["squeeze"]["kernel"] + p["squeeze"]["bias"], 0)
    expected = 1 / (1 + np.exp(-(hidden @ p["excite"]["kernel"] + p["excite"]["bias"])))
    assert hidden.shape == (2, 2)
    np.testing.assert_allclose(weights[:, 0, 0], expected, rtol=1e-4)


def test_squeeze_excite_of_few_channels_keeps_one_unit():
    params = jax.eval_shape(lambda: layers.SqueezeExcite().init(KEY, jnp.ones((1, 2, 2, 8))))["params"]
    assert params["squeeze"]["kernel"].shape == (8, 1)


def test_blocks_take_signals_too():
    x = draw(2, 12, 3)
    for block in (BLOCKS["basic"](factor=2), BLOCKS["bottleneck"](factor=2, shortcut="B", squeeze_excite=True)):
        y = jax.eval_shape(lambda block=block: block.init_with_output(KEY, x, train=False)[0])
        assert y.shape == (2, 6, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.BasicBlock(2), "layer BasicBlock: the map has 4 channels and the block 2: .* use shortcut 'B'"),
        (lambda: layers.BasicBlock(8, shortcut="C"), "BasicBlock: shortcut='C' is unknown"),
        (
            lambda: layers.BasicBlock(8, survival=0.5, residual=False),
            "layer BasicBlock: survival=0.5 would erase images",
        ),
        (lambda: layers.BasicBlock(8, survival=0.0), r"layer stochastic_depth: survival=0.0 must lie in \(0, 1\]"),
        (lambda: layers.BasicBlock(8, kernel_size=9, padding="valid"), "layer conv1/conv: the window spans 9"),
        (lambda: layers.BasicBlock(8, factor=7, downsample="polyphase"), "layer conv1/pool: stride=7"),
        (lambda: layers.BottleneckBlock(8, stride_at="5x5"), "BottleneckBlock: stride_at='5x5' is unknown"),
    ],
)
def test_what_a_block_cannot_do_is_said_with_its_name(make, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: make().init(KEY, jnp.ones((1, 6, 6, 4)), train=False))
