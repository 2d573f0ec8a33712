"""Convolutional networks of the literature in plain PyTorch, as torchvision and timm write them, but small."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def conv_bn(inputs, outputs, k=3, stride=1, groups=1, act=nn.ReLU, dilation=1):
    layers = [nn.Conv2d(inputs, outputs, k, stride, dilation * (k // 2), dilation, groups, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), *([act()] if act else []))


class Classifier(nn.Sequential):
    """Layers, then the mean over the map and a linear layer."""

    def __init__(self, *layers, channels, classes=5):
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(channels, classes))


class VGG(nn.Module):
    def __init__(self, norm):
        super().__init__()
        layers, channels = [], 3
        for width in (4, "M", 6, 6, "M"):
            if width == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else [])]
            layers.append(nn.ReLU(inplace=True))
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((3, 3))
        head = [nn.Linear(6 * 9, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 5)]
        self.classifier = nn.Sequential(*head)

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, act=nn.ReLU, gate=nn.Sigmoid):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Conv2d(channels, 2, 1), act(), nn.Conv2d(2, channels, 1), gate())

    def forward(self, x):
        return x * self.fc(self.pool(x))


class Bottleneck(nn.Module):
    def __init__(self, inputs, outputs, stride=1, width=4, groups=1, excite=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.se = SqueezeExcite(outputs) if excite else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        change = stride > 1 or inputs != outputs
        self.downsample = conv_bn(inputs, outputs, 1, stride, act=None) if change else None

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.se(self.bn3(self.conv3(y)))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        change = stride > 1 or inputs != outputs
        self.downsample = conv_bn(inputs, outputs, 1, stride, act=None) if change else None

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's: `depths` blocks in stages of doubling width."""

    def __init__(self, block, depths=(1, 1), width=4, classes=5, **options):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, depth in enumerate(depths, start=1):
            outputs, blocks = width * 2 ** (stage - 1), []
            for number in range(depth):
                blocks.append(block(inputs, outputs, 2 if stage > 1 and number == 0 else 1, **options))
                inputs = outputs
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, features):
        x = torch.cat(features, 1)
        return self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.block = nn.ModuleList(DenseLayer(4 + 3 * i, 3) for i in range(3))
        self.transition = nn.Sequential(nn.BatchNorm2d(13), nn.ReLU(), nn.Conv2d(13, 6, 1), nn.AvgPool2d(2, 2))
        self.norm, self.classifier = nn.BatchNorm2d(6), nn.Linear(6, 5)

    def forward(self, x):
        features = [self.stem(x)]
        for layer in self.block:
            features.append(layer(features))
        x = F.relu(self.norm(self.transition(torch.cat(features, 1))), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class Inception(nn.Module):
    """Branches with other windows; 1×7 and 7×1; ceil mode; pooling that leaves out the padding."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.MaxPool2d(3, 2, ceil_mode=True))
        self.one = nn.Conv2d(4, 2, 1)
        self.seven = nn.Sequential(nn.Conv2d(4, 2, (1, 7), padding=(0, 3)), nn.Conv2d(2, 3, (7, 1), padding=(3, 0)))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), nn.Conv2d(4, 2, 1))
        self.project = nn.Conv2d(4, 2, 1)
        self.fc = nn.Linear(9, 5)

    def forward(self, x):
        x = self.stem(x)
        average = self.project(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        x = torch.cat([F.relu(self.one(x)), self.seven(x), self.pool(x), average], 1)
        return self.fc(F.relu(x).mean((2, 3)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expand, k=3, act=nn.ReLU6, excite=None):
        super().__init__()
        hidden = inputs * expand
        self.conv = nn.Sequential(
            conv_bn(inputs, hidden, 1, act=act),
            conv_bn(hidden, hidden, k, stride, groups=hidden, act=act),
            excite(hidden) if excite else nn.Identity(),
            conv_bn(hidden, outputs, 1, act=None),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


def mobilenet_v2():
    stem = conv_bn(3, 4, 3, 2, act=nn.ReLU6)
    return Classifier(stem, InvertedResidual(4, 4, 1, 3), InvertedResidual(4, 6, 2, 3), channels=6)


def mobilenet_v3():
    def excite(channels):
        return SqueezeExcite(channels, nn.ReLU, nn.Hardsigmoid)

    blocks = [
        InvertedResidual(4, 4, 1, 2, act=nn.Hardswish, excite=excite),
        InvertedResidual(4, 6, 2, 2, 5, nn.Hardswish),
    ]
    return Classifier(conv_bn(3, 4, 3, 2, act=nn.Hardswish), *blocks, channels=6)


def efficientnet():
    def excite(channels):
        return SqueezeExcite(channels, nn.SiLU)

    blocks = [InvertedResidual(4, 4, 1, 2, 3, nn.SiLU, excite), InvertedResidual(4, 6, 2, 2, 5, nn.SiLU, excite)]
    return Classifier(conv_bn(3, 4, 3, 2, act=nn.SiLU), *blocks, conv_bn(6, 8, 1, act=nn.SiLU), channels=8)


def regnet():
    """Radosavovic et al. 2020: bottlenecks without a narrow middle, in groups, with squeeze and excitation (Y)."""
    block = dict(width=8, groups=2, excite=True)
    return Classifier(conv_bn(3, 4, 3, 2), Bottleneck(4, 8, 2, **block), Bottleneck(8, 8, 1, **block), channels=8)


def shuffle(x, groups):
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, channels, height, width)


class ShuffleUnit(nn.Module):
    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv_bn(half, half, 1), conv_bn(half, half, 3, 1, half, act=None), conv_bn(half, half, 1)
        )

    def forward(self, x):
        kept, changed = x.chunk(2, dim=1)
        return shuffle(torch.cat((kept, self.branch(changed)), dim=1), 2)


def shufflenet():
    return Classifier(conv_bn(3, 6, 3, 2), ShuffleUnit(6), ShuffleUnit(6), channels=6)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim, grn=False):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 0.5))
        self.grn = nn.Parameter(torch.full((1, 1, 1, 2 * dim), 0.3)) if grn else None

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.act(self.pwconv1(y))
        if self.grn is not None:
            norm = torch.norm(y, p=2, dim=(1, 2), keepdim=True)
            y = self.grn * (y * (norm / (norm.mean(dim=-1, keepdim=True) + 1e-6))) + y
        return x + (self.gamma * self.pwconv2(y)).permute(0, 3, 1, 2)


def convnext(grn=False):
    stem = nn.Sequential(nn.Conv2d(3, 4, 4, 4), LayerNorm2d(4))
    down = nn.Sequential(LayerNorm2d(4), nn.Conv2d(4, 6, 2, 2))
    return Classifier(stem, ConvNeXtBlock(4, grn), down, ConvNeXtBlock(6, grn), LayerNorm2d(6), channels=6)


class BlurPool(nn.Module):
    """Zhang 2019, as in his antialiased-cnns: a fixed filter behind a reflected border."""

    def __init__(self, channels, taps=4):
        super().__init__()
        line = torch.tensor([float(math.comb(taps - 1, j)) for j in range(taps)])
        filt = line[:, None] * line[None, :] / line.sum() ** 2
        self.register_buffer("filt", filt.repeat(channels, 1, 1, 1))
        before, after = (taps - 1) // 2, taps // 2
        self.pad, self.channels = nn.ReflectionPad2d((before, after, before, after)), channels

    def forward(self, x):
        return F.conv2d(self.pad(x), self.filt, stride=2, groups=self.channels)


def blurred_resnet():
    stem = [conv_bn(3, 4, 3), nn.MaxPool2d(2, 1), BlurPool(4)]
    return Classifier(*stem, BasicBlock(4, 4), conv_bn(4, 6, 3), BlurPool(6, 3), channels=6)


class PolyphasePool(nn.Module):
    """Chaman & Dokmanic 2021: of the four components of a map the one of the largest norm, for each image."""

    def forward(self, x):
        parts = torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=1)
        norms = torch.norm(parts, dim=(2, 3, 4), p=2)
        best = torch.argmax(norms, dim=1)
        return parts[torch.arange(x.shape[0]), best]


def polyphase_resnet():
    return Classifier(conv_bn(3, 4, 3), PolyphasePool(), BasicBlock(4, 4), PolyphasePool(), channels=4)


CONVOLUTIONAL = {
    "VGG": lambda: VGG(norm=False),
    "VGG with batch normalisation": lambda: VGG(norm=True),
    "ResNet of basic blocks": lambda: ResNet(BasicBlock),
    "ResNet of bottlenecks": lambda: ResNet(Bottleneck),
    "ResNeXt": lambda: ResNet(Bottleneck, width=4, groups=2),
    "Wide ResNet": lambda: ResNet(lambda i, o, s: Bottleneck(i, o, s, width=8)),
    "SE-ResNet": lambda: ResNet(Bottleneck, excite=True),
    "DenseNet": DenseNet,
    "Inception": Inception,
    "MobileNetV2": mobilenet_v2,
    "MobileNetV3": mobilenet_v3,
    "EfficientNet": efficientnet,
    "RegNet": regnet,
    "ShuffleNet": shufflenet,
    "ConvNeXt": convnext,
    "ConvNeXtV2": lambda: convnext(grn=True),
    "BlurPool ResNet": blurred_resnet,
    "adaptive polyphase ResNet": polyphase_resnet,
}
