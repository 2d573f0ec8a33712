"""Parts of `experiments.borders`."""
