"""What nets that label every pixel share: their first and last layers.

>>> from ..builder import NetBuilder
>>> b = NetBuilder("Own", phase="TRAIN")
>>> x = pixels(b, (32, 48), batch=1, phase="TRAIN")
>>> x = b.conv(b.conv_block(x, 8), 5, 1, name="score")
>>> segmented(b, x, "TRAIN").shapes["label"]
(1, 1, 32, 48)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..training import is_train
from .common import check_positive, image_size

# The layer types that read an image and a map of labels for it, and their parameters: each belongs to a fork of Caffe.
READERS = {
    "DenseImageData": "dense_image_data_param",  # SegNet's
    "ImageSegData": "image_data_param",  # DeepLab's, which PSPNet's continues
    "ImageLabelmapData": "image_data_param",  # HED's
}
BLUE_GREEN_RED = (104.00699, 116.66877, 122.67892)  # mean of ImageNet's pixels


def pixels(
    b: NetBuilder, size: int | Sequence[int], *, batch: int, phase: str, channels: int = 3, reader: str = "DenseImageData",
    mean: Sequence[float] = (), train: str = "train.txt", val: str = "val.txt",
) -> str:  # fmt: skip
    """Add what a net for pixels reads: the Input of a deploy net, or layers that read pairs of image files.

    Caffe itself has no such layer; `reader` is one of a fork. They resize both images, so that the blobs' shapes are known.

    Args:
        b: the builder.
        size: of the image in pixels; one number for a square.
        batch: images per pass.
        phase: the model's own option.
        channels: of the image; 1 or 3 in a train/val net.
        reader: layer type of the train/val net.
        mean: subtracted from the image, for types that can.
        train, val: files with the names of an image and of its labels in each line.

    Returns:
        The images (batch, channels, height, width).

    Raises:
        NetError: a value is out of range.
    """
    height, width = image_size(size)
    check_positive(batch=batch, channels=channels)
    if not is_train(phase):
        return b.input("data", (batch, channels, height, width))
    if channels not in (1, 3):
        raise NetError(f"{reader} reads images of 1 or 3 channels, not {channels}")
    resized = {"new_height": height, "new_width": width, "is_color": None if channels == 3 else False}
    for each, source in (("TRAIN", train), ("TEST", val)):
        settings = {"source": source, "batch_size": batch, "shuffle": True if each == "TRAIN" else None, **resized}
        param: dict[str, Any] = {READERS[reader]: {name: value for name, value in settings.items() if value is not None}}
        transform: dict[str, Any] = {"transform_param": {"mean_value": list(mean)}} if mean else {}
        b.layer(reader, name="data", top=["data", "label"], include={"phase": each}, **param, **transform)
    return "data"


def segmented(
    b: NetBuilder, scores: str, phase: str, *, label: str = "label", ignore_label: int | None = 255, prob: str | None = "prob",
    loss: Mapping[str, Any] | None = None,
) -> Net:  # fmt: skip
    """Add what comes after the scores of all pixels, and return the net: a Softmax, or in a train/val net loss and accuracy.

    Args:
        b: the builder.
        scores: (N, classes, H, W).
        phase: the model's own option.
        label: (N, 1, H, W), the correct classes.
        ignore_label: of pixels that do not count.
        prob: name of the Softmax; None for none.
        loss: further fields of the loss's parameters.
    """
    if is_train(phase):
        ignored = {} if ignore_label is None else {"ignore_label": ignore_label}
        b.softmax_loss(scores, label, name="loss", loss_param={**ignored, **(loss or {})})
        b.accuracy(scores, label, name="accuracy", include={"phase": "TEST"}, **ignored)
    elif prob is not None:
        b.softmax(scores, name=prob)
    return b.build()
