"""Backward rules at rectifiers against the rules written out in NumPy, and what counts as a rectifier."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from cnnjax import InputError, models, ops
from cnnjax.analysis import rectifiers, with_relu_rule
from tests.repeats import repeated

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4)).astype(np.float32)
X[0, 0], X[1, 1] = 0.0, -0.0
G = RNG.normal(size=(3, 4)).astype(np.float32)
A, B = RNG.normal(size=(2, 4, 4)).astype(np.float32)

# Signal out, of the rectifier's operand x and the signal in.
RULES = {
    "gradient": lambda x, g: np.where(x > 0, g, 0),
    "deconvnet": lambda _, g: np.maximum(g, 0),
    "guided": lambda x, g: np.where((x > 0) & (g > 0), g, 0),
}


@jax.custom_jvp
def own_tangent(x):
    return jnp.maximum(x, 0)


own_tangent.defjvp(lambda x, t: (own_tangent(*x), 7 * t[0]))


@jax.custom_vjp
def own_cotangent(x):
    return jnp.maximum(x, 0)


own_cotangent.defvjp(lambda x: (own_cotangent(x), None), lambda _, g: (7 * g,))

SPELLINGS = {
    "relu": jax.nn.relu,
    "linen": nn.relu,
    "nnx": nnx.relu,
    "maximum": lambda x: jnp.maximum(x, 0),
    "zero first": lambda x: jnp.maximum(jnp.float32(0), x),
    "zeros": lambda x: jnp.maximum(x, jnp.zeros_like(x)),
    "numpy zeros": lambda x: lax.max(x, np.zeros((3, 4), np.float32)),
    "clip": lambda x: jnp.clip(x, 0),
    "where": lambda x: jnp.where(x > 0, x, 0),
    "where not less": lambda x: jnp.where(x >= 0, x, jnp.float32(0)),
    "where less": lambda x: jnp.where(x < 0, 0, x),
    "where at most": lambda x: jnp.where(jnp.less_equal(x, 0), jnp.zeros_like(x), x),
    "where, turned": lambda x: jnp.where(jnp.less(0, x), x, 0),
    "mask": lambda x: x * (x > 0).astype(x.dtype),
    "mask first": lambda x: (x >= 0).astype(x.dtype) * x,
    "own tangent": own_tangent,
    "own cotangent": own_cotangent,
}
WRAPPERS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "jit of checkpoint of jit": lambda f: jax.jit(jax.checkpoint(jax.jit(f))),
    "cond": lambda f: lambda x: lax.cond(x.sum() < 1e9, f, lambda x: x, x),
    "scan": lambda f: lambda x: lax.scan(lambda carry, _: (f(carry), None), x, None, length=1)[0],
    "map": lambda f: lambda x: lax.map(lambda row: f(row[None].repeat(3, 0))[0], x),
}


def pulled(f, x, g):
    return jax.vjp(f, x)[1](jnp.asarray(g))[0]


def by_rule(f, x, g):
    """The value of f, its value under each rule, and what each rule sends back: one program."""

    @jax.jit
    def everything(x, g):
        found = {rule: jax.vjp(with_relu_rule(f, rule), x) for rule in RULES}
        return f(x), {rule: (value, pull(g)[0]) for rule, (value, pull) in found.items()}

    return everything(x, g)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_found(spelling):
    assert len(rectifiers(SPELLINGS[spelling], X).found) == 1


FIRST = "relu", "numpy zeros", "clip", "where less", "mask first", "own cotangent"


@pytest.mark.parametrize("spelling", repeated([*FIRST, *(s for s in SPELLINGS if s not in FIRST)], quick=len(FIRST)))
def test_every_spelling_follows_the_rules(spelling):
    f = SPELLINGS[spelling]
    value, found = by_rule(f, X, G)
    for rule, expected in RULES.items():
        ruled, sent = found[rule]
        np.testing.assert_array_equal(np.signbit(ruled), np.signbit(value))
        np.testing.assert_array_equal(ruled, value)
        np.testing.assert_array_equal(sent, expected(X, G))


@pytest.mark.parametrize("wrapper", repeated(reversed(WRAPPERS), quick=4))
def test_inside_calls_branches_and_loops(wrapper):
    f = WRAPPERS[wrapper](lambda x: SPELLINGS["where"](SPELLINGS["relu"](SPELLINGS["own cotangent"](x))))
    assert len(rectifiers(f, X).found) == 3
    value, found = by_rule(f, X, G)
    np.testing.assert_array_equal(with_relu_rule(f, "guided")(X), value)
    for rule, expected in RULES.items():
        np.testing.assert_array_equal(found[rule][0], value)
        np.testing.assert_array_equal(found[rule][1], expected(X, G))


@pytest.mark.parametrize("dtype", repeated([jnp.bfloat16, np.float64, np.float32], quick=2))
def test_two_layers_written_out(dtype):
    with jax.enable_x64(True):
        a, b = jnp.asarray(A, dtype), jnp.asarray(B, dtype)

        def f(x):
            return jnp.maximum(jax.nn.relu(x @ a) @ b, 0)

        x, g = jnp.asarray(X, dtype), jnp.asarray(G, dtype)
        hidden = np.asarray(x @ a)
        top = np.asarray(jnp.asarray(np.maximum(hidden, 0)) @ b)
        for rule, (_, found) in by_rule(f, x, g)[1].items():
            back = RULES[rule]
            expected = np.asarray(
                jnp.asarray(back(hidden, np.asarray(jnp.asarray(back(top, np.asarray(g))) @ b.T))) @ a.T
            )
            assert found.dtype == dtype
            tolerance = {2: 0.05, 4: 1e-5, 8: 1e-14}[found.dtype.itemsize]
            np.testing.assert_allclose(
                found.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance
            )


def test_the_loop_of_a_recurrent_network():
    """The signal of a scan meets the rule in every round, and parameters get theirs."""

    def f(weights, x):
        return lax.scan(lambda h, row: (jax.nn.relu(h @ weights + row), None), jnp.zeros(4), x)[0]

    assert len(rectifiers(f, A, X).found) == 1

    @jax.jit
    def sent_back(weights, x, g):
        return {rule: jax.vjp(with_relu_rule(f, rule), weights, x)[1](g) for rule in RULES}

    found = sent_back(A, X, G[0])
    for rule, back in RULES.items():
        to_weights, to_x = found[rule]
        before = [np.zeros(4, np.float32)]
        for row in X:
            before.append(np.maximum(before[-1] @ A + row, 0))
        signal, weights, rows = G[0], np.zeros_like(A), []
        for h, row in reversed(list(zip(before, X, strict=False))):
            signal = back(h @ A + row, signal)
            rows.append(signal)
            weights += np.outer(h, signal)
            signal = signal @ A.T
        np.testing.assert_allclose(to_x, rows[::-1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(to_weights, weights, rtol=1e-5, atol=1e-6)


def test_mapped_and_differentiated_again():
    def f(x):
        return jnp.maximum(x @ A, 0).sum()

    @jax.jit
    def derivatives(x):
        def twice(f):
            return jax.grad(lambda x: jax.grad(f)(x).sum())(x[2])

        def squared(x):
            return f(x) ** 2

        mapped = {rule: jax.vmap(jax.grad(with_relu_rule(f, rule)))(x) for rule in RULES}
        return mapped, twice(with_relu_rule(squared, "gradient")), twice(squared)

    mapped, second, expected = derivatives(X)
    np.testing.assert_allclose(second, expected, rtol=1e-5)
    for rule, back in RULES.items():
        expected = np.stack([back(x @ A, np.ones(4, np.float32)) @ A.T for x in X])
        np.testing.assert_allclose(mapped[rule], expected, rtol=1e-6, atol=1e-6)


def test_a_while_loop_runs_forward():
    def f(x):
        return lax.while_loop(lambda x: x.sum() < 50, lambda x: jax.nn.relu(x) + 1, x)

    assert len(rectifiers(f, X).found) == 1
    np.testing.assert_array_equal(with_relu_rule(f, "guided")(X), f(jnp.asarray(X)))


def test_there_is_no_forward_derivative():
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(with_relu_rule(jax.nn.relu, "deconvnet"), (X,), (X,))


def test_functions_without_a_rectifier_keep_their_derivative():
    @jax.custom_vjp
    def reversed_gradient(x):
        return x

    reversed_gradient.defvjp(lambda x: (x, None), lambda _, g: (-g,))
    ruled = with_relu_rule(lambda x: jax.nn.relu(reversed_gradient(x)), "guided")
    np.testing.assert_array_equal(pulled(ruled, X, G), -RULES["guided"](X, G))


OTHERS = {
    **{name: getattr(jax.nn, name) for name in ("relu6", "leaky_relu", "elu", "selu", "celu", "silu", "softplus")},
    **{name: getattr(jax.nn, name) for name in ("mish", "hard_tanh", "hard_sigmoid")},
    "tanh": jax.nn.gelu,
    "erfc": lambda x: jax.nn.gelu(x, approximate=False),
    "logistic": lambda x: x * lax.logistic(x),
    "max": lambda x: jnp.minimum(jnp.maximum(x, 0), 6),
    "where": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "abs": lambda x: (x + jnp.abs(x)) / 2,
}
FURTHER = [
    lambda x: jnp.maximum(jnp.minimum(x, 6), 0),
    lambda x: jnp.maximum(x, 0.1 * x),
    lambda x: jnp.maximum(x, 0) + 0.1 * jnp.minimum(x, 0),
]


def behind_a_matrix(f):
    return lambda x: jax.nn.relu(f(x @ A) + 1)


@pytest.mark.parametrize(("name", "f"), repeated([*OTHERS.items(), *(("max", f) for f in FURTHER)], quick=6))
def test_other_activations_are_named_and_refused(name, f):
    g = behind_a_matrix(f)
    report = rectifiers(g, X)
    assert len(report.found) == 1
    assert report.others[0].form == name
    with pytest.raises(InputError, match=f"no rectifiers: {name}"):
        with_relu_rule(g, "deconvnet", others="refuse")(X)
    with pytest.raises(InputError, match=f"f has no rectifier.*{name}"):
        with_relu_rule(f, "deconvnet")(X)


@pytest.mark.parametrize("f", repeated([*reversed(OTHERS.values()), *FURTHER], quick=4))
def test_other_activations_are_kept(f):
    g = behind_a_matrix(f)
    kept, expected = jax.jit(
        lambda x, signal, positive: (
            pulled(with_relu_rule(g, "deconvnet"), x, signal),
            pulled(lambda x: f(x @ A) + 1, x, positive),
        )
    )(X, G, np.maximum(G, 0))
    np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.maximum(0, (x * x).mean(-1, keepdims=True) - mean * mean)
    return (x - mean) * lax.rsqrt(variance + 1e-5)


def divided_norm(x):
    return x / jnp.sqrt(jnp.maximum(jnp.var(x, -1, keepdims=True), 0) + 1e-5)


@pytest.mark.parametrize(
    "norm", repeated([divided_norm, nn.LayerNorm(use_bias=False, use_scale=False).bind({}), layer_norm], quick=2)
)
def test_the_clamp_of_a_variance_is_no_rectifier(norm):
    report = rectifiers(lambda x: jax.nn.relu(norm(x)), X)
    assert (len(report.found), len(report.guards), report.others) == (1, 1, ())
    ruled = with_relu_rule(lambda x: jax.nn.relu(norm(x)), "guided")

    @jax.jit
    def found_and_expected(x, g):
        guided = jnp.where((norm(x) > 0) & (g > 0), g, 0)
        return pulled(ruled, x, g), pulled(norm, x, guided)

    np.testing.assert_allclose(*found_and_expected(X, G), rtol=1e-5, atol=1e-6)


def test_what_is_no_rectifier():
    image = jnp.asarray(RNG.random((1, 8, 8, 2)).astype(np.float32))
    f = {
        "pool": lambda x: ops.max_pool(x, 2),
        "overlapping pool": lambda x: ops.max_pool(x, 3, stride=2),
        "linen pool": lambda x: nn.max_pool(x, (2, 2), (2, 2)),
        "written pool": lambda x: jnp.maximum(x[:, ::2], x[:, 1::2]),
        "weights of resizing": lambda x: jax.image.resize(x, (1, 4, 4, 2), "linear"),
        "softmax": jax.nn.softmax,
        "threshold": lambda x: jnp.maximum(x, 0.1),
        "integers": lambda x: x[:, jnp.maximum(x.argmax(1), 0)[0, 0, 0]],
    }
    for name, g in f.items():
        assert rectifiers(g, image).found == (), name


class FastVariance(nn.Module):
    """Flax's own default takes E[x²] − E[x]² for the variance, and guards it against falling below 0."""

    @nn.compact
    def __call__(self, x):
        for name in ("first", "second"):
            x = nn.relu(nn.LayerNorm(name=name)(nn.Conv(2, (3, 3))(x)))
        return x


