import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnjax import InputError, ops

NAMES = ["valid", "same", "full", "circular", "reflect", "same_xla"]
SHAPES = [(2, 7, 3), (1, 5, 8, 2)]


@pytest.mark.parametrize(
    ("k", "dilation", "before", "after"),
    [(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1), (4, 1, 1, 2), (5, 1, 2, 2), (3, 2, 2, 2), (2, 3, 1, 2), (2, 2, 1, 1)],
)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("n", [9, 12])
def test_same_depends_on_the_window_alone(k, dilation, before, after, stride, n):
    for padding, fill in [("same", "zero"), ("circular", "circular"), ("reflect", "reflect")]:
        resolved = ops.resolve_padding(
            padding, kernel_size=(k,), input_size=(n,), stride=(stride,), dilation=(dilation,)
        )
        assert resolved == (((before, after),), fill)


@given(
    shape=st.sampled_from(SHAPES),
    k=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
)
@settings(deadline=None, max_examples=8)
@pytest.mark.parametrize("padding", [*NAMES, 0, 2])
def test_pad_against_loops(shape, k, stride, dilation, padding):
    space = shape[1:-1]
    pairs = [numpy_loops.amounts(padding, n, k, stride, dilation) for n in space]
    window = dilation * (k - 1) + 1
    assume(all(window <= n + sum(pair) for n, pair in zip(space, pairs, strict=True)))
    assume(padding != "reflect" or all(max(pair) < n for n, pair in zip(space, pairs, strict=True)))
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y = ops.pad(jnp.asarray(x), padding, kernel_size=k, stride=stride, dilation=dilation)
    fill = padding if padding in ("circular", "reflect") else "zero"
    np.testing.assert_array_equal(y, numpy_loops.padded(x, pairs, fill))


def test_circular_may_go_round_more_than_once():
    x = jnp.arange(3.0).reshape(1, 3, 1)
    y = ops.pad(x, "circular", kernel_size=9)
    np.testing.assert_array_equal(y.ravel(), [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0])


def test_explicit_pairs_and_any_dtype():
    x = jnp.arange(4, dtype=jnp.uint8).reshape(1, 2, 2, 1)
    y = ops.pad(x, ((1, 0), (0, 2)), kernel_size=1)
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 0, 0, 0], [0, 1, 0, 0], [2, 3, 0, 0]])
    assert y.dtype == jnp.uint8


