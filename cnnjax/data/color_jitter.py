"""Random brightness, contrast and saturation inside jit."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from cnnjax.data.augment import check_strength
from cnnjax.door import checked
from cnnjax.ops import grayscale


@checked("strength")
def random_color(
    key: PRNGKeyArray, images: Float[Array, "batch height width channels"], *, strength: ScalarLike
) -> Float[Array, "batch height width channels"]:
    """Change brightness, contrast and saturation of each image in [0, 1], in a random order.

    Each blends the image with black, its mean grey or its grey: `f x + (1 − f) other`, clipped to [0, 1], with a
    factor f of its own that is uniform in [1 − strength, 1 + strength] (Krizhevsky 2013, as torchvision's ColorJitter).
    Grey images, of one channel, have no saturation. Raises `InputError` for a strength outside [0, 1] and for images
    of another number of channels than 1 and 3.
    """
    check_strength("strength", strength, 0, 1)
    factors, orders = jax.random.split(key)
    reach = jnp.asarray(strength, jnp.float32)
    drawn = 1 + reach * jax.random.uniform(factors, (len(images), 3), minval=-1, maxval=1)
    order = jax.vmap(lambda one: jax.random.permutation(one, 3))(jax.random.split(orders, len(images)))
    return jnp.where(reach == 0, images, jax.vmap(_jittered)(images, drawn, order))


def _jittered(image: Array, factors: Array, order: Array) -> Array:
    for which in order:
        grey = grayscale(image[None])[0]
        others = jnp.stack([jnp.zeros_like(grey), jnp.full_like(grey, grey[..., 0].mean()), grey])
        image = jnp.clip(factors[which] * image + (1 - factors[which]) * others[which], 0, 1)
    return image
