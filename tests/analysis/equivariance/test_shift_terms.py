"""Aliasing, border and content: each is there where its cause is, gone where it is not, and all add up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis, ops
from cnnjax.analysis import Rotation, Shift
from tests.references.frameworks import every_framework, plain
from tests.repeats import repeated

N = 8
RNG = np.random.default_rng(0)
SIGNALS, IMAGES = RNG.normal(size=(2, N, 2)), RNG.normal(size=(2, N, N, 2))
KERNELS = {1: RNG.normal(size=(3, 2, 2)), 2: RNG.normal(size=(3, 3, 2, 2))}
BIAS = RNG.normal(size=2)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def network(stride, padding):
    """A convolution of stride 1, one of `stride`, and the mean of its map."""

    @jax.jit
    def f(x):
        space = tuple(range(1, x.ndim - 1))
        kernel = jnp.asarray(KERNELS[len(space)], x.dtype)
        bias = jnp.asarray(BIAS.reshape(*(1,) * (x.ndim - 1), 2), x.dtype)
        first = jnp.tanh(ops.conv(x, kernel, padding=padding) + bias)
        second = jnp.tanh(ops.conv(first, kernel, stride=stride, padding=padding) + bias)
        return {"first": first, "maps": [second], "pooled": second.mean(space)}

    return jax.tree_util.Partial(f)


def unfolded(f, x):
    found = f(x)
    return [np.asarray(a, np.float64) for a in (found["first"], found["maps"][0], found["pooled"])]


def moved(y, offset, stride):
    """By offset / stride units, round the map, through the phase theorem."""
    if y.ndim == 2:
        return y
    for axis, d in enumerate(offset, 1):
        k, units = np.fft.fftfreq(y.shape[axis]), d / stride
        phase = np.where(np.abs(k) == 0.5, np.cos(np.pi * units), np.exp(-2j * np.pi * k * units))
        spectrum = np.fft.fft(y, axis=axis) * phase.reshape([-1 if a == axis else 1 for a in range(y.ndim)])
        y = np.fft.ifft(spectrum, axis=axis).real
    return y


def rolled(x, offset, times=1):
    return np.roll(x, [times * d for d in offset], range(1, x.ndim - 1))


@pytest.mark.parametrize(
    ("x", "offset", "stride", "padding", "fill"),
    repeated(
        [
            (SIGNALS, (6,), 4, "reflect", "reflect"),
            (IMAGES, (2, -1), 2, "reflect", "circular"),
            (IMAGES, (1, 4), 4, "circular", "zero"),
            (SIGNALS, (1,), 2, "same", "zero"),
            (SIGNALS, (-3,), 4, "same", "circular"),
            (SIGNALS, (4,), 2, "same", "zero"),
            (IMAGES, (0, 1), 2, "same", "reflect"),
        ],
        quick=3,
    ),
)
def test_terms_are_the_definition(x, offset, stride, padding, fill):
    f = network(stride, padding)
    found = analysis.shift_terms(f, x, Shift(offset, fill=fill))
    strides = (1, stride, stride)
    places = [unfolded(f, rolled(x, offset, k)) for k in range(N + 1)]
    given = unfolded(f, ops.shift(jnp.asarray(x), offset, fill=fill))
    for i, terms in enumerate(jax.tree.leaves(found)):
        walk = [places[k + 1][i] - moved(places[k][i], offset, strides[i]) for k in range(N)]
        whole = [k for k in range(N) if all(k * d % strides[i] == 0 for d in offset)]
        aliasing = np.mean([moved(walk[k], [-k * d for d in offset], strides[i]) for k in whole], 0)
        content = given[i] - places[1][i]
        expected = [walk[0] + content, aliasing, walk[0] - aliasing, content]
        reference = np.linalg.norm(moved(places[0][i], offset, strides[i]))
        actual = [terms.total, terms.aliasing, terms.border, terms.content]
        np.testing.assert_allclose(actual, [np.linalg.norm(e) / reference for e in expected], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("stride", "padding", "fill", "there"),
    [
        (1, "circular", "circular", set()),
        (1, "same", "circular", {"border"}),
        (1, "reflect", "circular", {"border"}),
        (2, "circular", "circular", {"aliasing"}),
        (1, "circular", "zero", {"content"}),
        (1, "circular", "reflect", {"content"}),
        (2, "same", "circular", {"aliasing", "border"}),
        (2, "circular", "zero", {"aliasing", "content"}),
        (2, "same", "zero", {"aliasing", "border", "content"}),
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), repeated([(np.float64, 1e-12), (np.float32, 1e-5)]))
def test_each_term_is_there_where_its_cause_is(stride, padding, fill, there, dtype, tolerance):
    terms = analysis.shift_terms(network(stride, padding), IMAGES.astype(dtype), Shift((0, 1), fill=fill))
    for found in (terms["maps"][0], terms["pooled"]):
        for name in ("aliasing", "border", "content"):
            value = getattr(found, name)
            assert value > 1e-3 if name in there else value < tolerance, (name, value)
        assert (found.total > 1e-3) == bool(there)


def test_shifts_by_whole_strides_do_not_alias():
    found = analysis.shift_terms(network(2, "same"), IMAGES, Shift((2, -4), fill="zero"))
    assert max(terms.aliasing for terms in jax.tree.leaves(found)) < 1e-12


def test_a_margin_removes_content_and_leaves_the_rest():
    f, images = network(2, "same"), np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))
    zero, circular = (
        jax.tree.leaves(analysis.shift_terms(f, images, Shift((0, 1), fill=fill))) for fill in ("zero", "circular")
    )
    assert zero == circular
    first, maps, pooled = zero
    assert first.content == maps.content == pooled.content == 0
    # Blank margin and zero padding are the same to the first layer, not to those behind it.
    assert first.border < 1e-12
    assert min(maps.border, pooled.border) > 1e-5


@pytest.mark.parametrize(
    "downsample",
    [ops.polyphase_pool, lambda x: ops.blur_pool(x, padding="circular"), lambda x: ops.max_pool(x, 2)],
    ids=["polyphase", "blur", "max"],
)
def test_the_total_is_the_error_of_equivariance(downsample):
    def f(x):
        y = downsample(jnp.tanh(ops.conv(x, jnp.asarray(KERNELS[2]))))
        return y, y.mean((1, 2))

    terms = analysis.shift_terms(f, IMAGES, Shift((0, 1), fill="circular"))
    error = analysis.equivariance_error(f, IMAGES, Shift((0, 1), fill="circular"))
    np.testing.assert_allclose([t.total for t in terms], error, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("stride", repeated([2, 1, 4]))
def test_over_all_places_squares_add_up(stride):
    """The mean square of the error is aliasing² + the mean of border², both of them measured place by place."""

    def f(x):
        return network(stride, "same")(x)["maps"][0]

    places = range(0, N, stride)
    terms = [
        analysis.shift_terms(f, rolled(IMAGES, (0, 1), k), Shift((0, 1), resampler="linear", fill="circular"))
        for k in places
    ]
    kept = [np.linalg.norm(linear(np.asarray(f(jnp.asarray(rolled(IMAGES, (0, 1), k)))), 1 / stride)) for k in places]
    total, aliasing, border = (
        np.array([(getattr(t, name) * norm) ** 2 for t, norm in zip(terms, kept, strict=True)])
        for name in ("total", "aliasing", "border")
    )
    np.testing.assert_allclose(aliasing, aliasing[0], rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(total.mean(), aliasing[0] + border.mean(), rtol=1e-12)
    assert border.min() > 1e-3


def linear(y, units):
    whole, share = int(np.floor(units)), units - np.floor(units)
    return (1 - share) * np.roll(y, whole, 2) + share * np.roll(y, whole + 1, 2)


def test_no_shift_is_no_error():
    found = jax.tree.leaves(analysis.shift_terms(network(2, "same"), IMAGES, Shift((0, 0), fill="zero")))
    assert all(t == analysis.ShiftTerms(0.0, 0.0, 0.0, 0.0) for t in found)


@every_framework
def test_any_framework(make):
    images = np.random.default_rng(5).random((2, N, N, 1)).astype(np.float32)
    with jax.enable_x64(False):
        logits, layers = analysis.shift_terms(make(), images, Shift((1, 0), fill="zero"))
        expected = plain(jnp.asarray(np.concatenate([0 * images[:, :1], images[:, :-1]], 1)))[0]
        reference = plain(jnp.asarray(images))[0]
    # Zero padding, stride 1: the border alone, and what the zeros bring in.
    for terms in (logits, layers["hidden"]):
        assert terms.aliasing < 1e-5
        assert min(terms.border, terms.content) > 1e-3
    np.testing.assert_allclose(
        logits.total, np.linalg.norm(expected - reference) / np.linalg.norm(reference), rtol=1e-3
    )


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("f", "images", "make", "message"),
    [
        (network(1, "same"), IMAGES, lambda: Rotation(90), "must be a Shift"),
        (network(1, "same"), IMAGES, lambda: Shift((0.5, 0)), "give whole pixels"),
        (network(1, "same"), IMAGES, lambda: Shift((0, N)), "out of sight"),
        (network(1, "same"), IMAGES * np.nan, lambda: Shift((0, 1)), "NaN or infinity"),
        (network(1, "valid"), IMAGES, lambda: Shift((0, 1)), "activation first has 6 units 1 pixels apart along 8"),
        (network(3, "circular"), IMAGES, lambda: Shift((1, 0)), "activation maps/0 has 3 units 3 pixels apart"),
        (lambda x: x.mean((1, 2)), IMAGES, lambda: Shift((1, 0)), "no activation of f has spatial axes"),
        (lambda x: (x, jnp.log(x)), IMAGES, lambda: Shift((1, 0)), "activation 1 is not finite"),
    ],
)
def test_what_has_no_terms_is_refused(f, images, make, message):
    with pytest.raises(InputError, match=message):
        analysis.shift_terms(f, images, make())


def test_whether_there_are_terms_is_known_without_running_anything():
    images = jax.ShapeDtypeStruct(IMAGES.shape, IMAGES.dtype)
    analysis.check_shift_terms(network(2, "same"), images, Shift((0, 1)))
    with pytest.raises(InputError, match="activation first has 6 units 1 pixels apart along 8"):
        analysis.check_shift_terms(network(1, "valid"), images, Shift((0, 1)))
