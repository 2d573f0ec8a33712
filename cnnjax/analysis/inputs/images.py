"""What analyses take for images."""

from typing import TypeAlias

import jax
from jax.typing import ArrayLike

Images: TypeAlias = ArrayLike | jax.ShapeDtypeStruct
"""Images or signals: an array of NumPy or JAX; where a function is only traced, shape and dtype will do."""
