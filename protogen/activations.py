"""Activations as functions that blocks take: ReLU, and those that Caffe lacks, composed of layers that it has.

>>> from protogen import NetBuilder
>>> b = NetBuilder()
>>> hard_swish(b, b.input("data", (1, 3, 8, 8)), "swish")
'swish'
>>> [layer.type for layer in b.build().layers]
['Input', 'Power', 'ReLU6', 'Power', 'Eltwise']
"""

from __future__ import annotations

from collections.abc import Callable

from .builder import NetBuilder

__all__ = ["Activation", "hard_sigmoid", "hard_swish", "relu", "relu6"]

Activation = Callable[[NetBuilder, str, str], str]  # builder, blob and the layer's name to the blob after it


def relu(b: NetBuilder, x: str, name: str) -> str:
    """`NetBuilder.relu` in place, as an activation to pass around.

    Args:
        b: the builder.
        x: any blob.
        name: of the layer.
    """
    return b.relu(x, name=name)


def relu6(b: NetBuilder, x: str, name: str, *, clip: bool = False) -> str:
    """min(max(x, 0), 6) in place.

    Args:
        b: the builder.
        x: any blob.
        name: of the layer.
        clip: a Clip, which BVLC's Caffe has since 2018; otherwise a ReLU6 of the MobileNet forks, which OpenCV, ncnn and most
            toolchains of chips read.

    >>> b = NetBuilder()
    >>> relu6(b, b.input("data", (1, 3, 8, 8)), "six", clip=True), b.build().layers[1].type
    ('data', 'Clip')
    """
    return b.layer("Clip", x, name=name, in_place=True, min=0, max=6) if clip else b.relu6(x, name=name)


def hard_sigmoid(b: NetBuilder, x: str, name: str, *, clip: bool = False) -> str:
    """relu6(x + 3) / 6, for which Caffe has no layer: two Power layers around a `relu6`.

    Args:
        b: the builder.
        x: any blob.
        name: of the last layer and its top; the others are `<name>/shift` and `<name>/relu6`.
        clip: as for `relu6`.
    """
    y = b.layer("Power", x, name=f"{name}/shift", shift=3)
    return b.layer("Power", relu6(b, y, f"{name}/relu6", clip=clip), name=name, scale=1 / 6)


def hard_swish(b: NetBuilder, x: str, name: str, *, clip: bool = False) -> str:
    """x * hard_sigmoid(x), for which Caffe has no layer: the layers of `hard_sigmoid`, and an Eltwise (MobileNet v3).

    Args:
        b: the builder.
        x: any blob.
        name: of the Eltwise and its top; the gate is `<name>/gate`.
        clip: as for `relu6`.
    """
    return b.eltwise(x, hard_sigmoid(b, x, f"{name}/gate", clip=clip), operation="PROD", name=name)
