import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from numpy_groups import EXACT, ORDERS, matrices, number_of, on_image, on_map, turned_kernel

from cnnjax import InputError, ops
from tests.gradients import check_gradients
from tests.repeats import repeated


def draw(shape, seed=0, dtype=None):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def lifted(x, kernel, group, options):
    outputs = (numpy_loops.conv(x, turned_kernel(kernel, g), groups=1, **options) for g in matrices(group))
    return np.stack(list(outputs), axis=3)


def group_convolved(x, kernel, group, options):
    """`y[g] = Σ_h conv(x[h], (g w)[h])` with `(g w)(p, h) = w(g⁻¹ p, g⁻¹ h)`."""
    elements = matrices(group)
    outputs = []
    for g in elements:
        read = [number_of(np.linalg.inv(g) @ h, group) for h in elements]
        terms = (
            numpy_loops.conv(x[:, :, :, h], turned_kernel(kernel[:, :, i], g), groups=1, **options)
            for h, i in enumerate(read)
        )
        outputs.append(sum(terms))
    return np.stack(outputs, axis=3)


CONFIGURATIONS = [
    ((5, 5), 3, {"stride": (1, 1), "padding": "same", "dilation": (1, 1)}),
    ((4, 5), 2, {"stride": (2, 2), "padding": 1, "dilation": (1, 1)}),
    ((6, 5), 3, {"stride": (2, 2), "padding": "circular", "dilation": (1, 1)}),
    ((7, 7), 2, {"stride": (2, 1), "padding": "valid", "dilation": (3, 2)}),
    ((3, 3), 1, {"stride": (1, 1), "padding": "same", "dilation": (1, 1)}),
]


PAIRS = [("p4", 1), ("p4", 2), ("p4", 4), ("p4m", 0), ("p4m", 3), ("p8_approximate", 0), ("p8_approximate", 2)]


@pytest.mark.parametrize(("group", "space", "size", "options"), [(group, *CONFIGURATIONS[i]) for group, i in PAIRS])
class TestDefinition:
    def test_lifting(self, group, space, size, options):
        with jax.enable_x64(True):
            x, kernel = draw((2, *space, 2)), draw((size, size, 2, 3), seed=1)
            expected = lifted(x, kernel, group, options)
            y = jax.jit(lambda x, w: ops.lifting_conv(x, w, group=group, exact=False, **options))(x, kernel)
            np.testing.assert_allclose(y, expected, atol=1e-12)

    def test_group_convolution(self, group, space, size, options):
        with jax.enable_x64(True):
            order = ORDERS[group]
            x, kernel = draw((1, *space, order, 2)), draw((size, size, order, 2, 1), seed=1)
            expected = group_convolved(x, kernel, group, options)
            y = jax.jit(lambda x, w: ops.group_conv(x, w, group=group, exact=False, **options))(x, kernel)
            np.testing.assert_allclose(y, expected, atol=1e-12)


def test_eager_is_jitted_and_vmapped():
    x, kernels = draw((1, 5, 5, 8, 2), dtype=np.float32), draw((3, 3, 3, 8, 2, 2), 1, np.float32)
    f = lambda w: ops.group_conv(jnp.asarray(x), w, group="p4m")  # noqa: E731
    apart = np.stack([f(w) for w in map(jnp.asarray, kernels)])
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(kernels), apart, atol=1e-5)


def turns_along(y, action):
    """Whether y, the output for the eight orientations of an image in turn, is its first in the same orientations."""
    y = np.asarray(y)
    return all(np.allclose(y[g], action(y[:1], g, "p4m")[0], rtol=0, atol=1e-12) for g in range(8))


def door_is_open(n, k, options):
    x, kernel = jax.ShapeDtypeStruct((1, n, n, 1), np.float32), jax.ShapeDtypeStruct((k, k, 1, 1), np.float32)
    try:
        jax.eval_shape(lambda x, w: ops.lifting_conv(x, w, **options), x, kernel)
    except InputError:
        return False
    return True


def orientations(n):
    image = draw((1, n, n, 1), seed=n)
    return np.concatenate([on_image(image, g, "p4m") for g in range(8)])


