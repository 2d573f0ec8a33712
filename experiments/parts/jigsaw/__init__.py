"""Parts of `experiments.jigsaw` and `experiments.jigsaw_learned`."""
