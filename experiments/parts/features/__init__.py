"""Parts of `experiments.features`."""
