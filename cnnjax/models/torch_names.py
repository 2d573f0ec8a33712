"""What PyTorch's libraries call the layers of AlexNet, VGG and the ResNets."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Names(NamedTuple):
    """`layers`: the name there of each layer here, by its path. `filters`: what blurs by `taps`, and what reads it."""

    layers: Mapping[str, str]
    filters: Mapping[str, str] = {}
    taps: int = 1


def alexnet(model: Any) -> Names:
    """The names in torchvision's AlexNet."""
    places = dict(conv1=0, conv2=3, conv3=6, conv4=8, conv5=10)
    dense = dict(fc6=1, fc7=4, logits=6)
    return Names(
        {layer: f"features.{place}" for layer, place in places.items()}
        | {layer: f"classifier.{place}" for layer, place in dense.items()}
    )


def vgg(model: Any) -> Names:
    """The names in torchvision's VGG, where every convolution, normalisation, activation and pool has a number."""
    layers, place = {}, 0
    for stage, (_, depth, _) in enumerate(model.stages(), 1):
        for number in range(1, depth + 1):
            here = f"stage{stage}_conv{number}"
            layers |= {f"{here}/conv": f"features.{place}", f"{here}/norm/batch": f"features.{place + 1}"}
            place += 2 if model.norm == "none" else 3
        place += 1
    return Names(layers | dict(fc6="classifier.0", fc7="classifier.3", logits="classifier.6"))


TIMM_VGG = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
"""What timm calls layers of its VGGs, by torchvision's name; the first two are convolutions there."""


def resnet(model: Any) -> Names:
    """The names in torchvision's ResNets."""
    return _resnet(model, blurred=False)


def blurred_resnet(model: Any) -> Names:
    """The names in Zhang's ResNets, where the filter comes before the convolution that reads what it has blurred."""
    return _resnet(model, blurred=True)


def _resnet(model: Any, *, blurred: bool) -> Names:
    layers = {"conv1/conv": "conv1", "conv1/norm/batch": "bn1", "logits": "fc"}
    filters = {"maxpool.1.filt": "layer1.0.conv1"} if blurred else {}
    last = 2 if model.block == "basic" else 3
    for stage, (_, depth, factor) in enumerate(model.stages(), 1):
        for block in range(depth):
            here, there = f"stage{stage}_block{block + 1}", f"layer{stage}.{block}"
            for number in range(1, last):
                layers |= {
                    f"{here}/conv{number}/conv": f"{there}.conv{number}",
                    f"{here}/conv{number}/norm/batch": f"{there}.bn{number}",
                }
            layers[f"{here}/norm{last}/batch"] = f"{there}.bn{last}"
            blurs = blurred and block == 0 and factor > 1
            convolution = f"{there}.conv{last}.1" if blurs else f"{there}.conv{last}"
            layers |= {
                f"{here}/conv{last}": convolution,
                f"{here}/projection": f"{there}.downsample.{int(blurs)}",
                f"{here}/projection_norm/batch": f"{there}.downsample.{int(blurs) + 1}",
            }
            if blurs:
                filters |= {
                    f"{there}.conv{last}.0.filt": convolution,
                    f"{there}.downsample.0.filt": f"{there}.downsample.1",
                }
    return Names(layers, filters, model.taps)
