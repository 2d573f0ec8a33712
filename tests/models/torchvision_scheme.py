"""The names and shapes in the files that torchvision publishes, written out layer by layer from its naming scheme."""

RESNETS = {
    "resnet18": (1, (2, 2, 2, 2)),
    "resnet34": (1, (3, 4, 6, 3)),
    "resnet50": (4, (3, 4, 6, 3)),
    "resnet101": (4, (3, 4, 23, 3)),
    "resnet152": (4, (3, 8, 36, 3)),
}


def resnet_shapes(expansion, depths, *, widths=(64, 128, 256, 512), num_classes=1000, counters=True):
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
                branch = [(width, channels, 1), (width, width, 3), (features, width, 1)]
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
