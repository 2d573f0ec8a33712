"""Parts of `experiments.parameters`."""
