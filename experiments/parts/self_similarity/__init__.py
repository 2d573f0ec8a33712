"""Parts of `experiments.self_similarity`."""
