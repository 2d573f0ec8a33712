"""Every operation of a batch takes one without images, and arrays of any dtype or says which it needs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, ops

KERNEL, MAP, GROUP_KERNEL, GROUP_MAP = (3, 3, 2, 4), (6, 7, 2), (3, 3, 4, 2, 3), (6, 6, 4, 2)
POOLED = (3, 3, 2)
WINDOW = {"window": 2, "stride": 3, "ceil_mode": True}
LONG = {"window": (6, 35), "stride": (1, 2), "padding": ((0, 0), (14, 15))}

CASES = {
    "conv": (ops.conv, [MAP], [KERNEL]),
    "conv, depthwise": (functools.partial(ops.conv, groups=2), [MAP], [(3, 3, 1, 2)]),
    "convolve": (functools.partial(ops.convolve, padding="circular"), [MAP], [KERNEL]),
    "fft_convolve": (ops.fft_convolve, [MAP], [KERNEL]),
    "conv_transpose": (functools.partial(ops.conv_transpose, input_size=(12, 14), stride=2), [(6, 7, 4)], [KERNEL]),
    "pad": (functools.partial(ops.pad, padding="circular", kernel_size=3), [MAP], []),
    "max_pool": (functools.partial(ops.max_pool, **WINDOW), [MAP], []),
    "max_pool, long": (functools.partial(ops.max_pool, **LONG), [MAP], []),
    "max_pool, dilated": (functools.partial(ops.max_pool, window=(2, 34), dilation=2), [(6, 70, 2)], []),
    "max_pool_with_switches": (functools.partial(ops.max_pool_with_switches, **WINDOW), [MAP], []),
    "avg_pool": (functools.partial(ops.avg_pool, count_include_pad=False, **WINDOW), [MAP], []),
    "avg_pool, long": (functools.partial(ops.avg_pool, **LONG), [MAP], []),
    "lp_pool": (functools.partial(ops.lp_pool, **WINDOW), [MAP], []),
    "lp_pool, long": (functools.partial(ops.lp_pool, **LONG), [MAP], []),
    "global_max_pool": (ops.global_max_pool, [MAP], []),
    "global_avg_pool": (ops.global_avg_pool, [MAP], []),
    "avg_unpool": (functools.partial(ops.avg_unpool, window=2, input_size=6), [POOLED], []),
    "blur_pool": (ops.blur_pool, [MAP], []),
    "max_blur_pool": (functools.partial(ops.max_blur_pool, window=2), [MAP], []),
    "polyphase_pool": (ops.polyphase_pool, [MAP], []),
    "polyphase_pool, order 1": (functools.partial(ops.polyphase_pool, order=1), [MAP], []),
    "polyphase_pool_with_phase": (functools.partial(ops.polyphase_pool_with_phase, order=np.inf), [MAP], []),
    "polyphase_components": (functools.partial(ops.polyphase_components, stride=2), [MAP], []),
    "local_response_norm": (ops.local_response_norm, [MAP], []),
    "fourier_shift": (functools.partial(ops.fourier_shift, offset=(1, 2)), [MAP], []),
    "fourier_resample": (functools.partial(ops.fourier_resample, size=5), [MAP], []),
    "alias_free_pool": (ops.alias_free_pool, [MAP], []),
    "alias_free": (functools.partial(ops.alias_free, function=jnp.tanh), [MAP], []),
    "crop": (functools.partial(ops.crop, corner=(1, 2), size=3), [MAP], []),
    "flip": (functools.partial(ops.flip, axis="width"), [MAP], []),
    "rotate": (functools.partial(ops.rotate, degrees=30), [MAP], []),
    "scale": (functools.partial(ops.scale, factor=2.0), [MAP], []),
    "lifting_conv": (ops.lifting_conv, [MAP], [KERNEL]),
    "group_conv": (functools.partial(ops.group_conv, group="p4"), [GROUP_MAP], [GROUP_KERNEL]),
    "group_pool": (ops.group_pool, [GROUP_MAP], []),
    "group_action": (functools.partial(ops.group_action, element=1, group="p8_approximate"), [MAP], []),
}
WITH_PLACES = {
    f"max_unpool, {overlap}": lambda batch, dtype, overlap=overlap: ops.max_unpool(
        jnp.ones((batch, *POOLED), dtype),
        jnp.zeros((batch, *POOLED), jnp.int32),
        input_size=6,
        window=2,
        overlap=overlap,
    )
    for overlap in ("add", "overwrite", "max")
} | {
    "select_phase": lambda batch, dtype: ops.select_phase(
        jnp.ones((batch, *MAP), dtype), jnp.zeros(batch, jnp.int32), stride=2
    ),
    "polyphase_unpool": lambda batch, dtype: ops.polyphase_unpool(
        jnp.ones((batch, *POOLED), dtype), jnp.zeros(batch, jnp.int32), stride=2, input_size=6
    ),
}

COPIES = ("pad", "polyphase_components", "select_phase", "polyphase_unpool", "crop", "flip")
"""What computes nothing takes any dtype."""


def call(name, batch, dtype):
    if name in WITH_PLACES:
        return WITH_PLACES[name](batch, dtype)
    op, maps, kernels = CASES[name]
    return op(*(jnp.ones((batch, *shape), dtype) for shape in maps), *(jnp.ones(shape, dtype) for shape in kernels))


@pytest.mark.parametrize("name", [*CASES, *WITH_PLACES])
def test_a_batch_without_images(name):
    two, none = (jax.eval_shape(lambda batch=batch: call(name, batch, jnp.float32)) for batch in (2, 0))
    for some, nothing in zip(jax.tree.leaves(two), jax.tree.leaves(none), strict=True):
        assert nothing.shape == (0, *some.shape[1:])
        assert nothing.dtype == some.dtype


@pytest.mark.parametrize("name", [*CASES, *WITH_PLACES])
def test_dtypes_stay_or_are_refused(name, without_type_checks):
    for dtype in (jnp.bfloat16, jnp.float16):
        results = jax.tree.leaves(jax.eval_shape(lambda dtype=dtype: call(name, 2, dtype)))
        assert results[0].dtype == dtype
    of_integers = functools.partial(jax.eval_shape, lambda: call(name, 2, jnp.int32))
    if name in COPIES:
        assert of_integers().dtype == jnp.int32
        return
    with pytest.raises(InputError, match="int32"):
        of_integers()


def test_conv_transpose_of_two_arrays_of_numpy_in_double_precision(without_type_checks):
    y, kernel = np.arange(1.0, 4.0).reshape(1, 3, 1), np.asarray([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    x = ops.conv_transpose(y, kernel, input_size=3)
    assert x.dtype == np.float32
    # Each output hands its value to the three positions that it read.
    matrix = np.asarray([[2, 4, 0], [1, 2, 4], [0, 1, 2]])
    np.testing.assert_array_equal(np.ravel(x), matrix.T @ [1, 2, 3])
