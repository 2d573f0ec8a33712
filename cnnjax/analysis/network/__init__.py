"""What is asked of a network as a whole: cost, learning signal, linearity, and what its filters and layers hold."""
