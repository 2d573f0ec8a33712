"""Parts of `experiments.alexnet`."""
