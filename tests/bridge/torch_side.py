"""PyTorch's own results for a network: the logits, and what each call of a module returns."""

import numpy as np
import torch

torch.set_num_threads(1)


def drawn(make, seed=0):
    """A network in evaluation mode, its statistics and biases drawn too, so that none of them is 0 or 1."""
    torch.manual_seed(seed)
    module = make()
    with torch.no_grad():
        for name, x in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                x.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "bias")):
                x.normal_(0, 0.2)
    return module.eval()


def pixels(batch, size=32, channels=3, seed=0):
    """Images (batch, size, size, channels) in [0, 1]."""
    return np.random.default_rng(seed).uniform(size=(batch, size, size, channels)).astype(np.float32)


def results(module, images, dtype=torch.float32):
    """The output for images, and by "path", "path@1", ... the arrays that the calls of modules return."""
    found, calls, handles = {}, {}, []

    def keep(path):
        def hook(_, __, output):
            count = calls[path] = calls.get(path, -1) + 1
            arrays = [x for x in (output if isinstance(output, tuple) else (output,)) if torch.is_tensor(x)]
            if len(arrays) == 1:
                # In-place functions may change it afterwards.
                found[f"{path}@{count}" if count else path] = arrays[0].detach().clone().float().numpy()

        return hook

    for path, part in module.named_modules():
        if path:
            handles.append(part.register_forward_hook(keep(path)))
    with torch.no_grad():
        output = module(torch.tensor(images).permute(0, 3, 1, 2).to(dtype))
    for handle in handles:
        handle.remove()
    return output, found


def difference(ours, theirs):
    """The largest difference, in units of PyTorch's largest value; PyTorch's maps may have their channels first."""
    ours = np.asarray(ours, np.float32)
    moved = [np.moveaxis(theirs, 1, -1)] if theirs.ndim in (3, 4) else []
    least = np.finfo(np.float32).tiny
    apart = [np.abs(ours - x).max() / max(np.abs(x).max(), least) for x in [theirs, *moved] if x.shape == ours.shape]
    return min(apart, default=np.inf)
