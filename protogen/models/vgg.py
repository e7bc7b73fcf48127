"""VGG: stages of 3x3 convolutions with pooling in between, and three large layers at the end.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..blocks import norm, underscores
from ..net import Net
from ..training import BIASED, BVLC_DATA, imagenet_solver
from .common import check_positive, classified, classifier, constant, gaussian, images, stages
from .registry import model, variant

CHANNELS = (64, 128, 256, 512, 512)
TRAIN_BATCH, VAL_BATCH = 64, 50
vgg_solver = imagenet_solver(
    "vgg", base_lr=0.01, epochs=74, batch=TRAIN_BATCH, val_batch=VAL_BATCH, step_epochs=20, weight_decay=5e-4
)


@model(
    paper="Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR",
    year=2015,
    solver=vgg_solver,
)
def vgg(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    layers: Sequence[int] = (2, 2, 3, 3, 3),
    batch_norm: bool = False,
    name: str | None = None,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """VGG with any numbers of convolutions per stage; VGG-16 by default.

    Layers have the names of the authors' files, whose weights of VGG-16 and VGG-19 fit, as torchvision's do, at 224 x 224.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        layers: convolutions in each of the five stages.
        batch_norm: normalise after each convolution, as torchvision's vgg16_bn does.
        name: name of the net; by default after the number of layers with weights.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = vgg()
    >>> len(net.layers), net.param_count, net.macs
    (40, 138357544, 15470264320)
    """
    check_positive(classes=classes)
    stages(layers, len(CHANNELS), "layers")
    b = classifier(f"VGG_ILSVRC_{sum(layers) + 3}_layers" if name is None else name, phase, train=BIASED)
    x = images(b, size, batch=batch, phase=phase, **BVLC_DATA, train_batch=TRAIN_BATCH, val_batch=VAL_BATCH)
    for stage, (number, num_output) in enumerate(zip(layers, CHANNELS), 1):
        with b.scope(f"stage{stage}", prefix=False):
            for i in range(1, number + 1):
                conv = f"conv{stage}_{i}"
                x = b.conv(x, num_output, 3, pad=1, bias_filler=constant(0), name=conv)
                if batch_norm:
                    x = norm(b, x, conv, names=underscores, relu=False)
                x = b.relu(x, name=f"relu{stage}_{i}")
            x = b.pool(x, "MAX", 2, stride=2, name=f"pool{stage}")
    for i in (6, 7):
        x = b.fc(x, 4096, weight_filler=gaussian(0.005), bias_filler=constant(0), name=f"fc{i}")
        x = b.dropout(b.relu(x, name=f"relu{i}"), name=f"drop{i}")
    x = b.fc(x, classes, weight_filler=gaussian(0.01), bias_filler=constant(0), name="fc8")
    return classified(b, x, phase)


vgg11 = variant(vgg, "vgg11", "VGG-11, the paper's configuration A.", layers=(1, 1, 2, 2, 2))
vgg13 = variant(vgg, "vgg13", "VGG-13, the paper's configuration B.", layers=(2, 2, 2, 2, 2))
vgg16 = variant(vgg, "vgg16", "VGG-16, the paper's configuration D.", layers=(2, 2, 3, 3, 3))
vgg19 = variant(vgg, "vgg19", "VGG-19, the paper's configuration E.", layers=(2, 2, 4, 4, 4))
