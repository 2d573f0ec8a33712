"""Parts of `experiments.effective_field`."""
