"""Convolutions on the CPU by machine code of the library's own, and sums; on every other platform XLA's.

`ops.conv` calls `convolution`, which is a primitive of JAX. Lowered for a CPU, it becomes a call of code that LLVM
compiles in this process for the very sizes of the convolution; lowered for anything else, or where that code would not
pay or cannot run, it becomes XLA's operation. Batch normalisation calls `moments` and `scale_and_shift`.
"""

from cnnjax.kernels import channel_rules as _channel_rules  # noqa: F401
from cnnjax.kernels import rules as _rules  # noqa: F401  how derivatives and vmap act on the primitives
from cnnjax.kernels.channels import moments as moments
from cnnjax.kernels.channels import scale_and_shift as scale_and_shift
from cnnjax.kernels.geometry import Geometry as Geometry
from cnnjax.kernels.primitive import convolution as convolution

# No `__all__`: what users call is `ops.conv`, which has checked its arguments.
