"""Which operations of a traced program are known, so that no reader of one takes another for nothing."""

from jax.extend.core import JaxprEqn

from cnnjax.program.calls import CALLS
from cnnjax.program.reach.rules import RULES

CONTROL = ("cond", "scan", "while")
"""Primitives that run programs: one of several, or one in every round."""

PRODUCTS = ("conv_general_dilated", "dot_general")
"""Primitives that multiply and add, in a number that their shapes tell."""

_ALGEBRA = """
    cholesky cholesky_update custom_linear_solve eig eigh fft geqp3 geqrf hessenberg householder_product lu ormqr qr
    schur svd symmetric_product triangular_solve tridiagonal tridiagonal_solve
"""
LINEAR_ALGEBRA = frozenset(_ALGEBRA.split())
"""Primitives that multiply and add in ways of their own."""

_OTHERS = """
    after_all approx_top_k axis_index bitcast_convert_type broadcast_to check create_token debug_callback debug_print
    dimension_size empty empty2 eq_to from_edtype get inspect_sharding iota le_to log2 lt_to lu_pivots_to_permutation
    name one_minus_square pin reciprocal reduced_vary_cast reduced_vary_cast_p select_and_gather_add
    select_and_scatter select_and_scatter_add swap tie to_edtype unpin vary_unreduced_cast vary_unreduced_cast_p
    with_memory_space_constraint

    iota_2x32_shape philox2x32 philox4x32 random_bits random_clone random_fold_in random_gamma random_seed random_split
    random_unwrap random_wrap rng_bit_generator rng_uniform threefry2x32 threefry4x32

    all_gather all_gather_invariant all_gather_reduced all_to_all pbroadcast pmax pmin ppermute preduced psum
    psum_invariant ragged_all_to_all reduce_scatter
"""
UNCOUNTED = frozenset([*RULES, *_OTHERS.split()]).difference(PRODUCTS, LINEAR_ALGEBRA)
"""Primitives that neither convolve nor multiply matrices: elementwise, sums, maxima, orders, places, random numbers."""


def is_known(eqn: JaxprEqn) -> bool:
    """Whether it is known what an equation does to numbers; of others, not even of which kind it is."""
    name = eqn.primitive.name
    return name in UNCOUNTED or name in LINEAR_ALGEBRA or name in (*PRODUCTS, *CALLS, *CONTROL)
