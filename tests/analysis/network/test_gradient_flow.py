"""The learning signal against backpropagation written out, deep linear networks in closed form, three frameworks."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import scipy.special
from flax import nnx
from jax.tree_util import Partial

from cnnjax import InputError, models
from cnnjax.analysis import NotFiniteError, gradient_flow
from tests.repeats import repeated

RANDOM = np.random.default_rng(0)
SIZES = (5, 7, 6, 3)
WEIGHTS = [RANDOM.normal(size=pair) / math.sqrt(pair[0]) for pair in itertools.pairwise(SIZES)]
BIASES = [RANDOM.normal(size=n) for n in SIZES[1:]]
X, TARGET = RANDOM.normal(size=(4, SIZES[0])), RANDOM.normal(size=(4, SIZES[-1]))


def backpropagated():
    """The loss ½ mean ‖h₃ − t‖² of a tanh network with its gradients, written out (Rumelhart et al. 1986)."""
    h = [X]
    for w, b in zip(WEIGHTS, BIASES, strict=True):
        h.append(np.tanh(h[-1] @ w + b))
    loss = 0.5 * np.sum((h[-1] - TARGET) ** 2) / len(X)
    delta, at, kernels, biases = (h[-1] - TARGET) / len(X), [], [], []
    for layer in reversed(range(len(WEIGHTS))):
        at.append(delta)
        inner = delta * (1 - h[layer + 1] ** 2)
        kernels.append(h[layer].T @ inner)
        biases.append(inner.sum(0))
        delta = inner @ WEIGHTS[layer].T
    return loss, h[1:], at[::-1], kernels[::-1], biases[::-1]


def network(params, batch):
    x, target = batch
    activations = {}
    for number, layer in enumerate(params):
        x = activations[f"h{number}"] = jnp.tanh(x @ layer["kernel"] + layer["bias"][None])
    return 0.5 * jnp.sum((x - target) ** 2) / len(x), activations


def in_dtype(dtype):
    pairs = zip(WEIGHTS, BIASES, strict=True)
    params = [{"kernel": jnp.asarray(w, dtype), "bias": jnp.asarray(b, dtype)} for w, b in pairs]
    return params, (jnp.asarray(X, dtype), jnp.asarray(TARGET, dtype))


def norm(a):
    return float(np.linalg.norm(np.asarray(a, np.float64)))


@pytest.mark.parametrize(
    ("wrap", "dtype", "tolerance"),
    repeated(
        [(lambda f: f, "float32", 2e-6), (jax.checkpoint, "float64", 1e-13), (jax.jit, "float64", 1e-13)], quick=2
    ),
    ids=["plain", "checkpoint", "jit"],
)
def test_a_network_against_backpropagation_written_out(wrap, dtype, tolerance):
    loss, h, at, kernels, biases = backpropagated()
    with jax.enable_x64(dtype == "float64"):
        flow = gradient_flow(wrap(network), *in_dtype(dtype))
    close = pytest.approx
    assert flow.loss == close(loss, rel=tolerance)
    assert list(flow.activations) == ["h0", "h1", "h2"]
    for number, (value, gradient) in enumerate(zip(h, at, strict=True)):
        signal = flow.activations[f"h{number}"]
        assert (signal.size, signal.layer) == (value.size, f"h{number}")
        assert signal.norm == close(norm(value), rel=tolerance)
        assert signal.rms == close(np.sqrt(np.mean(value**2)), rel=tolerance)
        assert signal.gradient_norm == close(norm(gradient), rel=tolerance)
        assert signal.gradient_rms == close(np.sqrt(np.mean(gradient**2)), rel=tolerance)
    assert set(flow.parameters) == {f"{number}/{name}" for number in range(3) for name in ("kernel", "bias")}
    for number, (w, b, dw, db) in enumerate(zip(WEIGHTS, BIASES, kernels, biases, strict=True)):
        kernel, layer = flow.parameters[f"{number}/kernel"], flow.layers[f"{number}"]
        assert (kernel.layer, kernel.size) == (f"{number}", w.size)
        assert kernel.gradient_norm == close(norm(dw), rel=tolerance)
        assert kernel.relative_gradient == close(norm(dw) / norm(w), rel=tolerance)
        assert flow.parameters[f"{number}/bias"].gradient_norm == close(norm(db), rel=tolerance)
        assert layer.size == w.size + b.size
        assert layer.norm == close(np.hypot(norm(w), norm(b)), rel=tolerance)
        assert layer.gradient_norm == close(np.hypot(norm(dw), norm(db)), rel=tolerance)


def test_without_activations_the_parameters_are_the_same():
    params, batch = in_dtype("float32")
    flow = gradient_flow(lambda p, b: network(p, b)[0], params, batch)
    assert flow.activations == {}
    assert flow.parameters == gradient_flow(network, params, batch).parameters


def test_rows_are_a_table_in_forward_order():
    table = pd.DataFrame(gradient_flow(network, *in_dtype("float32")).rows())
    assert list(table["kind"]) == ["parameter"] * 6 + ["activation"] * 3
    assert list(table["layer"]) == ["0", "0", "1", "1", "2", "2", "h0", "h1", "h2"]
    kernels = table[table["name"].str.endswith("kernel")]
    assert list(kernels["gradient_rms"]) == pytest.approx([norm(g) / math.sqrt(g.size) for g in backpropagated()[3]])


def rotation(n):
    return np.linalg.qr(RANDOM.normal(size=(n, n)))[0].astype(np.float32)


LAST = np.array([1, -2, 0.5, 3], np.float32)


def linear_loss(weights, x):
    activations = {}
    for number, w in enumerate(weights):
        x = activations[f"h{number}"] = x @ w
    return x @ LAST, activations


@pytest.mark.parametrize("gain", repeated([0.1, 1.0, 8.0]))
def test_a_deep_linear_network_loses_or_gains_a_factor_in_each_layer(gain):
    """`h_l = gain · Q h_{l−1}`: `‖∂/∂h_l‖ = gain^(L−l) ‖v‖`, and every weight's is `gain^(L−1) ‖x‖ ‖v‖`.

    At a gain of 0.1 the last is 1e-29: its square is no float32.
    """
    depth, x, v = 30, np.arange(1, 5, dtype=np.float32), LAST
    weights = [np.float32(gain) * rotation(4) for _ in range(depth)]
    flow = gradient_flow(Partial(linear_loss), weights, x)
    assert list(flow.activations) == [f"h{number}" for number in range(depth)]
    for number in range(depth):
        at, weight = flow.activations[f"h{number}"], flow.parameters[f"{number}"]
        assert at.gradient_norm == pytest.approx(gain ** (depth - 1 - number) * norm(v), rel=1e-4)
        assert at.norm == pytest.approx(gain ** (number + 1) * norm(x), rel=1e-4)
        assert weight.gradient_norm == pytest.approx(gain ** (depth - 1) * norm(x) * norm(v), rel=1e-4)
        assert weight.relative_gradient == pytest.approx(gain ** (depth - 2) * norm(x) * norm(v) / 2, rel=1e-4)
        assert not weight.dead


def test_a_residual_chain_keeps_what_a_plain_one_loses():
    """`h + a h` has the factor 1 + a in each block, `a h` the factor a."""
    depth, a, x, v = 12, 0.25, jnp.asarray([3.0, 4.0]), jnp.asarray([1.0, 0.0])

    def loss(weights, x, residual):
        activations = {}
        for number, w in enumerate(weights):
            x = activations[f"h{number}"] = x @ w + (x if residual else 0.0)
        return x @ v, activations

    weights = [a * jnp.eye(2)] * depth
    for residual, factor in ((True, 1 + a), (False, a)):
        flow = gradient_flow(functools.partial(loss, residual=residual), weights, x)
        found = [signal.gradient_norm for signal in flow.activations.values()]
        assert found == pytest.approx([factor ** (depth - 1 - number) for number in range(depth)], rel=1e-5)
        for number in range(depth):
            expected = factor ** (depth - 1) * norm(x)
            assert flow.parameters[f"{number}"].gradient_norm == pytest.approx(expected, rel=1e-5)


def test_the_order_is_that_of_computation_where_the_names_have_another():
    def loss(params, x):
        activations = {}
        for number in reversed(range(12)):
            x = activations[f"block{number}"] = jnp.sin(params[f"block{number}"]["scale"] * x)
        return x.sum(), activations

    params = {f"block{number}": {"scale": jnp.asarray(1.0)} for number in range(12)}
    flow = gradient_flow(loss, params, jnp.ones(2))
    assert list(flow.layers) == list(flow.activations) == [f"block{number}" for number in reversed(range(12))]


@pytest.mark.parametrize("norm_name", repeated(["none", "batch"]))
def test_a_linen_model_against_jax_grad(norm_name):
    model = models.ResNet(num_classes=3, widths=(2,), depth=1, norm=norm_name)
    images, labels = jnp.asarray(RANDOM.uniform(size=(2, 4, 4, 1)), jnp.float32), jnp.asarray([0, 2])
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda a: jnp.asarray(RANDOM.uniform(0.1, 1, a.shape), a.dtype), shapes)

    def loss(params, batch):
        images, labels = batch
        given = {**variables, "params": params}
        (logits, activations), _ = model.apply(given, images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), activations

    params, batch = variables["params"], (images, labels)
    flow = gradient_flow(loss, params, batch)
    convolutions = [layer for layer in flow.layers if "norm" not in layer]
    assert convolutions == ["conv1/conv", "stage1_block1/conv1/conv", "stage1_block1/conv2", "logits"]
    assert list(flow.activations) == ["conv1", "stage1_block1", "pool", "logits"]

    gradients, activations = jax.jit(jax.grad(loss, has_aux=True))(params, batch)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert flow.parameters[name].gradient_norm == pytest.approx(norm(gradient), rel=1e-4, abs=1e-7)
    expected = (scipy.special.softmax(activations["logits"], 1) - np.eye(3)[np.asarray(labels)]) / 2
    assert flow.activations["logits"].gradient_norm == pytest.approx(norm(expected), rel=1e-5)


def test_nnx_equinox_and_plain_parameters_give_the_same():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    params, (x, target) = in_dtype("float32")
    expected = gradient_flow(network, params, (x, target))

    def through(layers, x):
        h = {}
        for number, layer in enumerate(layers):
            x = h[f"h{number}"] = jnp.tanh(layer(x))
        return 0.5 * jnp.sum((x - target) ** 2) / len(x), h

    class Dense(nnx.Module):
        def __init__(self, kernel, bias):
            self.kernel, self.bias = nnx.Param(kernel), nnx.Param(bias)

        def __call__(self, x):
            return x @ self.kernel[...] + self.bias[...][None]

    class Chain(nnx.Module):
        def __init__(self):
            self.layers = nnx.List([Dense(**values) for values in params])

    graph, state = nnx.split(Chain(), nnx.Param)
    found_nnx = gradient_flow(lambda state, x: through(nnx.merge(graph, state).layers, x), state, x)

    class Linear(eqx.Module):
        bias: jax.Array
        kernel: jax.Array
        name: str = "linear"

        def __call__(self, x):
            return x @ self.kernel + self.bias

    layers = {"layers": [Linear(**values) for values in params]}
    arrays, rest = eqx.partition(layers, eqx.is_inexact_array)
    found_eqx = gradient_flow(
        lambda arrays, x: through([jax.vmap(layer) for layer in eqx.combine(arrays, rest)["layers"]], x), arrays, x
    )
    names = {f"layers/{number}/{name}" for number in range(3) for name in ("kernel", "bias")}
    assert set(found_nnx.parameters) == set(found_eqx.parameters) == names
    for found in (found_nnx, found_eqx):
        assert found.loss == pytest.approx(expected.loss, rel=1e-5)
        assert list(found.layers) == ["layers/0", "layers/1", "layers/2"]
        for ours, theirs in (
            *zip(found.layers.values(), expected.layers.values(), strict=True),
            *zip(found.activations.values(), expected.activations.values(), strict=True),
        ):
            assert ours.size == theirs.size
            assert ours.norm == pytest.approx(theirs.norm, rel=1e-5)
            assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-5)


def test_what_the_loss_does_not_reach_is_dead_and_what_it_does_not_read_comes_last():
    params = {"a_unused": jnp.ones(2), "b_closed": jnp.ones(3), "c_open": jnp.ones(3), "steps": jnp.asarray(3)}

    def loss(params, x):
        gate = jnp.maximum(params["b_closed"] * x - 5, 0)  # below zero for every x here
        return jnp.sum(params["c_open"] * x + gate), {"gate": gate, "sum": x.sum(), "which": jnp.argmax(x)}

    flow = gradient_flow(loss, params, jnp.asarray([1.0, 2.0, 3.0]))
    assert {name: signal.dead for name, signal in flow.parameters.items()} == {
        "b_closed": True,
        "c_open": False,
        "a_unused": True,
    }
    assert list(flow.parameters)[-1] == "a_unused"
    assert {name: signal.dead for name, signal in flow.activations.items()} == {"gate": False, "sum": True}
    assert math.isnan(flow.activations["gate"].relative_gradient)  # it is 0


def test_one_array_is_a_parameter_and_bfloat16_is_summed_in_float32():
    weight = jnp.full((4096,), 1.0, jnp.bfloat16)
    flow = gradient_flow(lambda w, x: (w * x).sum(dtype=jnp.float32), weight, jnp.full((4096,), 2.0, jnp.bfloat16))
    (name, signal), *rest = flow.parameters.items()
    assert (name, signal.layer, rest) == ("params", "params", [])
    assert (signal.norm, signal.gradient_norm) == (64.0, 128.0)


def test_a_partial_is_compiled_once_and_another_function_traced_anew():
    traced = []

    def loss(w, x):
        traced.append(1)
        return jnp.sum(w * x)

    for scale in (1.0, 2.0, 3.0):
        flow = gradient_flow(Partial(loss), scale * jnp.ones(1), jnp.ones(1))
        assert flow.parameters["params"].norm == scale
        if scale == 1.0:
            once = len(traced)
    assert len(traced) == once

    scale = [1.0]
    flows = []
    for scale[0] in (1.0, 5.0):
        flows.append(gradient_flow(lambda w, x: jnp.sum(w * x) * scale[0], jnp.ones(2), jnp.ones(2)))
    assert [flow.loss for flow in flows] == [2.0, 10.0]


def test_gradients_that_are_not_finite_are_results():
    flow = gradient_flow(lambda w, x: jnp.sum(jnp.sqrt(w * x)), jnp.asarray([0.0, 1.0]), jnp.ones(2))
    assert (flow.loss, flow.parameters["params"].gradient_norm) == (1.0, math.inf)
    assert not flow.parameters["params"].dead


def logged(w, x):
    first = w * x
    second = jnp.log(first - 1)
    return second.sum(), {"a_second": second, "b_first": first}


@pytest.mark.parametrize(
    ("loss", "params", "batch", "message"),
    [
        (lambda w, x: w * x, jnp.ones(2), jnp.ones(2), r"loss returns float32\[2\]: expected a floating scalar"),
        (lambda w, x: {"loss": (w * x).sum()}, jnp.ones(2), jnp.ones(2), "loss returns dict: expected"),
        (lambda w, x: (w * x, {}), jnp.ones(2), jnp.ones(2), r"loss returns float32\[2\]"),
        (lambda w, x: (w > x).sum(), jnp.ones(2), jnp.ones(2), r"loss returns int32\[\]"),
        (lambda w, x: x.sum(), {"steps": jnp.arange(3)}, jnp.ones(2), "params have no floating array"),
        (lambda w, x: x.sum(), {}, jnp.ones(2), "params have no floating array"),
        (lambda w, x: (w * x).sum(), jnp.ones(2), jnp.ones((0, 2)), r"batch is empty, \[\(0, 2\)\]"),
        (lambda w, x: w.sum(), jnp.ones(2), (), "batch is empty"),
        (
            lambda w, x: w.sum(),
            jnp.ones(2),
            {"images": jnp.asarray([1.0, math.nan]), "labels": jnp.zeros(2, jnp.int32)},
            r"batch\['images'\] contains NaN",
        ),
        (logged, jnp.ones(2), jnp.zeros(2), "the loss is nan, and activation a_second is the first"),
        (logged, jnp.asarray([1.0, math.inf]), jnp.ones(2), "the loss is nan, and parameter params is the first"),
        (
            lambda w, x: (w.sum() / 0, {"sum": w.sum()}),
            jnp.ones(2),
            jnp.ones(2),
            "the loss is inf, though every parameter and every activation",
        ),
    ],
)
def test_bad_input(loss, params, batch, message):
    with pytest.raises(InputError, match=message) as caught:
        gradient_flow(loss, params, batch)
    assert isinstance(caught.value, NotFiniteError) == message.startswith("the loss is")
