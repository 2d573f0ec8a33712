"""Interpolation written out in NumPy, one value at a time, for the tests to compare with."""

import itertools

import numpy as np
import numpy_loops


def keys(u):
    """Keys 1981, equation 4 with the a of equation 15."""
    a, u = -0.5, abs(u)
    if u <= 1:
        return (a + 2) * u**3 - (a + 3) * u**2 + 1
    if u < 2:
        return a * u**3 - 5 * a * u**2 + 8 * a * u - 4 * a
    return 0.0


def read_cubic(image, row, column, mode):
    """One value at a real position, from all pixels of an infinite picture that have weight there."""
    total = 0.0
    near = (range(int(np.floor(p)) - 3, int(np.floor(p)) + 5) for p in (row, column))
    for i, j in itertools.product(*near):
        place = [numpy_loops.source(k, n, mode) for k, n in zip((i, j), image.shape, strict=True)]
        if None not in place:
            total += keys(row - i) * keys(column - j) * image[tuple(place)]
    return total


def positions(shape, matrix):
    """Where the pixels of a map are read: `matrix` applied about the centre; (2, height, width)."""
    center = (np.asarray(shape) - 1) / 2
    pixels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - center
    return np.moveaxis(pixels @ np.asarray(matrix).T + center, -1, 0)
