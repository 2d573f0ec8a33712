import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, priors

SHAPE = (45, 47)  # one for all, so that programs are compiled once
HOLE = np.zeros(SHAPE, bool)
HOLE[17:31, 18:32] = True


def fill(image, mask=HOLE, key=0, **options):
    return priors.inpaint(image, mask, jax.random.key(key), patch_size=5, **options)


def texture(seed):
    rng = np.random.default_rng(seed)
    layers = (np.kron(rng.random((48 // n, 48 // n, 3)), np.ones((n, n, 1))) / 3 for n in (1, 4, 8))
    return sum(layers).astype(np.float32)[: SHAPE[0], : SHAPE[1]]


def test_known_pixels_are_unchanged_to_the_bit_whatever_the_hole_held():
    image = texture(0)
    filled = fill(image)
    np.testing.assert_array_equal(filled[~HOLE], image[~HOLE])
    assert np.any(filled[HOLE] != image[HOLE])
    np.testing.assert_array_equal(fill(np.where(HOLE[..., None], np.float32(0.5), image)), filled)


def test_a_periodic_texture_is_restored_exactly():
    rng = np.random.default_rng(1)
    tile = rng.integers(0, 256, (8, 8, 3)).astype(np.float32) / 255
    image = np.tile(tile, (6, 6, 1))[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_allclose(fill(image), image, atol=1e-6)


def test_a_constant_stays_constant():
    image = np.full((*SHAPE, 3), 0.4, np.float32)
    np.testing.assert_allclose(fill(image), image, atol=1e-6)


def test_the_energy_never_rises_within_a_level():
    levels = []
    fill(texture(2), report=lambda level, number, count: levels.append((level, number, count)))
    assert [number for _, number, _ in levels] == list(range(1, levels[0][2] + 1))
    assert len(levels) > 1
    for level, _, _ in levels:
        energies = np.asarray(level.energies)
        assert np.all(np.diff(energies) <= 1e-6)
        assert energies[-1] < energies[0]


def test_nothing_comes_from_the_hole():
    """The only red pixels lie in the hole: none is left."""
    image = texture(3) * np.asarray([0.2, 1, 1], np.float32)
    image[HOLE] = [1, 0, 0]
    assert fill(image)[HOLE][:, 0].max() < 0.3


def test_same_key_same_filling():
    image = texture(4)
    np.testing.assert_array_equal(fill(image), fill(image))
    assert np.any(fill(image) != fill(image, key=1))


def test_an_empty_mask_changes_nothing():
    image = texture(5)
    np.testing.assert_array_equal(fill(image, np.zeros(SHAPE, bool)), image)


def test_a_hole_at_the_corner():
    image = texture(6)
    hole = np.zeros(SHAPE, bool)
    hole[:14, -14:] = True
    filled = fill(image, hole)
    assert np.all(np.isfinite(filled))
    assert filled[hole].std() > 0.5 * image[hole].std()
    np.testing.assert_array_equal(filled[~hole], image[~hole])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(SHAPE, bool), "covers the whole image"),
        (np.ones((40, 47), bool), "mask is 40×47 pixels, but the image is 45×47"),
        (np.indices(SHAPE).sum(0) % 4 == 0, "no patch of 5×5 pixels lies outside the mask"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_refuses_masks_that_leave_nothing(mask, message):
    with pytest.raises(InputError, match=message):
        fill(texture(0), mask)
    with pytest.raises(InputError, match="floats"):
        fill(jnp.zeros((*SHAPE, 3), jnp.uint8))