@pytest.mark.parametrize("n", repeated(range(4, 10)))
def test_symmetric_kernels_commute_with_turns_and_flips_exactly_where_the_rule_holds(n):
    """652 cases. On smaller maps there are windows that read one pixel or none, which no turn can tell apart."""
    grid = itertools.product(range(1, 5), range(1, 5), range(4), (1, 2))
    cases = [
        (k, {"stride": s, "padding": p, "dilation": d})
        for k, s, p, d in grid
        if d * (k - 1) + 1 <= n + 2 * p and (k > 1 or d == 1)
    ]
    with jax.enable_x64(True):
        kernels = {k: sum(turned_kernel(draw((k, k, 1, 1)), g) for g in matrices("p4m")) for k in range(1, 5)}
        outputs = jax.jit(lambda x, w: [ops.conv(x, w[k], **options) for k, options in cases])(orientations(n), kernels)
    for (k, options), y in zip(cases, outputs, strict=True):
        s, p, d = options.values()
        rule = (n + 2 * p - (d * (k - 1) + 1)) % s == 0
        assert turns_along(y, on_image) == door_is_open(n, k, options) == rule, (n, k, options)


@pytest.mark.parametrize(
    "padding", repeated(["valid", "same", 1, "circular", "full", "reflect", "same_xla", (((0, 1), (0, 1)),)], quick=3)
)
def test_the_door_opens_exactly_where_lifting_commutes(padding):
    """Uneven padding will do where the windows leave the odd row unread: 2×2 at stride 2 on an even map."""
    cases = [(n, k, {"stride": s, "padding": padding}) for n in (6, 7) for k in (2, 3) for s in (1, 2, 3)]
    with jax.enable_x64(True):
        outputs = jax.jit(
            lambda xs, w: [
                ops.lifting_conv(xs[n], w[k], group="p4m", exact=False, **options) for n, k, options in cases
            ]
        )({n: orientations(n) for n in (6, 7)}, {k: draw((k, k, 1, 1), seed=1) for k in (2, 3)})
    commutes = [turns_along(y, on_map) for y in outputs]
    assert [door_is_open(n, k, options) for n, k, options in cases] == commutes
    assert {True, False} == set(commutes)


def test_gradients_in_map_and_kernel():
    with jax.enable_x64(True):
        x, kernel = draw((1, 3, 3, 4, 2)), draw((2, 2, 4, 2, 1), 1)
        f = jax.jit(lambda x, w: ops.group_conv(x, w, group="p4", padding=1))
        check_gradients(f, (x, kernel))


@pytest.mark.parametrize("group", ORDERS)
def test_gradients_are_the_adjoints(group):
    """`⟨A w, y⟩ = ⟨w, Aᵀ y⟩`: both layers are linear in their kernels, and A is tested by its definition."""
    with jax.enable_x64(True):
        order = ORDERS[group]
        image, features, cotangent = draw((1, 4, 4, 2)), draw((1, 4, 4, order, 2)), draw((1, 4, 4, order, 3), 1)
        lift, mix = draw((3, 3, 2, 3), 2), draw((3, 3, order, 2, 3), 3)
        image, features, cotangent = map(jnp.asarray, (image, features, cotangent))

        @jax.jit
        def products():
            lifted, pull_lift = jax.vjp(lambda w: ops.lifting_conv(image, w, group=group), lift)
            mixed, pull_mix = jax.vjp(lambda w: ops.group_conv(features, w, group=group), mix)
            return [
                (jnp.vdot(y, cotangent), jnp.vdot(w, *pull(cotangent)))
                for y, w, pull in ((lifted, lift, pull_lift), (mixed, mix, pull_mix))
            ]

        for forward, backward in products():
            np.testing.assert_allclose(forward, backward, rtol=1e-12)


