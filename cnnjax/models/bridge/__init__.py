"""Networks of PyTorch as functions of JAX: the graph that `torch.export` makes of a module, run operation by operation.

- `export`: a module to a graph of PyTorch's; the only file that imports PyTorch
- `modules`: what is given for a module, looked at first
- `archive`, `serialized`: a file of PyTorch's to such a graph, by its JSON, without PyTorch
- `graph`: the same graph as plain records, which need PyTorch no more
- `laid`: arrays whose axes may lie in another order in memory, so that maps stay channels last
- `operations`: what each of PyTorch's operations computes
- `network`: the graph as a function `(variables, images) -> (logits, activations)`
- `from_torch`: the public functions, `from_torch` and `from_exported`
"""
