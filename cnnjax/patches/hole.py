"""What filling a hole needs to know: texture and place, the levels, the window, how deep its patches lie."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import spsolve

from cnnjax.patches.distances import GRAIN, allowed_patches

_BLOCK = 16  # sizes of windows are multiples of this, so that holes of nearly one size share a program
_FALL_OFF = 2.0  # of a patch's weight, for each pixel into the hole
_DEEPEST = 40  # pixels, from where on the weight stays: in a large hole it would vanish from single precision
_REACH = 12  # pixels, the standard deviation of the Gaussian over which texture is averaged
_CONTRAST = 7  # the texture's weight beside colour's
_NEAR = 0.07  # from one end of the image to the other, beside colour's 1 from black to white

PLACES = 2
"""Channels for where a pixel is, the last ones."""


def texture(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """How rough the known surroundings of every pixel are, down and along: (height, width, 2), in [0, 1].

    The mean absolute difference in brightness of known neighbours, in a Gaussian around the pixel, times its weight;
    zero in the hole. Newson et al. 2014, "Video inpainting of complex scenes", with a Gaussian for their square:
    beside colours it keeps smooth patches from winning where the surroundings are rough.
    """
    grey = image.mean(axis=2)
    features = []
    for axis in (0, 1):
        behind, ahead = (
            np.take(~hole, np.arange(hole.shape[axis])[part], axis) for part in (slice(-1), slice(1, None))
        )
        end = [(0, int(i == axis)) for i in (0, 1)]
        known = np.pad(behind & ahead, end).astype(np.float32)
        steps = np.pad(np.abs(np.diff(grey, axis=axis)), end)
        total, weight = (ndimage.gaussian_filter(x, _REACH) for x in (steps * known, known))
        features.append(_CONTRAST * total / np.maximum(weight, 1e-6))
    return np.where(hole[:, :, None], 0, _rounded(np.clip(np.stack(features, axis=-1), 0, 1)))


def with_place(image: np.ndarray) -> np.ndarray:
    """The image with two more channels, how far down and along a pixel lies: of patches as alike, the nearer wins."""
    down, along = (_rounded(_NEAR * (np.arange(n) + 0.5) / n) for n in image.shape[:2])
    return np.concatenate([image, np.stack(np.meshgrid(down, along, indexing="ij"), axis=-1)], axis=2)


def smooth(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The hole filled so that each of its pixels is the mean of its four neighbours (Laplace's equation)."""
    y, x = np.nonzero(hole)
    number = np.full(hole.shape, -1)
    number[y, x] = np.arange(len(y))
    matrix, known = 4 * eye_array(len(y), format="csc"), np.zeros((len(y), image.shape[2]))
    for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        # Beyond the image's edge a pixel is its own neighbour.
        there = np.clip(y + step[0], 0, hole.shape[0] - 1), np.clip(x + step[1], 0, hole.shape[1] - 1)
        among = np.flatnonzero(hole[there])
        matrix -= csc_array((np.ones(len(among)), (among, number[there][among])), shape=matrix.shape)
        known[~hole[there]] += image[there][~hole[there]]
    filled = image.copy()
    solution: Any = spsolve(matrix, known)  # flat where there is one column
    filled[y, x] = _rounded(solution.reshape(known.shape))
    return filled


def pyramid(image: np.ndarray, hole: np.ndarray, patch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Image and hole, halved until the hole is about a patch wide or too few patches to copy from remain."""
    levels = [(image, hole)]
    while True:
        image, hole = levels[-1]
        depth: Any = ndimage.distance_transform_edt(np.pad(hole, 1))
        smaller = _halve(image, hole)
        if depth.max() <= patch_size / 2 or min(smaller[1].shape) < 3 * patch_size:
            return levels
        allowed = np.asarray(allowed_patches(jnp.asarray(smaller[1]), patch_size=patch_size))
        if allowed.sum() < 4 * patch_size**2 or not smaller[1].any():
            return levels
        levels.append(smaller)


def _halve(image: np.ndarray, hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the size: means of the known among each four pixels; in the hole where none is known."""
    height, width, _ = image.shape
    even = (0, height % 2), (0, width % 2)
    weight = np.pad(~hole, even).astype(np.float32)[:, :, None]
    weighted = np.pad(image, [*even, (0, 0)]) * weight
    sums = [x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).sum((1, 3)) for x in (weighted, weight)]
    known = sums[1] > 0
    mean = np.where(known, sums[0] / np.maximum(sums[1], 1), 0)
    return _rounded(mean), ~known[:, :, 0]


def _rounded(values: np.ndarray) -> np.ndarray:
    return (np.round(values * GRAIN) / GRAIN).astype(np.float32)


def window(hole: np.ndarray, patch_size: int) -> tuple[slice, slice]:
    """The part of the image that holds every patch that touches the hole, in blocks where the image has room."""
    window = []
    for axis, size in enumerate(hole.shape):
        where = np.flatnonzero(hole.any(axis=1 - axis))
        start, stop = max(0, where[0] - patch_size + 1), min(size, where[-1] + patch_size)
        length = min(size, -(-(stop - start) // _BLOCK) * _BLOCK)
        start = int(min(start, size - length))
        window.append(slice(start, start + length))
    return window[0], window[1]


def patch_weights(hole: np.ndarray, patch_size: int) -> np.ndarray:
    """w_q of the patches by their top left corners, for all of the image (zero where a patch does not touch)."""
    depth: Any = ndimage.distance_transform_edt(hole)
    before, after = patch_size // 2, patch_size - 1 - patch_size // 2
    touching = ~np.asarray(allowed_patches(jnp.asarray(hole), patch_size=patch_size))
    centers = depth[before : hole.shape[0] - after, before : hole.shape[1] - after]
    weights = np.zeros(hole.shape, np.float32)
    weights[: centers.shape[0], : centers.shape[1]] = np.where(touching, _FALL_OFF ** -np.minimum(centers, _DEEPEST), 0)
    return weights


def enlarge(
    found: np.ndarray, coarse_corner: tuple[int, int], corner: tuple[int, int], shape: tuple[int, ...]
) -> np.ndarray:
    """Positions for a level of twice the size: a patch follows the one at half its place, twice as far away.

    found: (rows, columns, 2), of the window at `coarse_corner`; the result is for the window of `shape` at `corner`.
    """
    y, x = (np.arange(n) + c for n, c in zip(shape, corner, strict=True))
    rows = np.clip(y // 2 - coarse_corner[0], 0, found.shape[0] - 1)
    columns = np.clip(x // 2 - coarse_corner[1], 0, found.shape[1] - 1)
    return 2 * found[rows][:, columns] + np.stack(np.meshgrid(y % 2, x % 2, indexing="ij"), -1)


def stay(corner: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Positions of the patches of a window themselves."""
    return np.stack(np.meshgrid(*(np.arange(n) + c for n, c in zip(shape, corner, strict=True)), indexing="ij"), -1)


def nearest_allowed(position: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """For positions (rows, columns, 2) the closest patches that do not touch the hole: (rows, columns, 1, 2)."""
    moved: Any = ndimage.distance_transform_edt(~allowed, return_distances=False, return_indices=True)
    y, x = (np.clip(position[..., i], 0, allowed.shape[i] - 1) for i in (0, 1))
    return np.stack([moved[0][y, x], moved[1][y, x]], -1)[:, :, None].astype(np.int32)
