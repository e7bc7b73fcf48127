"""The preprocessing that a net's own data layer states, as the preprocessing inside an ONNX model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import ConversionError
from ...graph.cut import inference_part
from ...graph.transforms import transforms
from .options import OnnxOptions, Preprocess

if TYPE_CHECKING:
    import numpy as np

    from ...graph.graph import Graph
    from ...layers.transform import Transform

_OPTION = "--preprocess-from-data (preprocess_from_data=True)"


def with_data_preprocessing(options: OnnxOptions, graph: Graph) -> OnnxOptions:
    """Return the options with the mean and scale of the graph's data layer, if they ask for it, else as they are.

    As in Caffe, the image's values become (x - mean) * scale; of a mean image larger than the input, the centre counts.

    Args:
        options: those with `preprocess_from_data`; its `preprocess` may swap channels and take another layout.
        graph: with the data layer.

    Raises:
        ConversionError: there is no data layer of images, there are several, or what it does cannot be built in.
        WeightsError: the mean image is damaged.
    """
    if not options.preprocess_from_data:
        return options
    stated = transforms(graph)
    if len(stated) != 1:
        layers = ", ".join(map(str, stated.values()))
        none = "none of this net's inputs comes from a data layer with transform_param; a train/val file has one"
        reason = f"there are several: {layers}" if stated else f"{none}, or state --mean and --scale"
        raise ConversionError(f"{_OPTION} needs one data layer whose preprocessing to build in; {reason}")
    (name, transform), own = next(iter(stated.items())), options.preprocess or Preprocess()
    if transform.others:
        listed = ", ".join(transform.others)
        raise ConversionError(
            f"data layer {transform.layer!r}: {listed} is not computed; give --mean and --scale instead of {_OPTION}"
        )
    shape = next(value.shape for value in inference_part(graph).inputs if value.name == name)
    mean: Any = transform.means or 0.0
    if transform.mean_file:
        mean = _mean_image(transform, shape, graph.origins)
    preprocess = Preprocess(mean, transform.scale, own.swap_rb, own.nhwc, input=name)
    used = transform.changes_values or own.swap_rb or own.nhwc
    return replace(options, preprocess=preprocess if used else None, preprocess_from_data=False)


def _mean_image(transform: Transform, shape: Sequence[int], origins: Sequence[str]) -> np.ndarray:
    """Read a data layer's mean image and return its centre (C, H, W), of the size of the net's images."""
    from ...weights import binaryproto

    where = f"data layer {transform.layer!r}"
    if transform.means:
        raise ConversionError(f"{where}: has both mean_value and mean_file, which Caffe refuses")
    path = _mean_path(transform, where, origins)
    blob = binaryproto.read(path)
    size = tuple(shape[1:])
    if blob.ndim == 4 and len(blob) == 1 and len(size) == 3:
        top, left = ((have - want) // 2 for have, want in zip(blob.shape[2:], size[1:]))
        if min(top, left) >= 0 and blob.shape[1] == size[0]:
            return blob[0, :, top : top + size[1], left : left + size[2]]
    raise ConversionError(
        f"{where}: {path} holds a mean of shape {blob.shape}, which has no part of the shape of the images, {size}"
    )


def _mean_path(transform: Transform, where: str, origins: Sequence[str]) -> str:
    """The path of the mean image: as the prototxt has it, or seen from the prototxt."""
    file, origin = transform.mean_file, origins[0] if origins else ""
    paths = [file, *([os.path.join(os.path.dirname(origin), file)] if os.path.isfile(origin) else [])]
    for path in paths:
        if os.path.isfile(path):
            return path
    scale = f" --scale {transform.scale:g}" if transform.scale != 1 else ""
    raise ConversionError(
        f"{where}: its mean image {file!r} is not here; put it there, seen from this folder or from the prototxt's, or "
        f"use its channels' means: --mean FILE.binaryproto{scale} in place of {_OPTION}"
    )
