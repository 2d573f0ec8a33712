"""Interventions against the same functions written out with the edits in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from cnnjax import InputError, models, ops
from cnnjax.analysis import intervene
from tests.drawn_cases import drawn_cases
from tests.references.frameworks import HEAD, MAKERS
from tests.repeats import repeated

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
A, B = np.random.default_rng(1).normal(size=(2, 4, 4)).astype(np.float32)

WRAPPERS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "jit of jit": lambda f: jax.jit(lambda x: jax.jit(f)(x)),
    "jit of checkpoint": lambda f: jax.jit(jax.checkpoint(f)),
}


def residual(x):
    activations = {}
    activations["first"] = h = jnp.tanh(x @ A)
    activations["second"] = h = h + jnp.sin(h @ B)
    logits = activations["logits"] = h.sum(-1)
    return logits, activations


def residual_with(edit, x):
    first = edit("first", jnp.tanh(x @ A))
    second = edit("second", first + jnp.sin(first @ B))
    logits = edit("logits", second.sum(-1))
    return logits, {"first": first, "second": second, "logits": logits}


def shifted(name, a):
    return a + len(name) / 10


def doubled(name, a):
    return 2 * a if name == "first" else a


def ablated(name, a):
    return jnp.zeros_like(a) if name == "second" else a


def cut(name, a):
    return lax.stop_gradient(a) if name == "first" else a


def assert_same(found, expected, tolerance=0.0):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert jnp.result_type(a) == jnp.result_type(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def in_every_mode(f):
    """The value, mapped and differentiated both ways, as one program."""

    def loss(x):
        return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(f(x)))

    return jax.jit(lambda x: (f(x), jax.vmap(f)(x), jax.grad(loss)(x), jax.jvp(f, (x,), (x,))[1]))(X)


# Every wrapper, and every edit where nothing is wrapped and where most is.
@pytest.mark.parametrize(
    ("wrapper", "edit"),
    repeated(
        [
            *(("plain", cut), ("jit of checkpoint", doubled), ("plain", ablated)),
            *((wrapper, shifted) for wrapper in reversed(WRAPPERS)),
            *(("plain", doubled), ("jit of checkpoint", ablated), ("jit of checkpoint", cut)),
        ],
        quick=6,
    ),
)
def test_a_residual_network_written_out(wrapper, edit):
    edited = intervene(WRAPPERS[wrapper](residual), edit)
    value, mapped, gradient, tangents = in_every_mode(lambda x: residual_with(edit, x))
    assert_same(edited(X), value, 1e-6)
    found = in_every_mode(edited)
    assert_same(found[:2], (value, mapped), 1e-6)
    assert_same(found[2:], (gradient, tangents), 1e-5)


def test_activations_are_named_once_each_in_order():
    seen = []
    intervene(jax.jit(residual), lambda name, a: (seen.append((name, a.shape)), a)[1])(X)
    assert seen == [("first", (3, 4)), ("second", (3, 4)), ("logits", (3,))]


def names(f):
    seen = []
    intervene(f, lambda name, a: (seen.append(name), a)[1])(X)
    return seen


def test_names_are_keys_where_they_can_be():
    assert names(lambda x: jnp.sin(x)) == ["output"]
    assert names(lambda x: (jnp.sin(x), {"a": jnp.cos(x)})) == ["0", "a"]
    assert names(lambda x: {"a": {"y": x + 1}, "b": {"y": x + 2}, "z": x + 3}) == ["a/y", "b/y", "z"]


def test_derivatives_with_respect_to_an_activation():
    def loss(extra):
        return intervene(residual, lambda name, a: a + extra if name == "first" else a)(X)[0].sum()

    def rest(first):
        return (first + jnp.sin(first @ B)).sum()

    np.testing.assert_allclose(jax.grad(loss)(jnp.zeros((3, 4))), jax.grad(rest)(jnp.tanh(X @ A)), rtol=1e-6, atol=1e-5)


def test_several_arguments_are_trees():
    def f(params, batch, scale):
        hidden = batch["x"] @ params[0]
        return (hidden * scale) @ params[1], {"hidden": hidden}

    args = ((jnp.asarray(A), jnp.asarray(B)), {"x": jnp.asarray(X)}, jnp.float32(3))
    edited = intervene(f, lambda name, a: a + 1 if name == "hidden" else a)
    hidden = X @ A + 1
    assert_same(edited(*args), ((hidden * np.float32(3)) @ B, {"hidden": hidden}), 1e-5)
    gradient = jax.grad(lambda *args: edited(*args)[0].sum())(*args)
    np.testing.assert_allclose(gradient[1], np.broadcast_to(3 * hidden.sum(0)[:, None], (4, 4)), rtol=1e-5)


def test_inputs_constants_and_numbers_that_are_returned_are_edited():
    table = jnp.arange(4.0)

    @jax.jit
    def f(x):
        return {"x": x, "sum": x + table, "table": table, "number": 2.0, "twice": x * 2.0}

    edited = intervene(f, lambda name, a: a + 1 if name != "sum" else a)(X[0])
    assert_same(edited["x"], X[0] + 1)
    assert_same(edited["table"], np.arange(4, dtype=np.float32) + 1)
    assert_same(edited["sum"], X[0] + 1 + np.arange(4, dtype=np.float32) + 1, 1e-6)
    assert edited["number"] == 3
    assert_same(edited["twice"], 2 * (X[0] + 1) + 1, 1e-6)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_what_a_call_returns_twice_is_one_array(wrap):
    @wrap
    def twice(x):
        a = jnp.sin(x)
        return a, a

    def f(x):
        returned, used = twice(x)
        return {"a": returned, "b": used * 2}

    found = intervene(f, lambda name, a: a + 1 if name == "a" else a)(X)
    assert_same(found, {"a": np.sin(X) + 1, "b": 2 * (np.sin(X) + 1)}, 1e-6)


@jax.custom_vjp
def reversed_gradient(x):
    return jnp.sin(x)


reversed_gradient.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (-g * jnp.cos(x),))


@jax.custom_jvp
def halved_tangent(x):
    return x * 2


halved_tangent.defjvp(lambda x, t: (x[0] * 2, t[0]))


@pytest.mark.parametrize("wrap", repeated(reversed(WRAPPERS.values()), quick=3), ids=[*WRAPPERS][::-1])
def test_derivative_rules_stay_where_no_activation_is_used_inside(wrap):
    def f(x):
        made = reversed_gradient(x)
        return {"made": made, "unseen": halved_tangent(reversed_gradient(made * 3))}

    gradient = jax.grad(lambda x: intervene(wrap(f), lambda _, a: a * 5)(x)["unseen"].sum())(X)
    made = 5 * np.sin(X)
    # 5 for each edit, -cos for each reversal, 3 and 1.
    expected = 5 * 1 * -np.cos(3 * made) * 3 * 5 * -np.cos(X)
    np.testing.assert_allclose(gradient, expected, rtol=2e-4, atol=1e-4)


def test_activations_inside_a_function_with_its_own_derivative_are_edited_there():
    @jax.custom_jvp
    def block(x):
        inner = jnp.sin(x)
        return inner, inner * x

    block.defjvp(lambda x, t: (block(*x), block(*t)))
    found = intervene(block, lambda name, a: a + 1 if name == "0" else a)(X)
    assert_same(found, (np.sin(X) + 1, (np.sin(X) + 1) * X), 1e-6)


def test_activations_of_loops_and_branches_are_edited_on_leaving():
    def f(x):
        last, history = lax.scan(lambda c, _: (jnp.sin(c), c * 2), x, None, length=3)
        chosen = lax.cond(x.sum() > -1e9, jnp.cos, jnp.sin, last)
        return {"history": history, "last": last, "chosen": chosen, "sum": history.sum(0) + chosen}

    found = intervene(f, lambda name, a: a if name == "sum" else a + 10)(X)
    first, second, third = X, np.sin(X), np.sin(np.sin(X))
    history = 2 * np.stack([first, second, third]) + 10
    last = np.sin(third) + 10
    chosen = np.cos(last) + 10
    expected = {"history": history, "last": last, "chosen": chosen, "sum": history.sum(0) + chosen}
    assert_same(found, expected, 1e-5)


def test_results_that_are_not_used_are_no_hindrance():
    def f(x):
        values, _ = lax.top_k(x, 2)
        _, indices = lax.top_k(values, 1)
        return {"values": values, "indices": indices}

    found = intervene(f, lambda _, a: -a)(X)
    np.testing.assert_array_equal(found["values"], -np.sort(X)[:, :-3:-1])
    # The greatest of the negated is the second.
    np.testing.assert_array_equal(found["indices"], -np.ones((3, 1)))


OPS = [lambda a, b: a + b, lambda a, b: np.float32(0.5) * a * b, lambda a, _: jnp.sin(a), lambda a, _: a]

NODES = st.tuples(st.sampled_from(range(len(OPS))), st.integers(0, 99), st.integers(0, 99))
GROUPS = st.lists(st.tuples(st.sampled_from(sorted(WRAPPERS)), st.lists(NODES, min_size=1, max_size=3)), max_size=3)


@drawn_cases(25)
@given(groups=GROUPS, outer=st.sampled_from(sorted(WRAPPERS)), returned=st.sets(st.integers(0, 8), min_size=1))
def test_drawn_programs(groups, outer, returned):
    """Nodes in groups, each a call of its own; those that are returned are edited, and all that use them see it."""
    count = sum(len(nodes) for _, nodes in groups)

    def extended(values, nodes, edit):
        values = list(values)
        for op, i, j in nodes:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(edit(len(values), OPS[op](a, b), handed_on=a if op == 3 else None))
        return values

    def f(x):
        values = [x]
        for wrapper, nodes in groups:
            group = WRAPPERS[wrapper](lambda v, nodes=nodes: extended(v, nodes, lambda _, a, handed_on: a))
            values = group(values)
        return {f"node{i}": a for i, a in enumerate(values) if i in returned or i == count}

    # A node that hands its operand on is the same array, and is edited where any of its names is returned.
    roots, position = {0: 0}, 0
    for _, nodes in groups:
        # Every group sees all nodes before it.
        for op, i, _ in nodes:
            position += 1
            roots[position] = roots[i % position] if op == 3 else position
    edited_roots = {root for node, root in roots.items() if node in returned or node == count}
    values = [X + 1 if 0 in edited_roots else X]
    for _, nodes in groups:

        def edit(node, a, handed_on):
            return a + 1 if handed_on is None and node in edited_roots else a

        values = extended(values, nodes, edit)
    expected = {f"node{i}": a for i, a in enumerate(values) if i in returned or i == count}
    assert_same(jax.jit(intervene(WRAPPERS[outer](f), lambda _, a: a + 1))(X), expected, 1e-4)


@pytest.mark.parametrize("framework", repeated(["nnx", "equinox", "plain", "jit"], quick=2))
def test_frameworks(framework):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5, 1)).astype(np.float32))
    network = MAKERS[framework]()
    hidden = network(images)[1]["hidden"] + 1
    found = intervene(network, lambda name, a: a + 1 if name == "hidden" else a)(images)
    assert_same(found, (hidden.mean((1, 2)) @ HEAD, {"hidden": hidden}), 1e-5)


def test_equinox():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    first, second = (eqx.nn.Linear(*size, key=jax.random.key(0)) for size in ((4, 5), (5, 2)))

    @eqx.filter_jit
    def network(x):
        hidden = jax.nn.relu(jax.vmap(first)(x))
        return jax.vmap(second)(hidden), {"hidden": hidden, "transposed": hidden.T}

    hidden = network(X)[1]["hidden"] + 1
    found = intervene(network, lambda name, a: a if name == "0" else a + 1)(X)
    # A transposed copy is an array of its own: nothing is made of it.
    assert_same(found, (jax.vmap(second)(hidden), {"hidden": hidden, "transposed": hidden.T + 1}), 1e-6)


@pytest.mark.parametrize("wrapper", [lambda f: f, jax.jit, jax.checkpoint])
def test_what_is_returned_transposed_alone_is_the_array(wrapper):
    """As channels are moved to the end for the caller: what comes after is made of the edited array."""
    x = jnp.arange(24.0).reshape(1, 2, 3, 4)

    @wrapper
    def inner(x):
        hidden = x * 2
        return hidden, hidden.sum((2, 3))

    def f(x):
        hidden, total = inner(x)
        return {"maps": jnp.moveaxis(hidden, 1, -1).transpose(0, 2, 1, 3), "total": total, "later": hidden[:, 0] + 1}

    def edit(name, a):
        return a * jnp.asarray([1.0, 10.0])[None, None, None] if name == "maps" else a

    found = intervene(f, edit)(x)
    hidden = x * 2 * jnp.asarray([1.0, 10.0])[None, :, None, None]
    expected = {"maps": hidden.transpose(0, 3, 2, 1), "total": hidden.sum((2, 3)), "later": hidden[:, 0] + 1}
    assert_same(found, expected, 1e-6)


@pytest.mark.parametrize("remat", [False, True])
def test_a_model_ablated_from_one_layer_on(remat):
    model = models.ResNet(num_classes=3, widths=(2, 4), depth=1, remat=remat)
    images = np.random.default_rng(0).random((1, 8, 8, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1, leaf.dtype), shapes)

    edited = intervene(model.apply, lambda name, a: a * 0 if name == "pool" else a)
    logits, activations = jax.jit(edited)(variables, images)
    np.testing.assert_array_equal(activations["pool"], np.zeros((1, 4)))
    np.testing.assert_array_equal(logits, activations["logits"])
    # What is left of the classifier is its bias.
    np.testing.assert_array_equal(logits, np.full((1, 3), 0.1, np.float32))
    whole = jax.jit(model.apply)(variables, images)[1]
    np.testing.assert_allclose(activations["stage2_block1"], whole["stage2_block1"], rtol=1e-5, atol=1e-5)


def test_kernels_inside_ops_are_programs_of_their_own():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 4)).astype(np.float32)
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 1, 4)).astype(np.float32))

    def f(x):
        a = ops.conv(x, kernel, groups=4)
        b = ops.max_pool(a, 2)
        return {"conv": a, "pool": b}

    found = intervene(f, lambda name, a: -a if name == "conv" else a)(x)
    expected = -ops.conv(jnp.asarray(x), kernel, groups=4)
    assert_same(found, {"conv": expected, "pool": ops.max_pool(expected, 2)}, 1e-6)


@pytest.mark.parametrize("edit", [lambda _, a: a[:1], lambda _, a: a.astype(jnp.bfloat16)])
def test_edits_keep_shape_and_dtype(edit):
    with pytest.raises(InputError, match=r"'first'.*keep both"):
        intervene(residual, edit)(X)
