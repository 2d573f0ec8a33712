"""Means and standard deviations of arrays that come in batches, updated without cancellation."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float


class Moments(NamedTuple):
    """Of values seen so far: their number, their mean, and the sum of squared deviations from it, by element."""

    number: Float[Array, ""]
    mean: Float[Array, "*unit"]
    squares: Float[Array, "*unit"]

    @staticmethod
    def of_none(shape: tuple[int, ...], dtype: DTypeLike) -> "Moments":
        """The moments before the first value."""
        return Moments(jnp.zeros((), dtype), jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def with_batch(self, values: Float[Array, " batch *unit"], counted: Bool[Array, " batch"]) -> "Moments":
        """The moments with those rows of a batch that count; the first row always does.

        Values that are all equal have deviations of exactly 0. Source: Chan, Golub & LeVeque 1979, "Updating Formulae
        and a Pairwise Algorithm for Computing Sample Variances", equation 2.1.
        """
        weights = counted.astype(values.dtype).reshape(-1, *(1,) * (values.ndim - 1))
        n = weights.sum()
        # From the first value on, so that the mean of equal values is that value and not one rounding away from it.
        mean = values[0] + (weights * (values - values[:1])).sum(0) / n
        squares = (weights * jnp.square(values - mean[None])).sum(0)
        number, step = self.number + n, mean - self.mean
        return Moments(
            number,
            self.mean + step * (n / number),
            self.squares + squares + jnp.square(step) * (self.number * (n / number)),
        )

    @property
    def deviation(self) -> Float[Array, "*unit"]:
        """The standard deviation, of the unbiased variance: squares over number − 1."""
        return jnp.sqrt(self.squares / (self.number - 1))
