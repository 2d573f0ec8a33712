"""The groups of turns and mirror images as matrices, and how they move images, maps and kernels, in NumPy."""

import itertools

import numpy as np
from numpy_resampling import keys

EXACT = ["p4", "p4m"]
ORDERS = {"p4": 4, "p4m": 8, "p8_approximate": 8}


def matrices(group):
    """Each element on (row, column) from the centre: a turn brings the pixel right of it above it."""
    angle = np.pi / 4 if group == "p8_approximate" else np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([1.0, -1.0])
    turns = ORDERS[group] // (2 if group == "p4m" else 1)
    return [
        np.linalg.matrix_power(turn, r) @ np.linalg.matrix_power(mirror, m)
        for m in range(ORDERS[group] // turns)
        for r in range(turns)
    ]


def number_of(matrix, group):
    (found,) = [i for i, other in enumerate(matrices(group)) if np.allclose(other, matrix)]
    return found


def on_image(x, element, group):
    """An exact element on (batch, height, width, channels), by NumPy's own turns."""
    mirror, turns = divmod(element, 8 if group == "p8_approximate" else 4)
    x = np.flip(x, 2) if mirror else np.asarray(x)
    return np.rot90(x, turns // (2 if group == "p8_approximate" else 1), (1, 2))


def on_map(x, element, group):
    """An exact element on (batch, height, width, group, channels): `(g x)(h) = g (x(g⁻¹ h))`."""
    group_matrices = matrices(group)
    undo = np.linalg.inv(group_matrices[element])
    read = [number_of(undo @ h, group) for h in group_matrices]
    return np.stack([on_image(x[:, :, :, i], element, group) for i in read], axis=3)


def turned_kernel(kernel, matrix):
    """`(g w)(p) = w(g⁻¹ p)` about the centre, (k, k, in, out), between the weights by Keys' cubic; 0 outside."""
    size = kernel.shape[0]
    center = (size - 1) / 2
    turned = np.zeros(kernel.shape)
    for i, j in itertools.product(range(size), repeat=2):
        row, column = np.linalg.inv(matrix) @ (i - center, j - center) + center
        for a, b in itertools.product(range(size), repeat=2):
            turned[i, j] += keys(row - a) * keys(column - b) * kernel[a, b]
    return turned
