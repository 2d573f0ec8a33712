"""Parts of `experiments.stride`."""
