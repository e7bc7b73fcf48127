"""ResNet: convolutions learn what to add to their input. Also its wide form, and ResNeXt, whose 3x3 convolutions have groups.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016.
Zagoruyko, Komodakis: Wide Residual Networks, BMVC 2016.
Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..blocks import Names, average, conv_norm, norm, underscores
from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, stages
from .registry import chosen, model, variant

resnet_solver = imagenet_solver("resnet", base_lr=0.1, epochs=90, batch=256, step_epochs=30, weight_decay=1e-4)


def he_names(name: str, part: str) -> str:
    """Names of the authors' files: res2a_branch1 has bn2a_branch1 and scale2a_branch1, conv1 has bn_conv1."""
    if part == "relu":
        return f"{name}_relu"
    return part + name.removeprefix("res") if name.startswith("res") else f"{part}_{name}"


@dataclass(frozen=True)
class Preset:
    """How published definitions differ.

    Attributes:
        stride_first: bottlenecks stride in their first 1x1 convolution, not in the 3x3.
        projection_first: the shortcut's projection comes before the convolutions, not after them.
        pool: further settings of the first pooling.
        names: of BatchNorm, Scale and ReLU.
        convs, projection, sum: what a block's layers are called after the block.
        classifier: name of the last layer; by default fc with the number of classes.
    """

    stride_first: bool = False
    projection_first: bool = False
    pool: Mapping[str, Any] = field(default_factory=lambda: {"pad": 1, "ceil_mode": False})
    names: Names = he_names
    convs: Sequence[str] = ("_branch2a", "_branch2b", "_branch2c")
    projection: str = "_branch1"
    sum: str = ""
    classifier: str | None = None


PRESETS = {
    "msra": Preset(stride_first=True, projection_first=True, pool={}),
    "torchvision": Preset(),
    "soeaver": Preset(
        names=underscores,
        convs=("_conv1", "_conv2", "_conv3"),
        projection="_match_conv",
        sum="_elewise",
        classifier="classifier",
    ),
}


def residual_block(
    b: NetBuilder, x: str, convs: Sequence[tuple[int, int]], style: Preset, *, name: str, stride: int, group: int | None
) -> str:
    """A block: convolutions, whose result is added to x, or to a 1x1 projection of x where the shapes differ.

    Args:
        b: the builder.
        x: (N, C, H, W).
        convs: output channels and kernel of each convolution.
        style: names, and where the stride is.
        name: of the block.
        stride: of one of the convolutions, and of the projection.
        group: groups of the 3x3 convolution of bottlenecks.
    """
    settings: dict[str, Any] = {"names": style.names, "weight_filler": "msra"}
    strided = 0 if style.stride_first or len(convs) == 2 else 1

    def residual() -> str:
        y = x
        for i, (num_output, kernel_size) in enumerate(convs):
            y = conv_norm(
                b, y, num_output, kernel_size, stride=stride if i == strided else 1, group=group if kernel_size == 3 else None,
                relu=i < len(convs) - 1, name=name + style.convs[i], **settings,
            )  # fmt: skip
        return y

    def shortcut() -> str:
        if stride == 1 and b.channels(x) == convs[-1][0]:
            return x
        return conv_norm(b, x, convs[-1][0], 1, stride=stride, relu=False, name=name + style.projection, **settings)

    with b.scope(name, prefix=False):
        if style.projection_first:
            carried, learned = shortcut(), residual()
        else:
            learned, carried = residual(), shortcut()
        return b.relu(b.eltwise(carried, learned, name=name + style.sum), name=f"{name}{style.sum}_relu")


