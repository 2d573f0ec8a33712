"""Self-similarity: patches of a natural image come again in it; and images of chance that have none of that."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cnnjax.door import checked
from cnnjax.door.pictures import checked_image
from cnnjax.errors import InputError
from cnnjax.patches.distances import NearestPatches, check_patch_size, check_patches, mean_squared, quantize

_FORBIDDEN = 2**31 - 1


@checked()
def similar_patches(
    image: Float[Array, "height width *c"], y: int, x: int, *, k: int = 8, patch_size: int = 7
) -> NearestPatches:
    """The k patches of an image most like the one whose top left corner is (y, x): a field of one row and column.

    Each is the nearest that overlaps neither the patch nor those before it; the distance is infinite where none is
    left. Raises InputError for a patch that does not lie inside the image, and values that are not in [0, 1].
    """
    image = checked_image("image", image)
    check_patch_size("image", image, patch_size)
    rows, columns = image.shape[0] - patch_size + 1, image.shape[1] - patch_size + 1
    if not (0 <= y < rows and 0 <= x < columns):
        raise InputError(
            f"the patch at ({y}, {x}) leaves the image; its corner may lie from (0, 0) to ({rows - 1}, {columns - 1})"
        )
    patch = image[y : y + patch_size, x : x + patch_size]
    check_patches(image, patch, None, patch_size=patch_size, exclusion=0, k=k)
    return _similar(image, patch, jnp.asarray([y, x]), k=k)


@partial(jax.jit, static_argnames=("k",))
def _similar(image: Array, patch: Array, corner: Array, *, k: int) -> NearestPatches:
    size = patch.shape[0]
    rows, columns = image.shape[0] - size + 1, image.shape[1] - size + 1
    whole, wanted = quantize(image), quantize(patch)

    def add(i: Array, total: Array) -> Array:
        here = jax.lax.dynamic_slice(whole, (i // size, i % size, 0), (rows, columns, whole.shape[2]))
        return total + jnp.sum((here - wanted[i // size, i % size][None, None]) ** 2, axis=2)

    def away(total: Array, corner: Array) -> Array:
        near = (jnp.abs(jnp.arange(rows) - corner[0]) < size)[:, None] & (
            jnp.abs(jnp.arange(columns) - corner[1]) < size
        )[None]
        return jnp.where(near, _FORBIDDEN, total)

    def find(total: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        index = jnp.argmin(total)
        found = jnp.stack([index // columns, index % columns])
        return away(total, found), (found, total.reshape(-1)[index])

    total = jax.lax.fori_loop(0, size**2, add, jnp.zeros((rows, columns), jnp.int32))
    _, (position, least) = jax.lax.scan(find, away(total, corner), None, length=k)
    distance = mean_squared(least, values=patch.size, forbidden=_FORBIDDEN)
    return NearestPatches(position[None, None], distance[None, None])


@checked()
def randomize_phase(key: Key[Array, ""], image: Float[Array, "height width *c"]) -> Float[Array, "height width *c"]:
    """The image with its amplitude spectrum, and so its autocorrelation, but phases of chance: no structure.

    `F(y) = F(x) exp(i φ)` with one φ for all channels, that of a noise image, so that colours stay correlated and y is
    real. Values of y beyond [0, 1] are clipped. Raises InputError for an image whose values are not in [0, 1].
    Galerne, Gousseau & Morel 2011, "Random phase textures".
    """
    pixels = checked_image("image", image)
    phase = jnp.angle(jnp.fft.rfft2(jax.random.normal(key, image.shape[:2])))
    phase = phase.at[0, 0].set(0)  # the mean stays
    turn = jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
    spectrum = jnp.fft.rfft2(pixels.astype(jnp.float32), axes=(0, 1)) * turn[..., None]
    changed = jnp.fft.irfft2(spectrum, s=pixels.shape[:2], axes=(0, 1)).reshape(image.shape)
    return jnp.clip(changed, 0, 1).astype(image.dtype)


@checked()
def shuffle_pixels(key: Key[Array, ""], image: Float[Array, "height width *c"]) -> Float[Array, "height width *c"]:
    """The image's pixels in an order of chance: the same colours, nothing else.

    Raises InputError for an image whose values are not in [0, 1].
    """
    pixels = checked_image("image", image)
    return jax.random.permutation(key, pixels.reshape(-1, pixels.shape[2])).reshape(image.shape)
