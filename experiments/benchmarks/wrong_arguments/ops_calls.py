"""Small valid calls of the operations."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np


def _draw(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)


X, KERNEL, POOLED = _draw(1, 4, 4, 2), _draw(3, 3, 2, 4), _draw(1, 2, 2, 2)

CALLS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "ops.alias_free": lambda: dict(x=X, function=jnp.tanh),
    "ops.alias_free_pool": lambda: dict(x=X),
    "ops.avg_pool": lambda: dict(x=X, window=2),
    "ops.avg_unpool": lambda: dict(y=POOLED, window=2, input_size=4),
    "ops.blur_pool": lambda: dict(x=X),
    "ops.conv": lambda: dict(x=X, kernel=KERNEL),
    "ops.conv_matrix": lambda: dict(kernel=KERNEL, input_size=4),
    "ops.conv_transpose": lambda: dict(y=_draw(1, 4, 4, 4), kernel=KERNEL, input_size=4),
    "ops.convolve": lambda: dict(x=X, kernel=KERNEL),
    "ops.crop": lambda: dict(x=X, corner=jnp.array([1, 1]), size=2),
    "ops.fft_convolve": lambda: dict(x=X, kernel=KERNEL),
    "ops.flip": lambda: dict(x=X, axis="width"),
    "ops.global_avg_pool": lambda: dict(x=X),
    "ops.global_max_pool": lambda: dict(x=X),
    "ops.grayscale": lambda: dict(x=_draw(1, 4, 4, 3)),
    "ops.group_action": lambda: dict(x=X, element=1, group="p4"),
    "ops.group_conv": lambda: dict(x=_draw(1, 3, 3, 4, 2), kernel=_draw(3, 3, 4, 2, 1), group="p4"),
    "ops.group_pool": lambda: dict(x=_draw(1, 3, 3, 4, 2)),
    "ops.lifting_conv": lambda: dict(x=X, kernel=_draw(3, 3, 2, 1)),
    "ops.local_response_norm": lambda: dict(x=X),
    "ops.lp_pool": lambda: dict(x=X, window=2),
    "ops.max_blur_pool": lambda: dict(x=X, window=2),
    "ops.max_pool": lambda: dict(x=X, window=2),
    "ops.max_pool_with_switches": lambda: dict(x=X, window=2),
    "ops.max_unpool": lambda: dict(y=POOLED, switches=jnp.zeros((1, 2, 2, 2), jnp.int32), window=2, input_size=4),
    "ops.output_size": lambda: dict(n=4, k=3),
    "ops.pad": lambda: dict(x=X, padding="same", kernel_size=3),
    "ops.polyphase_components": lambda: dict(x=X, stride=2),
    "ops.polyphase_pool": lambda: dict(x=X),
    "ops.polyphase_pool_with_phase": lambda: dict(x=X),
    "ops.polyphase_unpool": lambda: dict(y=POOLED, phase=jnp.array([1]), stride=2, input_size=4),
    "ops.resolve_padding": lambda: dict(padding="same", kernel_size=(3,), input_size=(4,), stride=(1,), dilation=(1,)),
    "ops.rolling_guidance": lambda: dict(x=X, sigma=1.0),
    "ops.rotate": lambda: dict(x=X, degrees=30.0),
    "ops.scale": lambda: dict(x=X, factor=2.0),
    "ops.select_phase": lambda: dict(x=X, phase=jnp.array([1]), stride=2),
    "ops.fourier_resample": lambda: dict(x=X, size=6),
    "ops.fourier_shift": lambda: dict(x=X, offset=(0.5, 1.0)),
    "ops.shift": lambda: dict(x=X, offset=(1, 1)),
}
