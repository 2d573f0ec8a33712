"""Kernels (side, side, 1, channels) whose symmetry is known: round ones, which no turn changes, and directed ones."""

import numpy as np
from jaxtyping import Float

Kernel = Float[np.ndarray, "side side 1 channels"]

SIDE = 15
_ANGLE = np.pi / 6  # of directed filters, so that no mirror image of the canvas is theirs


def low_pass() -> Kernel:
    """A Gaussian of σ = 1.5."""
    return _channels(_gaussian(1.5, 1.5))


def band_pass() -> Kernel:
    """The difference of two Gaussians, which passes a ring of frequencies."""
    return _channels(_gaussian(1.2, 1.2) - _gaussian(2.0, 2.0))


def high_pass() -> Kernel:
    """One pixel less a Gaussian of σ = 1."""
    return _channels(_pixel() - _gaussian(1.0, 1.0))


def slopes() -> Kernel:
    """The derivatives of a Gaussian of σ = 1.2 down and to the right: a turn turns them into each other."""
    down, right = _places()
    kernel = _gaussian(1.2, 1.2)
    return _channels(-down * kernel, -right * kernel)


def directed_low_pass() -> Kernel:
    """A Gaussian three times as long, down, as wide; it is its own mirror image."""
    return _channels(_gaussian(2.4, 0.8))


def directed_band_pass() -> Kernel:
    """A Gabor filter: a wave of 6 pixels along 30° below a Gaussian of σ = 2, without a mean."""
    down, right = _places()
    wave = np.cos(2 * np.pi * (np.cos(_ANGLE) * right + np.sin(_ANGLE) * down) / 6)
    envelope = _gaussian(2.0, 2.0)
    return _channels(envelope * wave - envelope * (envelope * wave).sum())


def directed_high_pass() -> Kernel:
    """The second derivative along 30°, of a Gaussian of σ = 1."""
    down, right = _places()
    along = np.cos(_ANGLE) * right + np.sin(_ANGLE) * down
    return _channels((along**2 - 1) * _gaussian(1.0, 1.0))


def _places() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns from the middle."""
    place = np.arange(SIDE) - SIDE // 2
    return place[:, None].astype(float), place[None].astype(float)


def _gaussian(down: float, right: float) -> np.ndarray:
    rows, columns = _places()
    kernel = np.exp(-((rows / down) ** 2 + (columns / right) ** 2) / 2)
    return kernel / kernel.sum()


def _pixel() -> np.ndarray:
    rows, columns = _places()
    return ((rows == 0) & (columns == 0)).astype(float)


def _channels(*kernels: np.ndarray) -> Kernel:
    return np.stack(kernels, -1)[:, :, None]
