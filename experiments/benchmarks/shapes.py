"""The convolutions of well-known networks, each shape once."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ConvShape:
    """A square convolution: `batch` maps of `size`² × `channels`, a `kernel`² window, `features` outputs."""

    network: str
    batch: int
    size: int
    channels: int
    features: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1

    def __str__(self) -> str:
        extras = [f"/{self.stride}"] if self.stride > 1 else []
        extras += [f", {self.groups} groups"] if self.groups > 1 else []
        return f"{self.channels}→{self.features}, {self.kernel}×{self.kernel}{''.join(extras)} at {self.size}²"

    @property
    def out_size(self) -> int:
        """Side of the output map."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def flops(self) -> int:
        """Multiplications and additions of one pass, forward or either gradient."""
        macs = self.batch * self.out_size**2 * self.features * self.kernel**2 * self.channels // self.groups
        return 2 * macs


def _resnet20() -> list[ConvShape]:
    shapes = [ConvShape("ResNet-20", 128, 32, 3, 16), ConvShape("ResNet-20", 128, 32, 16, 16)]
    for size, width in ((32, 32), (16, 64)):
        shapes.append(ConvShape("ResNet-20", 128, size, width // 2, width, stride=2))
        shapes.append(ConvShape("ResNet-20", 128, size // 2, width, width))
    return shapes


def _resnet18() -> list[ConvShape]:
    shapes = [ConvShape("ResNet-18", 64, 32, 3, 64), ConvShape("ResNet-18", 64, 32, 64, 64)]
    for size, width in ((32, 128), (16, 256), (8, 512)):
        shapes.append(ConvShape("ResNet-18", 64, size, width // 2, width, stride=2))
        shapes.append(ConvShape("ResNet-18", 64, size, width // 2, width, kernel=1, stride=2, padding=0))
        shapes.append(ConvShape("ResNet-18", 64, size // 2, width, width))
    return shapes


def _alexnet() -> list[ConvShape]:
    """The two towers of Krizhevsky et al. 2012: groups where a tower reads only its own half."""
    return [
        ConvShape("AlexNet", 16, 224, 3, 96, kernel=11, stride=4, padding=2),
        ConvShape("AlexNet", 16, 27, 96, 256, kernel=5, padding=2, groups=2),
        ConvShape("AlexNet", 16, 13, 256, 384),
        ConvShape("AlexNet", 16, 13, 384, 384, groups=2),
        ConvShape("AlexNet", 16, 13, 384, 256, groups=2),
    ]


def _depthwise() -> list[ConvShape]:
    """A depthwise separable block (Howard et al. 2017)."""
    return [
        ConvShape("depthwise", 64, 32, 64, 64, groups=64),
        ConvShape("depthwise", 64, 32, 64, 64, stride=2, groups=64),
        ConvShape("depthwise", 64, 32, 64, 128, kernel=1, padding=0),
    ]


SHAPES = (*_resnet20(), *_resnet18(), *_alexnet(), *_depthwise())
