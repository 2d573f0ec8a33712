import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases

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
@drawn_cases(8)
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
class TestWithoutTypeChecks:
    """What the library itself says, where no type checker has looked first."""

    @pytest.mark.parametrize(
        "padding",
        [
            (1, 1),
            1.5,
            True,
            None,
            np.True_,
            ((1, 1), (0, 1.5)),
            ((1, 1), (True, 1)),
            np.ones((2, 2), float) / 2,
            {1: 2, 3: 4},
        ],
    )
    def test_what_is_no_padding_is_refused(self, padding):
        with pytest.raises(InputError, match=r"(?s)padding=.* must be a non-negative int, or 2 pairs"):
            ops.pad(jnp.ones((1, 6, 6, 1)), padding, kernel_size=3)

    @pytest.mark.parametrize("name", ["n", "k", "stride", "padding", "dilation"])
    @pytest.mark.parametrize("value", [2**31, 2**70])
    def test_sizes_that_no_axis_has_are_refused(self, name, value):
        with pytest.raises(InputError, match=rf"{name}={value} .*{2**31 - 1}"):
            ops.output_size(**{"n": 8, "k": 3, name: value})

    @pytest.mark.parametrize("name", ["n", "k", "stride", "dilation"])
    @pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "3", np.float64(2)])
    def test_what_is_no_size_is_refused(self, name, value):
        arguments = {"n": 8, "k": 3, "stride": 1, "dilation": 1, name: value}
        with pytest.raises(InputError, match=rf"{name}=.* must be a positive int"):
            ops.output_size(arguments.pop("n"), arguments.pop("k"), **arguments)

    def test_numpys_integers_are_integers(self):
        size = ops.output_size(np.int64(9), np.int32(3), stride=np.uint8(2), padding=np.int64(1), dilation=np.int16(2))
        assert type(size) is int
        assert size == ops.output_size(9, 3, stride=2, padding=1, dilation=2)
        pairs = ((np.int64(1), np.int64(0)), (2, np.int8(1)))
        y = ops.pad(jnp.ones((1, 4, 4, 1)), pairs, kernel_size=(np.int64(3), 3))
        np.testing.assert_array_equal(y, ops.pad(jnp.ones((1, 4, 4, 1)), ((1, 0), (2, 1)), kernel_size=3))

    @pytest.mark.parametrize("name", ["kernel_size", "input_size", "stride", "dilation"])
    @pytest.mark.parametrize("value", [(3,), (3, 0), (3, 1.5), (3, 3, 3)])
    def test_sizes_to_resolve_are_one_positive_int_per_axis(self, name, value):
        sizes = {"kernel_size": (3, 3), "input_size": (6, 6), "stride": (1, 1), "dilation": (1, 1), name: value}
        with pytest.raises(InputError, match=r"must be a positive int, or \d of them"):
            ops.resolve_padding("same", **sizes)


@pytest.mark.parametrize("shape", [(1, 0, 1), (1, 4, 0, 1)])
def test_an_empty_map_is_refused(shape):
    message = rf"x has shape {re.escape(str(shape))}; every spatial axis must have at least one position"
    with pytest.raises(InputError, match=message):
        ops.pad(jnp.ones(shape), "same", kernel_size=3)


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
