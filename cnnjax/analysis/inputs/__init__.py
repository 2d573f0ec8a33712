"""What every measurement begins with.

- `images`: what is taken for images, and the checks of them
- `layers`, `units`: activations found by name, and single units of them
- `batches`: many images, a few at a time
- `compilation`: one compilation for networks of one architecture
- `norms`, `moments`: sums and norms that hold at every scale and in every dtype; means and deviations in batches
"""
