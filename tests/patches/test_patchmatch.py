import itertools
from functools import partial

import brute_force
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, patches
from tests.repeats import repeated

SIZE = 5


def smooth(seed, side=32, channels=3):
    """A random image with structure at several scales, quickly made."""
    rng = np.random.default_rng(seed)
    image = sum(np.kron(rng.random((side // n, side // n, channels)), np.ones((n, n, 1))) / 3 for n in (1, 4, 8))
    return jnp.asarray(image, jnp.float32)


SOURCE, TARGET = smooth(0), smooth(1)
MASK = jnp.zeros((32, 32), bool).at[8:20, 10:24].set(True)


FULL = {"mask": MASK, "exclusion": 6, "k": 3}


def search(source=SOURCE, target=TARGET, key=0, **options):
    return patches.patchmatch(source, target, key=jax.random.key(key), patch_size=SIZE, **options)


def forbidden(corners, our_corners, *, masked, exclusion):
    mask = np.asarray(MASK)
    touched = np.array([mask[y : y + SIZE, x : x + SIZE].any() for y, x in corners]) & masked
    near = np.abs(our_corners[:, None] - corners[None]).max(axis=2) < exclusion
    return touched[None] | near


@pytest.mark.parametrize(("masked", "exclusion", "k"), [(False, 0, 1), (True, 0, 3), (True, 6, 3)])
def test_exact_search_is_brute_force(masked, exclusion, k):
    mask = MASK if masked else None
    found = patches.nearest_patches(SOURCE, TARGET, patch_size=SIZE, k=k, mask=mask, exclusion=exclusion)
    every, ours, theirs = brute_force.all_distances(SOURCE, TARGET, SIZE)
    every = np.where(forbidden(theirs, ours, masked=masked, exclusion=exclusion), np.inf, every)
    expected = np.sort(every, axis=1)[:, :k].reshape(28, 28, k)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-6)
    np.testing.assert_allclose(
        brute_force.distances_at(SOURCE, TARGET, np.asarray(found.position), SIZE), expected, rtol=1e-6
    )


def test_tiles_do_not_show():
    """More patches than one tile holds, in source and target."""
    source, target = smooth(2, side=72), smooth(3, side=40)
    found = patches.nearest_patches(source, target, patch_size=3)
    every, _, _ = brute_force.all_distances(source, target[:10, :10], 3)
    np.testing.assert_allclose(found.distance[:8, :8, 0], every.min(axis=1).reshape(8, 8), rtol=1e-6)


@pytest.mark.parametrize("options", repeated([{}, FULL]), ids=["plain", "mask, exclusion and k"])
def test_no_match_is_nearer_than_the_nearest_nor_forbidden(options):
    found = search(**options)
    exact = patches.nearest_patches(SOURCE, TARGET, patch_size=SIZE, **options)
    assert np.all(np.asarray(found.distance) >= np.asarray(exact.distance))
    # And it is a search: far better than chance.
    ratio = np.sqrt(found.distance[..., 0]).mean() / np.sqrt(exact.distance[..., 0]).mean()
    assert ratio < 1.1
    position = np.asarray(found.position)
    ours = np.stack(np.mgrid[:28, :28], -1)[:, :, None]
    assert np.all(np.abs(position - ours).max(axis=-1) >= options.get("exclusion", 0))
    if options:
        mask = np.asarray(MASK)
        assert not any(mask[y : y + SIZE, x : x + SIZE].any() for y, x in position.reshape(-1, 2))


def test_stored_distances_are_those_of_the_positions_ascending_and_distinct():
    found = search(**FULL)
    np.testing.assert_allclose(
        found.distance, brute_force.distances_at(SOURCE, TARGET, np.asarray(found.position), SIZE), rtol=1e-6
    )
    assert np.all(np.diff(found.distance, axis=2) >= 0)
    flat = np.asarray(found.position[..., 0] * 100 + found.position[..., 1]).reshape(-1, 3)
    assert all(len(set(row)) == 3 for row in flat)


def test_the_last_of_many_patches_are_searched_too():
    target = smooth(2, side=104)  # 10,000 patches, which are more than are measured together
    before, after = (search(target=target, k=2, iterations=n) for n in range(2))
    expected = brute_force.distances_at(SOURCE, target, np.asarray(after.position), SIZE)
    np.testing.assert_allclose(after.distance, expected, rtol=1e-6)
    for rows in (slice(0, 10), slice(90, 100)):
        assert np.mean(after.distance[rows]) < 0.9 * np.mean(before.distance[rows])


@pytest.mark.parametrize("options", [{}, FULL], ids=["plain", "mask, exclusion and k"])
def test_distances_never_rise(options):
    fields = [search(iterations=n, **options) for n in range(4)]
    for before, after in itertools.pairwise(fields):
        assert np.all(np.asarray(after.distance) <= np.asarray(before.distance))
    assert np.mean(fields[-1].distance) < np.mean(fields[0].distance)


def test_a_search_goes_on_from_a_field():
    begun = search(iterations=1)
    resumed = search(key=7, iterations=1, initial=begun)
    assert np.all(np.asarray(resumed.distance) <= np.asarray(begun.distance))
    assert np.mean(resumed.distance) < np.mean(begun.distance)


def test_the_same_key_gives_the_same_field_and_another_another():
    first, second, other = search(iterations=1), search(iterations=1), search(iterations=1, key=1)
    np.testing.assert_array_equal(first.position, second.position)
    assert np.any(np.asarray(first.position) != np.asarray(other.position))


def test_a_shifted_copy_gives_the_shift_everywhere():
    wide = smooth(4, side=40)
    source, target = wide[:32, :32], wide[3:35, 5:37]
    found = np.asarray(search(source, target, iterations=8).position)[:, :, 0]
    shift = found - np.stack(np.mgrid[:28, :28], -1)
    # Patches that reach beyond the source are not in it.
    np.testing.assert_array_equal(shift[:25, :23], np.broadcast_to([3, 5], (25, 23, 2)))


def test_a_planted_copy_is_found():
    source = SOURCE.at[20:29, 18:27].set(TARGET[2:11, 4:13])
    found = search(source, iterations=8)
    inner = np.asarray(found.distance)[2:7, 4:9, 0]
    np.testing.assert_array_equal(inner, 0)
    np.testing.assert_array_equal(np.asarray(found.position)[2, 4, 0], [20, 18])


@pytest.mark.parametrize(("size", "channels"), repeated([(1, 1), (8, 4)]))
def test_any_patch_size_and_number_of_channels(size, channels):
    source, target = smooth(5, side=16, channels=channels), smooth(6, side=16, channels=channels)
    found = patches.patchmatch(source, target, key=jax.random.key(0), patch_size=size)
    expected = brute_force.distances_at(source, target, np.asarray(found.position), size)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-6)


def test_stops_early_and_runs_inside_jit():
    stopped = search(iterations=50, stop_below=1)
    np.testing.assert_array_equal(stopped.position, search(iterations=1).position)
    inside = jax.jit(lambda s, t, m: search(s, t, **FULL | {"mask": m}))(SOURCE, TARGET, MASK)
    np.testing.assert_array_equal(inside.position, search(**FULL).position)


def test_where_nothing_is_allowed_the_distance_is_infinite():
    """One patch of the source is allowed: whoever is not too near it finds it, and nothing else."""
    mask = np.ones((32, 32), bool)
    mask[12:17, 14:19] = False
    found = search(**FULL | {"mask": jnp.asarray(mask)})
    near = np.abs(np.stack(np.mgrid[:28, :28], -1) - [12, 14]).max(axis=-1) < FULL["exclusion"]
    np.testing.assert_array_equal(np.isinf(found.distance), np.stack([near, near | True, near | True], -1))
    assert np.all(np.asarray(found.position)[~near][:, 0] == [12, 14])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SOURCE, TARGET[:4]), {}, "patch_size=5 does not fit into the target of 4×32"),
        ((SOURCE[:4], TARGET), {}, "patch_size=5 does not fit into the source"),
        ((SOURCE, TARGET[..., :1]), {}, "source has 3 channels, target 1"),
        ((SOURCE, TARGET), {"mask": jnp.ones((32, 32), bool)}, "no patch of 5×5 pixels lies outside the mask"),
        ((SOURCE, TARGET), {"mask": jnp.ones((31, 32), bool)}, "mask is 31×32"),
        ((SOURCE, TARGET), {"k": 0}, "k=0"),
        ((SOURCE, TARGET), {"iterations": -1}, "iterations=-1"),
        ((jnp.zeros((32, 32, 3), jnp.uint8), TARGET), {}, "floats"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_refuses_what_it_cannot_search(arguments, options, message):
    with pytest.raises(InputError, match=message):
        search(*arguments, **options)


@pytest.mark.parametrize(
    "search_for", repeated([patches.nearest_patches, partial(patches.patchmatch, key=jax.random.key(0))])
)
def test_sums_and_positions_cannot_overflow(search_for):
    """The largest patches give the right distance where every value differs by 1; larger ones are refused."""
    white, black = jnp.ones((26, 26, 3)), jnp.zeros((26, 26, 3))
    assert 26**2 * 3 * 1020**2 < 2**31 < 27**2 * 3 * 1020**2
    np.testing.assert_allclose(search_for(white, black, patch_size=26).distance, 1, rtol=1e-6)
    larger = jnp.zeros((27, 27, 3))
    with pytest.raises(InputError, match=r"patch_size=27 makes patches of 2187 values .* give a smaller patch_size"):
        search_for(larger, larger, patch_size=27)
    huge = jax.ShapeDtypeStruct((2**16, 2**15, 1), jnp.float32)
    with pytest.raises(InputError, match=r"source is 65536×32768 pixels, .* give a part"):
        jax.eval_shape(lambda s, t: search_for(s, t), huge, black[:, :, :1])


def test_large_images_are_searched_candidate_by_candidate_with_the_same_result(monkeypatch):
    rng = np.random.default_rng(0)
    source, target = (jnp.asarray(rng.random((31, 37, 3)), jnp.float32) for _ in range(2))
    options = {"patch_size": 5, "k": 2, "iterations": 2, "key": jax.random.key(0)}
    together = patches.patchmatch(source, target, **options)
    monkeypatch.setattr("cnnjax.patches.search._TOGETHER", 1)
    jax.clear_caches()
    np.testing.assert_array_equal(patches.patchmatch(source, target, **options).position, together.position)