@pytest.mark.parametrize("n", [5, 8, 11])
@pytest.mark.parametrize("k", range(1, 5))
class TestRelationsOfDumoulinAndVisin:
    """Relations 1 to 7 and 15 of "A guide to convolution arithmetic", against the formula and against real shapes."""

    def check(self, expected, n, k, **options):
        assert ops.output_size(n, k, **options) == expected
        x, kernel = jax.ShapeDtypeStruct((1, n, 1), jnp.float32), jax.ShapeDtypeStruct((k, 1, 1), jnp.float32)
        assert jax.eval_shape(lambda x, w: ops.conv(x, w, **options), x, kernel).shape == (1, expected, 1)

    def test_1_no_padding(self, n, k):
        self.check(n - k + 1, n, k, padding="valid")

    def test_2_any_padding(self, n, k):
        for p in range(3):
            self.check(n - k + 2 * p + 1, n, k, padding=p)
            self.check(n - k + p + 1, n, k, padding=((p, 0),))

    def test_3_half_padding(self, n, k):
        for padding in ("same", "circular", "reflect", "same_xla"):
            self.check(n, n, k, padding=padding)
        if k % 2:
            self.check(n, n, k, padding=k // 2)

    def test_4_full_padding(self, n, k):
        self.check(n + k - 1, n, k, padding="full")

    def test_5_strides(self, n, k):
        for s in (1, 2, 3):
            self.check((n - k) // s + 1, n, k, stride=s, padding="valid")

    def test_6_strides_and_padding(self, n, k):
        for s in (1, 2, 3):
            for p in range(3):
                self.check((n + 2 * p - k) // s + 1, n, k, stride=s, padding=p)

    def test_7_pooling(self, n, k):
        x = jax.ShapeDtypeStruct((1, n, n, 1), jnp.float32)
        for s in (1, 2, 3):
            o = (n - k) // s + 1
            for pool in (ops.max_pool, ops.avg_pool):
                assert jax.eval_shape(lambda x, pool=pool, s=s: pool(x, k, stride=s), x).shape == (1, o, o, 1)

    def test_15_dilation(self, n, k):
        for s in (1, 2):
            for d in (1, 2, 3):
                for p in (3, 5):
                    expected = (n + 2 * p - k - (k - 1) * (d - 1)) // s + 1
                    self.check(expected, n, k, stride=s, padding=p, dilation=d)


def test_relation_6_leaves_the_last_rows_unread():
    n, k, s, p = 10, 3, 4, 1
    left_over = (n + 2 * p - k) % s
    assert left_over == 1
    reads = jax.grad(lambda x: ops.conv(x, jnp.ones((k, 1, 1)), stride=s, padding=p).sum())(jnp.ones((1, n, 1)))
    # One row of padding is all that is left over here; with stride 3 the data itself goes unread.
    np.testing.assert_array_equal(reads.ravel()[-2:], [1, 1])
    reads = jax.grad(lambda x: ops.conv(x, jnp.ones((2, 1, 1)), stride=3, padding="valid").sum())(jnp.ones((1, n, 1)))
    assert (n - 2) % 3 == 2
    np.testing.assert_array_equal(reads.ravel(), [1, 1, 0, 1, 1, 0, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("padding", "options", "message"),
    [
        (
            "vaild",
            {},
            r"'vaild' is unknown; use one of valid, same, full, circular, reflect, same_xla, an int, or pairs",
        ),
        (-1, {}, r"padding=-1 must be a non-negative int, or 2 pairs"),
        (((1, 1),), {}, r"\(\(1, 1\),\) must be a non-negative int, or 2 pairs"),
        (((1, 1), (0, -1)), {}, r"must be a non-negative int, or 2 pairs"),
        (((1,), (1,)), {}, r"must be a non-negative int, or 2 pairs"),
        (
            "valid",
            {"kernel_size": 7},
            r"the window spans 7 positions, more than the 6 of the padded map \(0 \+ 6 \+ 0\)",
        ),
        (1, {"kernel_size": 5, "dilation": 2}, r"spans 9 positions, more than the 8 of the padded map \(1 \+ 6 \+ 1\)"),
        ("reflect", {"kernel_size": 13}, r"needs 6 positions beyond the border, but the map has only 6"),
        ("same", {"kernel_size": 0}, r"kernel_size=0 must be a positive int, or 2 of them"),
        ("same", {"stride": (1, 2, 3)}, r"stride=\(1, 2, 3\) must be a positive int, or 2 of them"),
        ("same", {"dilation": (1, 0)}, r"dilation=\(1, 0\) must be a positive int"),
    ],
)
def test_errors_name_the_value_and_the_remedy(padding, options, message):
    with pytest.raises(InputError, match=message):
        ops.pad(jnp.ones((1, 6, 6, 1)), padding, **{"kernel_size": 3, **options})


def test_output_size_errors():
    with pytest.raises(InputError, match=r"the window spans 5 positions, more than the 4"):
        ops.output_size(4, 5, padding="valid")
    with pytest.raises(InputError, match=r"must be a non-negative int, or 1 pairs"):
        ops.output_size(4, 3, padding=((1, 1), (1, 1)))


@pytest.mark.usefixtures("without_type_checks")
def test_flat_pair_and_fractional_stride_are_refused_without_type_checks_too():
    with pytest.raises(InputError, match=r"stride=1.5 must be a positive int"):
        ops.output_size(4, 3, stride=1.5)
    with pytest.raises(InputError, match=r"padding=\(1, 1\) must be"):
        ops.pad(jnp.ones((1, 6, 6, 1)), (1, 1), kernel_size=3)


@pytest.mark.parametrize("shape", [(6, 6), (1, 6, 6, 6, 1)])
def test_other_ranks_are_refused(shape):
    with pytest.raises(InputError, match=r"expected \(batch, length, channels\) or .* Add a batch axis with x\[None\]"):
        ops.pad(jnp.ones(shape), "same", kernel_size=3)


def test_import_brings_nothing_heavy():
    code = (
        "import sys, jax; before = set(sys.modules); import cnnjax.ops; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(*sorted(new & {'scipy', 'torch', 'matplotlib', 'tensorflow', 'pandas', 'sklearn', 'flax'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
