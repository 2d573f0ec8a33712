"""What a function returns as copies of its arrays is measured as if it returned the arrays themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import analysis, ops
from tests.repeats import repeated

RNG = np.random.default_rng(0)
FIRST, SECOND, HEAD = (jnp.asarray(RNG.normal(size=size), jnp.float32) for size in ((3, 3, 1, 4), (3, 3, 4, 4), (4, 5)))
IMAGES = RNG.uniform(size=(2, 8, 8, 1)).astype(np.float32)


def same(a):
    return a


def network(x, copy=same, of_logits=same):
    a = jnp.tanh(ops.conv(x, FIRST))
    b = jnp.tanh(ops.conv(a, SECOND, stride=2))
    logits = b.mean((1, 2)) @ HEAD
    return {"logits": of_logits(logits), "b": copy(b), "a": copy(a)}


def channels_first(x):
    """The same network as Equinox has it, and its maps for a caller who wants channels last."""

    def conv(x, kernel, **options):
        return jnp.moveaxis(ops.conv(jnp.moveaxis(x, 1, -1), kernel, **options), -1, 1)

    a = jnp.tanh(conv(jnp.moveaxis(x, -1, 1), FIRST))
    b = jnp.tanh(conv(a, SECOND, stride=2))
    logits = b.mean((2, 3)) @ HEAD
    return {"logits": logits, "a": jnp.moveaxis(a, 1, -1), "b": jnp.moveaxis(b, 1, -1)}


COPIES = {
    "channels first": channels_first,
    "transposed": lambda x: network(x, lambda a: a.swapaxes(1, 2)),
    "transposed twice": lambda x: network(x, lambda a: jnp.moveaxis(jnp.moveaxis(a, -1, 1), 1, -1)),
    "transposed in a call": lambda x: network(x, jax.jit(lambda a: a.swapaxes(1, 2))),
    "all in a call": jax.jit(lambda x: network(x, jax.jit(lambda a: a.swapaxes(1, 2)))),
    "parts of channels": lambda x: network(x, lambda a: a.reshape(*a.shape[:3], 2, 2)),
    "one more axis": lambda x: network(x, lambda a: a[..., None]),
    "one more axis, then less": lambda x: network(x, lambda a: a[..., None][..., 0]),
    "logits reshaped": lambda x: network(x, lambda a: a.swapaxes(1, 2), lambda a: a.reshape(2, 1, 5)),
    "mirrored": lambda x: network(x, lambda a: a[..., ::-1]),
    "handed on": lambda x: network(x, lambda a: jax.lax.optimization_barrier(a)),
}


@pytest.fixture(scope="module")
def expected():
    return analysis.lie_attribution(network, IMAGES, "rotation")


FIRST_COPIES = "channels first", "all in a call", "parts of channels", "logits reshaped"


@pytest.mark.parametrize("name", repeated([*FIRST_COPIES, *(n for n in COPIES if n not in FIRST_COPIES)], quick=4))
def test_the_split_of_an_error_is_seen_at_the_logits(name, expected):
    found = analysis.lie_attribution(COPIES[name], IMAGES, "rotation")
    assert list(found) == ["a", "b", "logits"]
    for name, part in found.items():
        assert part.share == pytest.approx(expected[name].share, abs=1e-5)
        assert part.local == pytest.approx(expected[name].local, rel=1e-4)
        np.testing.assert_allclose(part.field.reshape(2, 5), expected[name].field, rtol=1e-3, atol=1e-5)


def test_copies_beside_arrays_and_copies_of_copies_add_nothing(expected):
    def f(x):
        result = network(x)
        b, logits = result["b"], result["logits"]
        return {**result, "half": b.astype(jnp.bfloat16), "turned": b.swapaxes(1, 2), "again": logits[None, :, :][0]}

    found = analysis.lie_attribution(f, IMAGES, "rotation")
    assert [name for name, part in found.items() if part.share] == ["a", "b", "logits"]
    for name, part in expected.items():
        assert found[name].share == pytest.approx(part.share, abs=1e-5)
    whole = sum(part.field for part in expected.values())
    for name in ("half", "turned", "again"):
        # Up to a copy the parts add up to its derivative, too.
        parts = analysis.lie_attribution(f, IMAGES, "rotation", layer=name)
        assert sum(part.share for part in parts.values()) == pytest.approx(1, abs=1e-2)
    np.testing.assert_allclose(sum(part.field for part in parts.values()), whole, rtol=1e-3, atol=1e-5)


def test_a_copy_in_a_wider_dtype_is_edited_as_the_array():
    def f(x):
        hidden = (3 * x).astype(jnp.bfloat16)
        return {"hidden": hidden.astype(jnp.float32), "later": hidden + jnp.bfloat16(1)}

    def read(x):
        wider = (3 * x).astype(jnp.bfloat16).astype(jnp.float32)
        return {"hidden": wider, "later": wider + 1}

    x = jnp.ones((1, 2, 2, 1))
    found = analysis.intervene(f, lambda name, a: a + 1 if name == "hidden" else a)(x)
    assert (found["hidden"].dtype, found["later"].dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(found["hidden"], 4)
    np.testing.assert_array_equal(found["later"], 5)
    # Where something is made of the copy, an edit is not rounded to the array's dtype.
    np.testing.assert_array_equal(
        analysis.intervene(read, lambda name, a: a + 2.0**-20 if name == "hidden" else a)(x)["later"] - 4, 2.0**-20
    )


@pytest.mark.parametrize(
    "f", [channels_first, COPIES["transposed in a call"], lambda x: network(x, lambda a: a.astype(jnp.bfloat16))]
)
def test_a_copy_has_the_cost_of_its_array_however_late_it_is_made(f):
    found = analysis.cost(f, IMAGES).layers
    assert [(name, layer.multiply_adds) for name, layer in found.items()] == [
        ("a", 2 * 64 * 9 * 4),
        ("b", 2 * 16 * 9 * 4 * 4),
        ("logits", 2 * 4 * 5),
    ]


def test_parameters_stand_where_their_copies_in_half_precision_are_read():
    params = {"a_head": HEAD, "b_second": SECOND[0, 0], "c_first": FIRST[0, 0]}

    def apply(params, x):
        half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
        x = x.astype(jnp.bfloat16).mean((1, 2))
        for name in ("c_first", "b_second", "a_head"):
            x = x @ half[name].reshape(half[name].shape)
        return x.astype(jnp.float32)

    flow = analysis.gradient_flow(lambda p, x: apply(p, x).mean(), params, IMAGES)
    assert list(flow.parameters) == ["c_first", "b_second", "a_head"]
    fresh = jax.tree.map(lambda p: -p, params)
    cascade = analysis.sanity.cascading_randomization(
        apply, params, fresh, IMAGES, lambda f, x: analysis.saliency(f, x, unit=0).maps * x
    )
    assert cascade.layers == ("a_head", "b_second", "c_first")