@model(
    paper="He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR",
    year=2016,
    solver=resnet_solver,
    choices={"preset": PRESETS},
)
def resnet(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    block: Literal["basic", "bottleneck"] = "bottleneck",
    layers: Sequence[int] = (3, 4, 6, 3),
    width: int = 64,
    groups: int = 1,
    preset: str | None = None,
    name: str | None = None,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """ResNet with any numbers of blocks per stage; ResNet-50 by default.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        block: "basic" (two 3x3 convolutions, as in ResNet-18 and 34) or "bottleneck" (1x1, 3x3, 1x1).
        layers: blocks in each of the four stages.
        width: channels of the 3x3 convolutions in the first stage's bottlenecks; those of the other stages have 2, 4 and 8 times
            as many.
        groups: of the 3x3 convolutions of bottlenecks.
        preset: "msra" (the authors' files; their weights of ResNet-50, 101 and 152 fit), "torchvision" (bottlenecks stride in the
            3x3 convolution, the first pooling pads; torchvision's weights fit) or "soeaver" (as "torchvision", with the names of
            soeaver/caffe-model); by default "msra" for plain ResNets of bottlenecks, otherwise "torchvision".
        name: name of the net; by default after the number of layers with weights.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = resnet()
    >>> len(net.layers), net.param_count, net.macs
    (229, 25557096, 3857973248)
    """
    kind = "ResNeXt" if groups > 1 else "ResNet" if width == 64 else "Wide-ResNet"
    preset = preset or ("msra" if kind == "ResNet" and block == "bottleneck" else "torchvision")
    style = chosen(preset, PRESETS)
    chosen(block, {"basic": "", "bottleneck": ""}, "block")
    check_positive(classes=classes, width=width, groups=groups)
    stages(layers, 4, "layers")
    if block == "basic" and (width, groups) != (64, 1):
        raise NetError(
            "width and groups are those of bottlenecks; basic blocks have 64 channels in the first stage, and no groups"
        )
    depth = (2 if block == "basic" else 3) * sum(layers) + 2
    b = classifier(f"{kind}-{depth}" if name is None else name, phase)
    x = images(b, size, batch=batch, phase=phase, train_batch=256)
    # The authors' ResNet-50 has a bias here, which BatchNorm takes out again.
    biased = preset == "msra" and kind == "ResNet" and tuple(layers) == (3, 4, 6, 3) and block == "bottleneck"
    param = WEIGHT_AND_BIAS if biased and phase == "TRAIN" else None
    x = b.conv(x, 64, 7, stride=2, pad=3, bias_term=biased, weight_filler="msra", name="conv1", param=param)
    x = norm(b, x, "conv1", names=style.names)
    x = b.pool(x, "MAX", 3, stride=2, name="pool1", **style.pool)
    number = 0
    for stage, count in enumerate(layers):
        channels, inner = 64 * 2**stage, width * 2**stage
        convs = [(channels, 3)] * 2 if block == "basic" else [(inner, 1), (inner, 3), (4 * channels, 1)]
        for i in range(count):
            number += 1
            called = f"{'resx' if groups > 1 else 'res'}{number}" if preset == "soeaver" else _letters(layers, stage, i)
            stride = 2 if i == 0 and stage > 0 else 1
            x = residual_block(b, x, convs, style, name=called, stride=stride, group=groups if groups > 1 else None)
    x = average(b, x, 7, "pool5") if preset == "msra" else b.global_pool(x, name="pool_ave" if style.classifier else "pool5")
    x = b.fc(x, classes, weight_filler="msra", bias_filler="constant", name=style.classifier or f"fc{classes}")
    return classified(b, x, phase)


def _letters(layers: Sequence[int], stage: int, i: int) -> str:
    """Name of a block as in the authors' files: res2a, res2b; in the long stages of deep nets res4a, res4b1, res4b2."""
    if max(layers) > 6 and layers[stage] > 3:
        return f"res{stage + 2}b{i}" if i else f"res{stage + 2}a"
    return f"res{stage + 2}{chr(ord('a') + i)}"


_PLAIN: dict[str, Any] = {"width": 64, "groups": 1}
resnet18 = variant(resnet, "resnet18", "ResNet-18, of basic blocks.", block="basic", layers=(2, 2, 2, 2), **_PLAIN)
resnet34 = variant(resnet, "resnet34", "ResNet-34, of basic blocks.", block="basic", layers=(3, 4, 6, 3), **_PLAIN)
resnet50 = variant(resnet, "resnet50", "ResNet-50, of bottlenecks.", block="bottleneck", layers=(3, 4, 6, 3), **_PLAIN)
resnet101 = variant(
    resnet, "resnet101", "ResNet-101, of bottlenecks.", block="bottleneck", layers=(3, 4, 23, 3), width=64, groups=1
)
resnet152 = variant(
    resnet, "resnet152", "ResNet-152, of bottlenecks.", block="bottleneck", layers=(3, 8, 36, 3), width=64, groups=1
)
wide_resnet50_2 = variant(
    resnet,
    "wide_resnet50_2",
    "Wide ResNet-50-2, whose 3x3 convolutions have twice the channels.",
    paper="Zagoruyko, Komodakis: Wide Residual Networks, BMVC",
    year=2016,
    block="bottleneck",
    layers=(3, 4, 6, 3),
    width=128,
    groups=1,
)
wide_resnet101_2 = variant(
    resnet,
    "wide_resnet101_2",
    "Wide ResNet-101-2, whose 3x3 convolutions have twice the channels.",
    paper="Zagoruyko, Komodakis: Wide Residual Networks, BMVC",
    year=2016,
    block="bottleneck",
    layers=(3, 4, 23, 3),
    width=128,
    groups=1,
)
resnext50 = variant(
    resnet,
    "resnext50",
    "ResNeXt-50 (32x4d): 3x3 convolutions of 32 groups.",
    paper="Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, CVPR",
    year=2017,
    block="bottleneck",
    layers=(3, 4, 6, 3),
    width=128,
    groups=32,
)
resnext101 = variant(
    resnet,
    "resnext101",
    "ResNeXt-101 (32x8d): 3x3 convolutions of 32 groups.",
    paper="Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, CVPR",
    year=2017,
    block="bottleneck",
    layers=(3, 4, 23, 3),
    width=256,
    groups=32,
)