def test_places_are_named():
    model = models.AllConv(num_classes=3, widths=(2, 3), depth=1, head_width=2, norm="layer", downsample="max")
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    report = rectifiers(model.apply, variables, images)
    layers = ["stage1_conv1", "stage2_conv1", "head_conv1", "head_conv2"]
    assert [r.layer for r in report.found] == layers
    assert "stage1_conv1" in report.found[0].scope
    assert "block.py" in report.found[0].line
    assert report.found[0].shape == (1, 8, 8, 2)
    here = rectifiers(lambda x: {"a": jax.nn.relu(x), "b": jax.nn.relu(-x)}, X)
    assert [r.layer for r in here.found] == ["a", "b"]
    assert "test_relu_rules.py" in here.found[0].line


def test_variances_that_are_kept_from_falling_below_zero_are_guards():
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32)
    variables = jax.eval_shape(FastVariance().init, jax.random.key(0), images)
    report = rectifiers(FastVariance().apply, variables, images)
    assert [len(report.found), len(report.guards)] == [2, 2]
    assert ["first" in guard.scope for guard in report.guards] == [True, False]


def test_statistics_of_the_librarys_own_normalisation_need_no_guard():
    model = models.resnet20(num_classes=3, depth=1)
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    report = rectifiers(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, images)
    assert [len(report.found), len(report.guards)] == [7, 0]


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


