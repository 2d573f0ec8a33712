"""Small layers and networks: right fields of each."""

from experiments.benchmarks.wrong_arguments.matrix import Arguments

CALLS: dict[str, Arguments] = {
    "layers.BasicBlock": lambda: dict(features=4),
    "layers.BottleneckBlock": lambda: dict(features=4, shortcut="B"),
    "layers.Conv": lambda: dict(features=4),
    "layers.ConvBlock": lambda: dict(features=4, factor=2, downsample="max_blur"),
    "layers.ConvTranspose": lambda: dict(features=4, strides=2),
    "layers.GroupConv": lambda: dict(features=2),
    "layers.GroupMapPool": lambda: dict(downsample="max"),
    "layers.LearnedPolyphase": dict,
    "layers.LiftingConv": lambda: dict(features=2),
    "layers.Norm": dict,
    "layers.Pool": lambda: dict(downsample="max_blur", window=3),
    "layers.SqueezeExcite": lambda: dict(reduction=2),
    "layers.StochasticDepth": lambda: dict(survival=0.5),
    "models.AlexNet": lambda: dict(
        num_classes=2, widths=(4,) * 5, kernel_sizes=(3,) * 5, stem_stride=1, dense_widths=(4, 4)
    ),
    "models.AllConv": lambda: dict(num_classes=2, widths=(4, 4), depth=1, head_width=4),
    "models.LeNet5": lambda: dict(num_classes=2, widths=(2, 2), dense_widths=(4, 4)),
    "models.MLP": lambda: dict(num_classes=2, widths=(4,)),
    "models.ResNet": lambda: dict(num_classes=2, widths=(4, 4), depth=1),
    "models.VGG": lambda: dict(num_classes=2, widths=(4, 4), depth=(1, 1), dense_widths=(4, 4)),
    "models.ViT": lambda: dict(num_classes=2, width=4, depth=1, heads=2),
}
