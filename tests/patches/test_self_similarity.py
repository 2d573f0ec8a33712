import brute_force
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError, data, patches
from cnnjax.runs import read_summary
from experiments import self_similarity as experiment

IMAGE = jnp.asarray(np.random.default_rng(0).random((24, 30, 3)), jnp.float32)


def test_similar_patches_are_the_nearest_that_overlap_no_other():
    found = patches.similar_patches(IMAGE, 9, 11, k=4, patch_size=5)
    every, _, corners = brute_force.all_distances(IMAGE, IMAGE[9:14, 11:16], 5)
    distance, taken = every[0], [(9, 11)]
    for i in range(4):
        free = [np.abs(corners - other).max(axis=1) >= 5 for other in taken]
        least = np.argmin(np.where(np.all(free, axis=0), distance, np.inf))
        np.testing.assert_array_equal(found.position[0, 0, i], corners[least])
        np.testing.assert_allclose(found.distance[0, 0, i], distance[least], rtol=1e-6)
        taken.append(tuple(corners[least]))


def test_similar_patches_end_where_no_room_is_left():
    found = patches.similar_patches(IMAGE[:10, :5], 0, 0, k=3, patch_size=5)
    assert np.isfinite(found.distance[0, 0, 0])
    assert np.all(np.isinf(found.distance[0, 0, 1:]))


def test_similar_patches_refuse_a_patch_outside():
    with pytest.raises(InputError, match=r"the patch at \(20, 11\) leaves the image"):
        patches.similar_patches(IMAGE, 20, 11, patch_size=5)


@pytest.mark.parametrize("size", [(24, 30), (23, 31)])
def test_randomize_phase_keeps_the_amplitudes_and_the_colours_relations(size):
    # Of little contrast, so that nothing is clipped.
    image = 0.5 + 0.02 * np.random.default_rng(0).random((*size, 3), np.float32)
    copy = jax.jit(patches.randomize_phase)(jax.random.key(0), image)
    theirs, ours = (np.fft.fft2(np.asarray(x, np.float64), axes=(0, 1)) for x in (image, copy))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)
    cross = [f[..., 0] * np.conj(f[..., 1]) for f in (theirs, ours)]
    np.testing.assert_allclose(cross[1], cross[0], atol=1e-2)
    assert np.abs(np.asarray(copy - image)).max() > 1e-3


def test_shuffle_pixels_keeps_the_pixels_and_nothing_else():
    copy = jax.jit(patches.shuffle_pixels)(jax.random.key(0), IMAGE)
    rows = [np.asarray(x).reshape(-1, 3) for x in (IMAGE, copy)]
    np.testing.assert_array_equal(*(r[np.lexsort(r.T)] for r in rows))
    assert np.mean(rows[0] == rows[1]) < 0.05


@pytest.fixture
def photographs(tmp_path):
    """Two images of stripes that bend, of 40×40 pixels."""
    y, x = np.mgrid[:40, :40]
    names = []
    for number in (1, 2):
        wave = 0.5 + 0.4 * np.sin((x * number + 0.02 * y**2) / 3)
        pixels = np.stack([wave, 1 - wave, np.broadcast_to(y / 40, wave.shape)], axis=-1)
        Image.fromarray(np.uint8(255 * pixels)).save(tmp_path / f"{number}.png")
        names.append(str(tmp_path / f"{number}.png"))
    return tuple(names)


def test_the_experiment_finds_structure_and_goes_on_where_it_was(photographs, tmp_path, capsys):
    config = experiment.Config(images=photographs, side=24, patch_size=5, out=tmp_path / "run")
    path = experiment.run(config)
    for row in read_summary(path).to_dict("records"):
        assert row["same image"] < row["random phases"] < row["shuffled pixels"]
        assert row["same image"] < row["another image"]
    image = data.central_square(data.load_image(photographs[0]), 24)
    every, ours, theirs = brute_force.all_distances(image, image, 5)
    away = np.abs(ours[:, None] - theirs[None]).max(axis=2) >= 5
    nearest = 255 * np.sqrt(np.where(away, every, np.inf).min(axis=1)).mean()
    np.testing.assert_allclose(read_summary(path)["same image"][0], nearest, rtol=1e-5)
    for name in ("distances", "chance", "similar"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 10_000
    table = (path / "table.md").read_text()
    experiment.run(config)
    assert "2.png: finished earlier" in capsys.readouterr().err
    assert (path / "table.md").read_text() == table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": ("astronaut",)}, "images must name at least two"),
        ({"images": ("astronaut", "astronaut")}, "each once"),
        ({"side": 20}, "side=20 is small for patches of 7"),
        ({"images": ("astronaut", "absent.jpg")}, r"absent\.jpg is no image file"),
    ],
)
def test_the_experiment_refuses(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        experiment.run(experiment.Config(**options, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
