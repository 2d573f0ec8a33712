"""The names and shapes in the files that torchvision publishes, written out layer by layer from its naming scheme."""

RESNETS = {
    "resnet18": dict(expansion=1, depths=(2, 2, 2, 2)),
    "resnet34": dict(expansion=1, depths=(3, 4, 6, 3)),
    "resnet50": dict(expansion=4, depths=(3, 4, 6, 3)),
    "resnet101": dict(expansion=4, depths=(3, 4, 23, 3)),
    "resnet152": dict(expansion=4, depths=(3, 8, 36, 3)),
    "resnext50_32x4d": dict(expansion=4, depths=(3, 4, 6, 3), groups=32, per_group=4),
    "resnext101_32x8d": dict(expansion=4, depths=(3, 4, 23, 3), groups=32, per_group=8),
    "resnext101_64x4d": dict(expansion=4, depths=(3, 4, 23, 3), groups=64, per_group=4),
    "wide_resnet50_2": dict(expansion=4, depths=(3, 4, 6, 3), per_group=128),
    "wide_resnet101_2": dict(expansion=4, depths=(3, 4, 23, 3), per_group=128),
}
VGGS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def resnet_shapes(
    expansion, depths, *, widths=(64, 128, 256, 512), groups=1, per_group=64, num_classes=1000, counters=True
):
    """`expansion` is 1 for basic blocks of two convolutions and 4 for bottlenecks of three."""
    shapes = {}

    def conv(name, features, channels, size):
        shapes[f"{name}.weight"] = (features, channels, size, size)

    def norm(name, features):
        for value in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{value}"] = (features,)
        if counters:
            shapes[f"{name}.num_batches_tracked"] = ()

    conv("conv1", widths[0], 3, 7)
    norm("bn1", widths[0])
    channels = widths[0]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        for block in range(depth):
            layer, features = f"layer{stage}.{block}", expansion * width
            if expansion == 1:
                branch = [(width, channels, 3), (width, width, 3)]
            else:
                inner = width * per_group // 64 * groups
                branch = [(inner, channels, 1), (inner, inner // groups, 3), (features, inner, 1)]
            for number, sizes in enumerate(branch, 1):
                conv(f"{layer}.conv{number}", *sizes)
                norm(f"{layer}.bn{number}", sizes[0])
            if block == 0 and (stage > 1 or channels != features):
                conv(f"{layer}.downsample.0", features, channels, 1)
                norm(f"{layer}.downsample.1", features)
            channels = features
    return shapes | {"fc.weight": (num_classes, channels), "fc.bias": (num_classes,)}


def alexnet_shapes(*, widths=(64, 192, 384, 256, 256), dense_widths=(4096, 4096), num_classes=1000):
    sizes = {"features.0": 11, "features.3": 5, "features.6": 3, "features.8": 3, "features.10": 3}
    shapes, channels = {}, 3
    for (name, size), width in zip(sizes.items(), widths, strict=True):
        shapes |= {f"{name}.weight": (width, channels, size, size), f"{name}.bias": (width,)}
        channels = width
    units = channels * 6 * 6
    for number, width in zip((1, 4, 6), (*dense_widths, num_classes), strict=True):
        shapes |= {f"classifier.{number}.weight": (width, units), f"classifier.{number}.bias": (width,)}
        units = width
    return shapes


def vgg_shapes(depths, *, normalised, widths=(64, 128, 256, 512, 512), dense_widths=(4096, 4096), num_classes=1000):
    """Convolution, normalisation if any, activation, ...: each has a number; a pool ends a stage."""
    shapes, place, channels = {}, 0, 3
    for depth, width in zip(depths, widths, strict=True):
        for _ in range(depth):
            shapes |= {f"features.{place}.weight": (width, channels, 3, 3), f"features.{place}.bias": (width,)}
            if normalised:
                for value in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"features.{place + 1}.{value}"] = (width,)
            place += 3 if normalised else 2
            channels = width
        place += 1
    units = channels * 7 * 7
    for number, width in zip((0, 3, 6), (*dense_widths, num_classes), strict=True):
        shapes |= {f"classifier.{number}.weight": (width, units), f"classifier.{number}.bias": (width,)}
        units = width
    return shapes


def timm_vgg(arrays, *, side=7):
    """A VGG of torchvision's as timm has it: a head of convolutions, of which the first is as large as its map."""
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    sides = {"classifier.0.weight": side, "classifier.3.weight": 1}
    found = {}
    for name, array in arrays.items():
        layer, _, parameter = name.rpartition(".")
        if name in sides:
            array = array.reshape(len(array), -1, sides[name], sides[name])
        found[f"{names.get(layer, layer)}.{parameter}"] = array
    return found
