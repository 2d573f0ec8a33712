import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_passes import passes

from cnnjax import ops
from cnnjax.kernels import Geometry, calls, choice
from cnnjax.kernels.calls import call
from tests.drawn_cases import drawn_cases
from tests.repeats import repeated

PASSES = ("forward", "input", "weights")


@functools.partial(jax.jit, static_argnums=(0, 1, 4, 5))
def computed(geometry, which, a, b, mapped=(False, False), tiled=True):
    return call(a, b, geometry=geometry, which=which, mapped=mapped, tiled=tiled)


def image(height, width, channels, features, padding=((1, 1), (1, 1))):
    return Geometry((height, width), channels, features, (3, 3), (1, 1), padding, (1, 1))


def operands(geometry, maps, lead=(), dtype=np.float32):
    """Maps, kernel and cotangent."""
    shapes = ((*lead, maps, *geometry.maps), (*lead, *geometry.kernel), (*lead, maps, *geometry.made))
    return [jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype) for seed, shape in enumerate(shapes)]


def reads(x, kernel, cotangent):
    """The two operands of each pass."""
    return {"forward": (x, kernel), "input": (cotangent, kernel), "weights": (x, cotangent)}


def assert_right(geometry, maps):
    given = operands(geometry, maps)
    for which, expected in zip(PASSES, passes(geometry, *given), strict=True):
        made = computed(geometry, which, *reads(*given)[which])
        assert (made.shape, made.dtype) == (expected.shape, jnp.float32)
        np.testing.assert_allclose(made, expected, atol=3e-6 * max(1, np.abs(expected).max()), err_msg=which)


@pytest.mark.parametrize(
    "geometry",
    repeated(
        [
            image(9, 6, 17, 100, ((2, 0), (0, 1))),
            image(6, 7, 4, 3, ((-1, 1), (0, -2))),
            image(1, 1, 8, 80),
            image(8, 8, 32, 32),
            image(7, 9, 5, 18, ((0, 0), (0, 0))),
            image(3, 3, 4, 4, ((5, 4), (7, 6))),
        ],
        quick=3,
    ),
    ids=lambda geometry: geometry.name,
)
def test_tiles_against_numpy(geometry):
    assert_right(geometry, 3)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    padding=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    maps=st.integers(1, 4),
)
@drawn_cases(10)
def test_drawn_tiles_against_numpy(size, padding, channels, maps):
    assert_right(
        image(size[0], size[1], channels[0], channels[1], ((padding[0], padding[1]), (padding[2], padding[3]))), maps
    )


@pytest.mark.parametrize("mapped", repeated([((True, False),), ((True, True),), ((False, True),)]))
def test_copies_are_so_many_convolutions(mapped):
    geometry = image(6, 7, 5, 18)
    for which, both in reads(*operands(geometry, 2, lead=(3,))).items():
        given = [v if m else v[0] for v, m in zip(both, mapped, strict=True)]
        for copy, got in enumerate(computed(geometry, which, *given, mapped)):
            one = computed(geometry, which, *(v[copy] if m else v for v, m in zip(given, mapped, strict=True)))
            np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("dtype", repeated([jnp.bfloat16, jnp.float16]))
def test_narrow_numbers_are_added_up_in_float32(dtype):
    geometry = image(6, 7, 24, 16)
    for which, both in reads(*operands(geometry, 2, dtype=dtype)).items():
        made = computed(geometry, which, *both)
        assert made.dtype == dtype
        wide = computed(geometry, which, *(v.astype(jnp.float32) for v in both))
        np.testing.assert_array_equal(made, wide.astype(dtype))


def window_sums(x, kernel, before, out):
    """Each window's sum in float64, of what lies inside the map only."""
    made = np.zeros((len(x), *out, kernel.shape[-1]))
    for (i, j), (a, b) in itertools.product(np.ndindex(*out), np.ndindex(3, 3)):
        r, s = i + a - before[0], j + b - before[1]
        if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
            made[:, i, j] += x[:, r, s].astype(np.float64) @ kernel[a, b].astype(np.float64)
    return made


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e38])
@pytest.mark.parametrize("where", ["maps", "kernel"])
def test_numbers_that_are_not_finite_or_huge_go_where_the_window_reads_them(where, value):
    geometry = image(7, 6, 5, 18, ((1, 1), (0, 2)))
    x, kernel, cotangent = (np.array(v) for v in operands(geometry, 2))
    if where == "maps":
        x[0, 2, 3, 1] = cotangent[1, 6, 2, 3] = value
        x[0, 3, 3, 1] = value  # beside it: their difference is 0, or no number
        kernel /= 8
    else:
        kernel[0, 2, 1, 4] = value
        x, cotangent = x / 8, cotangent / 8
    turned = np.ascontiguousarray(np.swapaxes(kernel[::-1, ::-1], 2, 3))
    for which, a, expected in (
        ("forward", x, window_sums(x, kernel, (1, 0), geometry.out)),
        ("input", cotangent, window_sums(cotangent, turned, (1, 2), geometry.size)),
    ):
        made = computed(geometry, which, jnp.asarray(a), jnp.asarray(kernel))
        scale = np.maximum(1, np.abs(np.where(np.isfinite(expected), expected, 1)).max((0, 1, 2)))
        np.testing.assert_allclose(np.asarray(made) / scale, expected / scale, atol=3e-6, err_msg=which)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("size", repeated([((7, 6),), ((16, 9),)], quick=1), ids=str)
