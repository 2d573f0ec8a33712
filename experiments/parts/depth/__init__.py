"""Parts of `experiments.depth`."""