@pytest.mark.parametrize("group", repeated(EXACT))
def test_every_parameter_is_used_once_for_each_element(group):
    """k² |G| parameters stand for the k² |G|² weights of the ordinary convolution, which unit impulses read off."""
    order, size = ORDERS[group], 3
    impulses = np.zeros((order, size, size, order, 1), np.float32)
    impulses[np.arange(order), size // 2, size // 2, np.arange(order)] = 1
    kernel = np.zeros((size, size, order, 1, 1), np.float32)
    assert kernel.size == size**2 * order
    weights = jax.jit(jax.jacobian(lambda w: ops.group_conv(jnp.asarray(impulses), w, group=group)))(kernel)
    weights = np.asarray(weights).reshape(size**2 * order**2, kernel.size)
    np.testing.assert_array_equal(np.sort(weights, axis=1)[:, -2:], np.tile([0, 1], (len(weights), 1)))
    np.testing.assert_array_equal(weights.sum(axis=0), order)


@pytest.mark.parametrize("group", repeated(ORDERS))
def test_bfloat16(group):
    x, lift = draw((1, 5, 5, 2), 0, jnp.bfloat16), draw((3, 3, 2, 3), 1, jnp.bfloat16)
    mix = draw((3, 3, ORDERS[group], 3, 2), 2, jnp.bfloat16)

    @jax.jit
    def f(x, lift, mix):
        return ops.group_conv(ops.lifting_conv(x, lift, group=group), mix, group=group)

    y = f(x, lift, mix)
    assert y.dtype == jnp.bfloat16
    wide = f(*(a.astype(np.float32) for a in (x, lift, mix)))
    np.testing.assert_allclose(np.asarray(y, np.float32), wide, atol=2**-6 * np.abs(wide).max())


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((1, 5, 5, 2), (3, 3, 2, 1), {"group": "p6"}, r"group='p6' is unknown; use one of p4, p4m, p8_approximate"),
        ((1, 5, 5, 2), (3, 2, 2, 1), {}, r"its window must be square, 3 by 3 say: a quarter turn exchanges"),
        ((1, 5, 5, 2), (3, 3, 1, 1), {}, r"x has shape \(1, 5, 5, 2\) and kernel \(3, 3, 1, 1\); lifting needs"),
        ((1, 5, 2), (3, 2, 1), {}, r"lifting needs \(batch, height, width, in\) and \(k, k, in, out\)"),
        (
            (1, 32, 32, 2),
            (3, 3, 2, 1),
            {"stride": 2, "padding": 1},
            r"n=32, p=\(1, 1\), k'=3 and s=2: \(n \+ 2p − k'\) mod s is 1, .* Use n=33, stride 1, or .*exact=False",
        ),
        (
            (1, 5, 5, 2),
            (2, 2, 2, 1),
            {},
            r"p=\(0, 1\), k'=2 .* begin 0 before the map and end 1 beyond it.* odd window",
        ),
        (
            (1, 5, 5, 2),
            (3, 3, 2, 1),
            {"stride": (1, 2)},
            r"stride is 1 along the height and 2 along the width; use one",
        ),
        ((1, 5, 5, 2), (3, 3, 2, 1), {"dilation": (2, 1)}, r"dilation is 2 along the height and 1 along the width"),
        (
            (1, 5, 5, 2),
            (3, 3, 2, 1),
            {"padding": ((1, 1), (0, 0))},
            r"padding is \(1, 1\) along the height and \(0, 0\)",
        ),
        ((1, 5, 5, 2), (3, 3, 2, 0), {}, r"kernel has shape .*no weights"),
    ],
)
def test_lifting_errors(x, kernel, options, message):
    with pytest.raises(InputError, match=message):
        ops.lifting_conv(jnp.ones(x), jnp.ones(kernel), **options)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("x", "kernel", "message"),
    [
        ((1, 5, 5, 4, 2), (3, 3, 8, 2, 1), r"kernel \(3, 3, 8, 2, 1\); p4 needs \(batch, height, width, 4, in\) and"),
        ((1, 5, 5, 8, 2), (3, 3, 8, 2, 1), r"x has shape \(1, 5, 5, 8, 2\) .* p4 needs"),
        ((1, 5, 5, 4, 2), (3, 3, 4, 3, 1), r"and \(k, k, 4, in, out\)\. Images become such maps by `lifting_conv`"),
        ((1, 5, 5, 2), (3, 3, 4, 2, 1), r"x has shape \(1, 5, 5, 2\)"),
        ((1, 5, 5, 4, 2), (1, 3, 4, 2, 1), r"its window must be square, 3 by 3 say"),
    ],
)
def test_group_conv_errors(x, kernel, message):
    with pytest.raises(InputError, match=message):
        ops.group_conv(jnp.ones(x), jnp.ones(kernel), group="p4")


def test_other_errors(without_type_checks):
    image = jnp.ones((1, 3, 3, 2))
    with pytest.raises(InputError, match=r"reduce='sum' is unknown; use one of max, mean"):
        ops.group_pool(image[:, :, :, None], reduce="sum")
    with pytest.raises(InputError, match=r"x is float32 of shape \(1, 3, 3, 2\); group pooling needs floating point"):
        ops.group_pool(image)
    with pytest.raises(InputError, match=r"element=4 is not in p4; its elements are numbered 0 to 3"):
        ops.group_action(image, 4, group="p4")
    with pytest.raises(InputError, match=r"acts on images .* and on maps \(batch, height, width, 8, channels\)"):
        ops.group_action(jnp.ones((1, 3, 3, 4, 2)), 0, group="p4m")
    with pytest.raises(InputError, match=r"x is float32 and kernel is bfloat16; conv needs one"):
        ops.lifting_conv(image, jnp.ones((3, 3, 2, 1), jnp.bfloat16))