@pytest.mark.parametrize("value", repeated([np.nan, np.inf, -np.inf, 2e38], quick=2))
@pytest.mark.parametrize("where", ["maps", "cotangent", "whole map"])
def test_weights_get_what_is_not_finite_or_huge_from_the_taps_that_read_it(where, value, size):
    geometry = image(*size, 5, 18, ((1, 1), (0, 2)))
    x, _, cotangent = (np.array(v) / 8 for v in operands(geometry, 2))
    if where == "whole map" and np.isfinite(value):
        pytest.skip("whether huge numbers that cancel go beyond float32 on the way depends on their order")
    # In a corner, which some taps do not read.
    if where == "maps":
        x[1, 0, 0, 2] = x[0, 3, 3, 1] = x[0, 4, 3, 1] = value
    elif where == "cotangent":
        cotangent[1, 0, 0, 3] = cotangent[0, 3, 3, 1] = cotangent[0, 4, 3, 1] = value
    else:
        x[1] = value
    (height, width), (oh, ow) = geometry.size, geometry.out
    expected = np.zeros(geometry.kernel)
    for (a, b), (i, j) in itertools.product(np.ndindex(3, 3), np.ndindex(oh, ow)):
        if 0 <= (r := i + a - 1) < height and 0 <= (s := j + b) < width:
            expected[a, b] += np.einsum("nc,nf->cf", x[:, r, s].astype(np.float64), cotangent[:, i, j])
    expected = expected.astype(np.float32)  # what is too large for float32 is infinite
    made = np.asarray(computed(geometry, "weights", jnp.asarray(x), jnp.asarray(cotangent)))
    scale = np.maximum(1, np.abs(np.where(np.isfinite(expected), expected, 1)).max((0, 1)))
    np.testing.assert_allclose(made / scale, expected / scale, atol=3e-6)


def test_error_is_smaller_than_that_of_direct_sums():
    geometry = image(8, 8, 64, 64)
    given = operands(geometry, 8)
    for which, expected in zip(PASSES, passes(geometry, *given), strict=True):
        tiled, direct = (
            np.sqrt(np.mean((np.asarray(computed(geometry, which, *both, tiled=t)) - expected) ** 2))
            for t, both in itertools.product((True, False), [reads(*given)[which]])
        )
        most = 1e-6 * np.sqrt(np.mean(expected**2))
        assert max(tiled, direct) < most
        assert tiled < direct or which == "weights"  # whose sums of 16 places are twice as rough here


@pytest.mark.parametrize("copies", repeated([True, False]), ids=("four kernels", "one kernel"))
def test_devices_share_tiles_without_gathering(monkeypatch, copies):
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    monkeypatch.setattr(calls, "by_tiles", lambda *_, **__: True)
    x, kernel, cotangent = operands(image(6, 7, 8, 8), 8, lead=(4,) if copies else ())
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axis)) for axis in (("data",), ()))
    conv = jax.vmap(ops.conv) if copies else ops.conv
    both = jax.jit(lambda x, kernel, cotangent: (conv(x, kernel), jax.vjp(conv, x, kernel)[1](cotangent)))
    placed = [jax.device_put(v, s) for v, s in zip((x, kernel, cotangent), (split, whole, split), strict=True)]
    compiled = both.lower(*placed).compile()
    text = str(compiled.as_text())
    assert "cnnjax_conv4_tiled_forward" in text
    assert "all-gather" not in text
    *made, weights = jax.tree.leaves(compiled(*placed))
    *right, right_weights = jax.tree.leaves(both(x, kernel, cotangent))
    for got, expected in zip(made, right, strict=True):
        np.testing.assert_array_equal(got, expected)
    # A sum over maps, which the devices take in parts.
    np.testing.assert_allclose(weights, right_weights, rtol=0, atol=1e-6 * np.abs(right_weights).max())


@pytest.mark.parametrize(
    ("size", "channels", "features", "maps", "chosen"),
    [
        # As measured beside direct sums.
        (32, 16, 16, 128, True),
        (8, 64, 64, 128, True),
        (8, 256, 256, 64, True),
        (13, 256, 384, 16, False),
        (32, 3, 16, 128, False),
        (5, 64, 64, 64, False),
        (8, 64, 64, 1, False),
        (4, 512, 512, 64, False),
    ],
)
def test_tiles_are_chosen_where_they_are_faster(size, channels, features, maps, chosen):
    geometry = image(size, size, channels, features)
    assert choice.by_tiles(geometry, "forward", maps=maps) == chosen


@pytest.mark.parametrize(
    ("size", "channels", "features", "maps", "chosen"),
    [
        # As measured beside direct sums.
        (32, 16, 16, 128, True),
        (8, 64, 64, 128, True),
        (13, 256, 384, 16, True),
        (32, 3, 16, 128, False),
        (5, 64, 64, 64, False),
        (7, 512, 512, 16, False),
    ],
)
def test_tiles_are_chosen_for_weights_where_they_are_faster(size, channels, features, maps, chosen):
    assert choice.by_tiles(image(size, size, channels, features), "weights", maps=maps) == chosen


@pytest.mark.parametrize(
    "other",
    [{"stride": (2, 2)}, {"dilation": (1, 2)}, {"window": (3, 5)}, {"groups": 2}],
    ids=str,
)
def test_other_windows_have_no_tiles(other):
    geometry = dataclasses.replace(image(32, 32, 16, 16), **other)
    assert not choice.by_tiles(geometry, "forward", maps=128)