def nnx_network():
    network = Nnx(nnx.Rngs(0))
    return network, network.first, network.second.kernel[...]


def equinox_network():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    first, second = (eqx.nn.Linear(*size, key=jax.random.key(0)) for size in ((4, 5), (5, 2)))
    network = eqx.nn.Sequential([first, eqx.nn.Lambda(jax.nn.relu), second])
    return eqx.filter_jit(lambda x: jax.vmap(network)(x)), jax.vmap(first), second.weight.T


def linen_network():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="second")(nn.relu(nn.Dense(5, name="first")(x)))

    variables = jax.jit(Network().init)(jax.random.key(0), X)
    first = {"params": variables["params"]["first"]}
    kernel = variables["params"]["second"]["kernel"]
    return lambda x: Network().apply(variables, x), lambda x: nn.Dense(5).apply(first, x), kernel


@pytest.mark.parametrize("make", repeated([linen_network, nnx_network, equinox_network]))
def test_frameworks(make):
    network, first, kernel = make()
    hidden, to_x = jax.jit(lambda x: jax.vjp(first, x))(X)
    _, found = by_rule(network, X, G[:, :2])
    for rule, back in RULES.items():
        (expected,) = to_x(jnp.asarray(back(np.asarray(hidden), G[:, :2] @ np.asarray(kernel).T)))
        np.testing.assert_allclose(found[rule][1], expected, rtol=1e-5, atol=1e-6)


def test_bad_input(without_type_checks):
    with pytest.raises(InputError, match="rule='deconv' is unknown"):
        with_relu_rule(jax.nn.relu, "deconv")
    with pytest.raises(InputError, match="others='drop' is unknown"):
        with_relu_rule(jax.nn.relu, "guided", others="drop")
    with pytest.raises(InputError, match=r"no rectifier.*no activation that is known"):
        with_relu_rule(lambda x: 2 * x, "guided")(X)


def test_one_out_of_reach_is_not_passed_over():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec()
    f = jax.shard_map(jax.nn.relu, mesh=mesh, in_specs=spec, out_specs=spec)
    with pytest.raises(InputError, match="rectifier inside shard_map"):
        with_relu_rule(f, "guided")(X)
