"""What does not change as images are transformed: a classifier's answers, and the activations of each layer."""
