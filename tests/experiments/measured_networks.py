"""Networks that the tests of `experiments.measure` name on its command line."""

import jax

from cnnjax import models

MODEL = models.AllConv(num_classes=10, widths=(2, 3), depth=1, head_width=4, padding="circular", downsample="max")


def pair():
    """A function and its variables."""
    images = jax.numpy.zeros((1, 12, 12, 1))
    return MODEL.apply, MODEL.init(jax.random.key(1), images)


def group():
    """A network whose maps have an axis for quarter turns."""
    model = models.AllConv(num_classes=10, widths=(8,), depth=1, head_width=8, group="p4", downsample="max")
    return model.apply, model.init(jax.random.key(1), jax.numpy.zeros((1, 12, 12, 1)))


def function():
    """A function of images, of two classes, without names for its activations."""
    kernel = jax.random.normal(jax.random.key(0), (12 * 12, 2))
    return lambda images: images.reshape(len(images), -1) @ kernel


def neither():
    """No network."""
    return 3


def fails():
    """A builder with a fault."""
    raise RuntimeError("no weights at hand")


def without_logits():
    """A function that does not say which of its results are the logits."""
    return lambda images: {"a": images.mean((1, 2)), "b": images.sum((1, 2))}


def torch_small():
    """A module of PyTorch."""
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    layers += [torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 10))


def torch_two_outputs():
    """A module that returns a tuple."""
    import torch

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(144, 10)

        def forward(self, x):
            return self.linear(x.flatten(1)), x.mean((1, 2, 3))

    return Two()


def torch_of_values():
    """A module whose path depends on values."""
    import torch

    class Branching(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10] * (2 if x.sum() > 0 else 1)

    return Branching()


def torch_red_or_blue():
    """A module of PyTorch that goes by colour alone: the first of two classes where red outweighs blue."""
    import torch

    class RedOrBlue(torch.nn.Module):
        def forward(self, x):
            red, _, blue = x.mean((2, 3)).unbind(1)
            return torch.stack([red, blue], 1)

    return RedOrBlue()


def function_of_three():
    """A function of colour images, of three classes."""
    return lambda images: images.mean((1, 2))
