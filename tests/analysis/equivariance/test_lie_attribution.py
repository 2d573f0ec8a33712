"""The attribution of a Lie derivative to layers: exact sums, layers taken apart by hand, and who is to blame."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, models, ops, runtime
from cnnjax.analysis import lie_attribution, lie_derivative
from tests.drawn_cases import drawn_cases
from tests.references.frameworks import every_framework, plain
from tests.repeats import repeated


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def kernel(*shape, seed=0):
    return jnp.asarray(noise(*shape, seed=seed) / 3)


def sum_of(contributions):
    return np.sum([c.field for c in contributions.values()], axis=0)


def residual(x):
    """Zero padding, a stride, skips over one and over two layers, and results that come in no particular order."""
    stem = ops.conv(x, kernel(3, 3, 2, 3))
    first = jax.nn.silu(ops.conv(stem, kernel(3, 3, 3, 3, seed=1), padding="circular")) + stem
    second = jnp.tanh(ops.conv(first, kernel(3, 3, 3, 3, seed=2), stride=2)) + ops.avg_pool(stem, 2)
    logits = second.mean((1, 2)) ** 2 + first.mean((1, 2))
    return logits, {"stem": stem, "second": second, "first": first, "logits": logits}


@pytest.mark.parametrize(
    ("generator", "options"),
    repeated(
        [("rotation", {"resampler": "cubic", "fill": "reflect"}), ("saturation", None), ("translation_x", {})], quick=2
    ),
)
def test_layers_add_up_to_the_lie_derivative(generator, options):
    if options is None:
        x, f, options = noise(2, 8, 8, 3), lambda x: residual(x[..., :2]), {}
    else:
        x, f = noise(2, 8, 8, 2), residual
    logits, activations = lie_derivative(f, x, generator, **options)
    found = lie_attribution(f, x, generator, **options)
    assert list(found) == ["stem", "first", "second", "logits"]
    np.testing.assert_allclose(sum_of(found), logits, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(sum(c.share for c in found.values()), 1, rtol=1e-10)
    # The first layer has nothing before it.
    np.testing.assert_allclose(found["stem"].local, np.square(activations["stem"]).mean(), rtol=1e-10)


@pytest.mark.parametrize("layer", ["b", "1/b"])
def test_the_output_is_a_name_or_a_path_and_later_layers_have_no_part(layer):
    def f(x):
        a = x**2
        b = jnp.sin(a)
        return b.sum((1, 2)), {"b": b, "a": a}

    x = noise(2, 4, 4, 1)
    found = lie_attribution(f, x, "translation_y", layer=layer)
    assert list(found) == ["a", "b"]
    expected = lie_derivative(f, x, "translation_y")[1]["b"]
    np.testing.assert_allclose(sum_of(found), expected, rtol=1e-10, atol=1e-10)


NODES = st.lists(
    st.tuples(st.sampled_from(["conv", "zero", "stride", "add", "tanh", "jit"]), st.integers(0, 9), st.integers(0, 9)),
    min_size=2,
    max_size=5,
)


@drawn_cases(4)
@given(nodes=NODES, generator=st.sampled_from(["translation_x", "scale"]))
def test_drawn_graphs_add_up(nodes, generator):
    weights = kernel(3, 3, 1, 1)

    def f(x):
        maps, found = [x], {}
        for number, (kind, i, j) in enumerate(nodes):
            a, b = maps[i % len(maps)], maps[j % len(maps)]
            while min(a.shape[1], b.shape[1]) < max(a.shape[1], b.shape[1]):
                a, b = (ops.avg_pool(m, 2) if m.shape[1] == max(a.shape[1], b.shape[1]) else m for m in (a, b))
            match kind:
                case "conv":
                    y = ops.conv(a, weights, padding="circular")
                case "zero":
                    y = ops.conv(a, weights)
                case "stride" if a.shape[1] > 2:
                    y = ops.conv(a, weights, stride=2, padding="circular")
                case "jit":
                    inner, y = jax.jit(lambda a, b: (a * b, jnp.sin(a * b) + a))(a, b)
                    maps.append(inner)
                    found[f"inner{number}"] = inner
                case "tanh":
                    y = jnp.tanh(a)
                case _:
                    y = a + b * 0.5
            maps.append(y)
            if (i + j) % 3:
                found[f"layer{number}"] = y
        return found | {"last": maps[-1] * 1.0}

    x = noise(1, 8, 8, 1)
    found = lie_attribution(f, x, generator, layer="last")
    expected = lie_derivative(f, x, generator)["last"]
    np.testing.assert_allclose(sum_of(found), expected, rtol=1e-9, atol=1e-9)


def test_two_layers_taken_apart():
    """The second layer's failure is its own Lie derivative on the first's maps, whose units are two pixels apart."""

    def first(x):
        return jnp.tanh(ops.conv(x, kernel(3, 3, 1, 3), stride=2))

    def second(a):
        return jnp.tanh(ops.conv(a, kernel(3, 3, 3, 2, seed=1)))

    def f(x):
        a = first(x)
        return {"a": a, "b": second(a)}

    x = noise(2, 8, 8, 1)
    found = lie_attribution(f, x, "translation_x")
    assert list(found) == ["a", "b"]
    a = np.asarray(jax.jit(first)(x))
    of_second = np.asarray(lie_derivative(second, a, "translation_x")) / 2
    np.testing.assert_allclose(found["b"].field, of_second, atol=1e-12)
    np.testing.assert_allclose(found["b"].local, np.square(of_second).mean())
    of_first = lie_derivative(first, x, "translation_x")
    pushed = jax.jit(lambda a, t: jax.jvp(second, (a,), (t,))[1])(a, of_first)
    np.testing.assert_allclose(found["a"].field, pushed, atol=1e-12)
    np.testing.assert_allclose(found["a"].lee, np.square(pushed).mean())
    total = np.asarray(pushed) + of_second
    np.testing.assert_allclose(found["b"].share, (of_second * total).sum() / np.square(total).sum())


def test_a_computation_done_twice_is_two():
    """What is returned and what is used are different arrays here: nothing passes through the returned one."""

    def f(x):
        return {"a": ops.conv(x, kernel(3, 3, 1, 1)), "b": ops.conv(x, kernel(3, 3, 1, 1)) ** 2}

    found = lie_attribution(f, noise(1, 6, 6, 1), "translation_x")
    assert found["a"].local > 0
    assert not found["a"].field.any()
    np.testing.assert_allclose(found["b"].share, 1)


@pytest.mark.parametrize("culprit", repeated(["stride", "zeros", "aliasing", None], quick=2))
def test_who_breaks_translation(culprit):
    def f(x):
        one = ops.conv(x, kernel(3, 3, 1, 2), padding="circular")
        padding = "same" if culprit == "zeros" else "circular"
        two = ops.conv(one, kernel(3, 3, 2, 2, seed=1), padding=padding, stride=2 if culprit == "stride" else 1)
        three = jax.nn.relu(two) if culprit == "aliasing" else two * 2
        four = ops.conv(three, kernel(3, 3, 2, 1, seed=2), padding="circular")
        return {"one": one, "two": two, "three": three, "four": four}

    found = lie_attribution(f, noise(2, 8, 8, 1), "translation_x")
    broken = {"stride": "two", "zeros": "two", "aliasing": "three", None: None}[culprit]
    for name, contribution in found.items():
        if name == broken:
            assert contribution.local > 1e-3
            np.testing.assert_allclose(contribution.share, 1, rtol=1e-10)
        else:
            assert contribution.local < 1e-24
            assert np.abs(contribution.field).max() < 1e-12


def test_an_equivariant_function_has_no_shares():
    found = lie_attribution(lambda x: x * 0, np.ones((1, 4, 4, 1)), "translation_x")
    assert list(found) == ["output"]
    assert found["output"].lee == 0
    assert math.isnan(found["output"].share)


def test_batches_do_not_matter(monkeypatch):
    def f(x):
        square = x**2
        return {"square": square, "sum": square.sum((1, 2)) ** 2}

    x = noise(5, 4, 4, 1)
    whole = lie_attribution(f, x, "rotation")
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: 32 // pixels)
    for name, contribution in lie_attribution(f, x, "rotation").items():
        np.testing.assert_allclose(contribution.field, whole[name].field, atol=1e-10)
        np.testing.assert_allclose(contribution.local, whole[name].local, rtol=1e-10)
        np.testing.assert_allclose(contribution.share, whole[name].share, rtol=1e-10)


@functools.cache
def of_plain_network():
    return lie_derivative(plain, jnp.asarray(noise(2, 6, 6, 1), jnp.float32), "translation_x")[0]


@every_framework
def test_frameworks(make):
    x = jnp.asarray(noise(2, 6, 6, 1), jnp.float32)
    found = lie_attribution(make(), x, "translation_x", layer="0")
    np.testing.assert_allclose(sum_of(found), of_plain_network(), atol=2e-5)
    assert list(found)[-1] == "0"


@pytest.mark.slow
def test_a_model():
    model = models.ResNet(num_classes=3, widths=(2, 4), depth=1, dtype=jnp.float64, downsample="blur")
    x = noise(1, 8, 8, 1)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(np.abs(noise(*leaf.shape)) if leaf.ndim < 2 else noise(*leaf.shape) / 2, leaf.dtype),
        jax.eval_shape(model.init, jax.random.key(0), x),
    )
    found = lie_attribution(lambda x: model.apply(variables, x), x, "rotation")
    assert list(found) == ["conv1", "stage1_block1", "stage2_block1", "pool", "logits"]
    logits = lie_derivative(lambda x: model.apply(variables, x)[0], x, "rotation")
    np.testing.assert_allclose(sum_of(found), logits, rtol=1e-10, atol=1e-10 * np.abs(logits).max())
    # The mean over a map and a dense layer are exactly what they should be of maps that move.
    assert found["logits"].local == 0


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (noise(1, 8, 8, 2), {"generator": "rotation", "layer": "secnd"}, "perhaps you meant second"),
        (noise(1, 8, 8, 2), {"generator": "rotatoin"}, "perhaps you meant rotation"),
        (noise(0, 8, 8, 2), {"generator": "rotation"}, "none of them empty"),
        (np.full((1, 8, 8, 2), np.inf), {"generator": "rotation"}, "NaN or infinity"),
    ],
)
def test_bad_input(images, options, message):
    with pytest.raises(InputError, match=message):
        lie_attribution(residual, images, **options)


def test_infinite_derivatives_are_named():
    def f(x):
        root = jnp.sqrt(x)
        return {"root": root, "sum": root.sum((1, 2))}

    with pytest.raises(InputError, match="derivative of activation root"):
        lie_attribution(f, np.zeros((1, 4, 4, 1)), "translation_x")
