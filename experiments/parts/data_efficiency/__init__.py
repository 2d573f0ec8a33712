"""Parts of `experiments.data_efficiency`."""
