"""What a network is to the library, whoever wrote it: how it is called, and what of its results counts.

- `calls`: a Linen module in training and otherwise, whichever keyword tells it which; the logits of what it returns
- `nnx_network`: an NNX class as a Linen module
- `order`: results whose dicts keep the order of the network's layers
"""
