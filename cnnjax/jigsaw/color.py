"""Colours in which equal distances look equally large."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door import checked
from cnnjax.door.pictures import check_unit_range

# IEC 61966-2-1 (sRGB): linear RGB to CIE XYZ, each row divided by the white point D65's own X, Y, Z.
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


@checked()
def rgb_to_lab(image: Float[Array, "*shape 3"]) -> Float[Array, "*shape 3"]:
    """SRGB in [0, 1] to CIE L*a*b* under D65: L* in [0, 100], a* and b* in about [−108, 98].

    L* = 116 f(Y) − 16, a* = 500 (f(X) − f(Y)), b* = 200 (f(Y) − f(Z)) with X, Y, Z relative to white, f(t) = ∛t above
    0.008856 and 7.787 t + 16/116 below (CIE 15). Raises InputError for values that are not in [0, 1].
    """
    check_unit_range("image", image)
    linear = jnp.where(image > 0.04045, ((jnp.maximum(image, 0.04045) + 0.055) / 1.055) ** 2.4, image / 12.92)
    to_xyz = jnp.asarray(_TO_XYZ, image.dtype) / jnp.asarray(_WHITE, image.dtype)[:, None]
    xyz = jnp.einsum("...c,xc->...x", linear, to_xyz, precision="highest")
    f = jnp.where(xyz > 0.008856, jnp.cbrt(jnp.maximum(xyz, 0.008856)), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
