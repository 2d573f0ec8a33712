"""Parts of `experiments.patchmatch`."""
