"""A small valid call of every public function, by its name."""

from experiments.benchmarks.wrong_arguments import (
    analysis_calls,
    image_calls,
    module_calls,
    network_calls,
    ops_calls,
    run_calls,
    sweep_calls,
)
from experiments.benchmarks.wrong_arguments.matrix import Arguments

CALLS: dict[str, Arguments] = {
    **ops_calls.CALLS,
    **image_calls.CALLS,
    **network_calls.CALLS,
    **module_calls.CALLS,
    **analysis_calls.CALLS,
    **run_calls.CALLS,
    **sweep_calls.CALLS,
}
