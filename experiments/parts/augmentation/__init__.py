"""Parts of `experiments.augmentation`."""
