"""Networks as a person writes them in PyTorch, and the same ones from `protogen`: what `bench_torch` holds against each other."""

from __future__ import annotations

import torch
from torch import nn

import protogen

GROWTH, STEM, BLOCKS, WIDTHS = 32, 32, (3, 4, 8, 6), (1, 2, 4, 4)


class ConvUnit(nn.Sequential):
    """Convolution, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU(inplace=True))


class Stem(nn.Module):
    """Quarter the size in two ways: (N, 3, H, W) to (N, `channels`, H / 4, W / 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvUnit(3, channels, 3, 2)
        self.narrow = ConvUnit(channels, channels // 2, 1)
        self.down = ConvUnit(channels // 2, channels, 3, 2)
        self.pool = nn.MaxPool2d(2, 2)
        self.last = ConvUnit(2 * channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(torch.cat((self.down(self.narrow(x)), self.pool(x)), 1))


class DenseLayer(nn.Module):
    """Two branches, which see 3x3 and 5x5 pixels, beside what comes in."""

    def __init__(self, inputs: int, growth: int, width: int) -> None:
        super().__init__()
        half, inner = growth // 2, growth // 2 * width
        self.small = nn.Sequential(ConvUnit(inputs, inner, 1), ConvUnit(inner, half, 3))
        self.large = nn.Sequential(ConvUnit(inputs, inner, 1), ConvUnit(inner, half, 3), ConvUnit(half, half, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, self.small(x), self.large(x)), 1)


class PeleeNet(nn.Module):
    """PeleeNet (Wang, Li, Ling, NeurIPS 2018), the form that `protogen.models.peleenet()` has."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [Stem(STEM)]
        channels = STEM
        for stage, (count, width) in enumerate(zip(BLOCKS, WIDTHS)):
            for _ in range(count):
                layers.append(DenseLayer(channels, GROWTH, width))
                channels += GROWTH
            layers.append(ConvUnit(channels, channels, 1))
            if stage < len(BLOCKS) - 1:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores before the softmax: (N, 3, H, W) to (N, `classes`)."""
        return self.classifier(self.features(x).mean((2, 3)))


def peleenet(phase: str, batch: int) -> protogen.Net:
    """PeleeNet of `protogen`: scores in TEST, the loss of them in TRAIN."""
    net = protogen.models.peleenet(batch=batch, phase=phase)
    if phase == "TRAIN":
        return net.at(inputs={"data": (batch, 3, 224, 224), "label": (batch,)})
    return net.cut(outputs=["classifier"])


def resnet50(phase: str, batch: int) -> protogen.Net:
    """ResNet-50 as torchvision has it (strides in the 3x3 convolutions), from `protogen`'s blocks."""
    b = protogen.NetBuilder("ResNet-50", phase=phase, defaults={"BatchNorm": {"eps": 1e-5}})
    x = b.input("data", (batch, 3, 224, 224))
    x = b.pool(b.conv_block(x, 64, 7, stride=2, pad=3), "MAX", 3, stride=2)
    for stage, count in enumerate((3, 4, 6, 3)):
        for i in range(count):
            stride = 2 if stage and not i else 1
            x = residual(b, x, 64 << stage, stride, first=not i)
    x = b.fc(b.global_pool(x), 1000)
    if phase == "TRAIN":
        b.softmax_loss(x, b.input("label", (batch,)))
    return b.build()


def residual(b: protogen.NetBuilder, x: str, channels: int, stride: int, first: bool) -> str:
    """One bottleneck of ResNet-50; the first of a stage has a convolution in its shortcut."""
    y = b.conv_block(x, channels, 1)
    y = b.conv_block(y, channels, 3, stride=stride)
    y = b.conv_block(y, 4 * channels, 1, relu=False)
    shortcut = b.conv_block(x, 4 * channels, 1, stride=stride, relu=False) if first else x
    return b.relu(b.eltwise(shortcut, y))
