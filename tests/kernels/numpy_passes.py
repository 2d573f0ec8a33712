"""The three passes of a convolution written out in NumPy, in float64."""

import numpy as np


def passes(geometry, x, kernel, cotangent):
    """The convolution, the gradient of x and the gradient of the kernel, of one batch of maps."""
    x, kernel, cotangent = (np.asarray(a, np.float64) for a in (x, kernel, cotangent))
    rank, groups = len(geometry.size), geometry.groups
    reads = []
    for n, o, k, s, d, (before, _) in zip(
        geometry.size, geometry.out, geometry.window, geometry.stride, geometry.dilation, geometry.padding, strict=True
    ):
        positions = s * np.arange(o)[:, None] + d * np.arange(k)[None] - before
        reads.append((positions[..., None] == np.arange(n)).astype(np.float64))  # (out, tap, in)
    if rank == 1:
        reads = [np.ones((1, 1, 1)), *reads]
        x, cotangent = x[:, None], cotangent[:, None]
        kernel = kernel[None]
    x = x.reshape(*x.shape[:3], groups, -1)
    cotangent = cotangent.reshape(*cotangent.shape[:3], groups, -1)
    kernel = kernel.reshape(*kernel.shape[:3], groups, -1)
    rows, columns = reads
    windows = np.einsum("jbs,niasgc->nijabgc", columns, np.einsum("iar,nrsgc->niasgc", rows, x))
    y = np.einsum("nijabgc,abcgo->nijgo", windows, kernel)
    kernel_back = np.einsum("nijabgc,nijgo->abcgo", windows, cotangent)
    brought = np.einsum("nijgo,abcgo->nijabgc", cotangent, kernel)
    x_back = np.einsum("iar,niasgc->nrsgc", rows, np.einsum("jbs,nijabgc->niasgc", columns, brought))
    maps = len(x)
    shapes = (maps, *geometry.made), (maps, *geometry.maps), geometry.kernel
    return [made.reshape(shape) for made, shape in zip((y, x_back, kernel_back), shapes, strict=True)]
