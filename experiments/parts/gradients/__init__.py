"""Parts of `experiments.gradients`."""
