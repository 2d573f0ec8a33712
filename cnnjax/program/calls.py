"""The calls in a traced program that every reader of one looks into."""

CALLS = (
    *("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call"),
    *("call", "composite", "eval_jaxpr", "xla_metadata_call"),
    *("cnnjax_conv", "cnnjax_channel_sums", "cnnjax_channel_moments", "cnnjax_scale_and_shift"),
)
"""Primitives that hand their operands to one program, once, and return its results."""
