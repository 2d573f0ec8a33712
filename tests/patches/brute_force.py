"""Patches and their distances, written out in NumPy with integers."""

import numpy as np


def rows_of_patches(image, size):
    """Every patch as a row of integers, in steps of 1/1020, in row-major order of its top left corner."""
    steps = np.round(np.asarray(image, np.float64) * 1020).astype(np.int64)
    height, width, _ = image.shape
    corners = [(y, x) for y in range(height - size + 1) for x in range(width - size + 1)]
    return np.stack([steps[y : y + size, x : x + size].ravel() for y, x in corners]), np.asarray(corners)


def all_distances(source, target, size):
    """The mean squared difference of every target patch (row) and every source patch (column)."""
    theirs, their_corners = rows_of_patches(source, size)
    ours, our_corners = rows_of_patches(target, size)
    total = ((ours[:, None] - theirs[None]) ** 2).sum(axis=2)
    return total / (ours.shape[1] * 1020**2), our_corners, their_corners


def distances_at(source, target, position, size):
    """The mean squared difference of every target patch and the source patch at `position` (rows, columns, k, 2)."""
    steps = [np.round(np.asarray(x, np.float64) * 1020).astype(np.int64) for x in (source, target)]
    found = np.empty(position.shape[:3])
    for y, x, i in np.ndindex(found.shape):
        v, u = position[y, x, i]
        difference = steps[0][v : v + size, u : u + size] - steps[1][y : y + size, x : x + size]
        found[y, x, i] = (difference**2).mean() / 1020**2
    return found
