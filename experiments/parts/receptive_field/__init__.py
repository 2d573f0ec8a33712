"""Parts of `experiments.receptive_field`."""
