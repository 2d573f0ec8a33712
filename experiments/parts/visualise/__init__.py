"""Parts of `experiments.visualise`."""
