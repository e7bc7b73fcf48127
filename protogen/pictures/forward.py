"""`run`: a picture through a net."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..arguments import float32, mapping, whole
from ..backends import BACKENDS
from ..backends.setting import Setting
from ..errors import ProtogenError, did_you_mean, some
from ..graph.batch import with_batch
from ..graph.cut import inference_part
from ..graph.transforms import transforms
from ..targets.onnx.from_data import with_data_preprocessing
from ..targets.onnx.options import OnnxOptions, Preprocess, of_preprocess
from .picture import fitted, read_picture, seen_part
from .result import Result, kinds_of

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph, Value
    from ..net import Net


def run(
    net: Net,
    picture: str | os.PathLike[str] | np.ndarray,
    preprocess: Preprocess | None = None,
    *,
    raw_scale: float = 255.0,
    channel_swap: Sequence[int] | None = None,
    from_data: bool = False,
    size: tuple[int, int] | None = None,
    labels: Mapping[int, str] | Sequence[str] | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    device: str = "cpu",
    backend: str = "torch",
) -> Result:
    """Run a net on a picture.

    The picture is resized to the net's height and width (or to `size`, and its centre taken), and then preprocessed as
    `preprocess` says. It is red, green, blue from 0 to 255: a net that was trained on blue, green, red, as most of Caffe's were,
    needs `swap_rb=True`.

    Args:
        net: the net; of a batch of several images, the net for one is used, or else all of them are this picture.
        picture: the file, or an array (H, W, 3) or (H, W, 1).
        preprocess: what happens to the picture's values; by default nothing. Its `input` names the blob, if several could be it.
        raw_scale: the picture's largest value before `preprocess`, as pycaffe's `set_raw_scale` has it.
        channel_swap: the picture's channels in the net's order, as in pycaffe: (2, 1, 0) is `swap_rb=True`.
        from_data: take mean, scale and the size before cropping from the net's data layer, and swap red and blue, as Caffe reads
            pictures as blue, green, red.
        size: height and width that the picture is warped to before its centre is cut out, as in pycaffe's classify.py.
        labels: names of classes by number, such as `protogen.pictures.labels.read_labels` returns, or a list of them.
        inputs: values of the net's other inputs.
        device: where PyTorch runs: "cpu", "cuda", "cuda:1".
        backend: "torch", "onnxruntime" or "opencv".

    Raises:
        ProtogenError: the picture cannot be read, the net has no input for a picture, preprocessing does not suit it, another
            input lacks values, or the backend cannot run it.

    >>> import numpy as np
    >>> import protogen
    >>> grey = np.full((40, 40, 1), 255.0)
    >>> result = run(protogen.models.lenet().fill(), grey, protogen.Preprocess(scale=1 / 256))
    >>> result.kinds, result.outputs["prob"].shape, len(result.classes(top=3))
    ({'prob': 'classes'}, (1, 10), 3)
    """
    if backend not in BACKENDS:
        raise ProtogenError(f"unknown backend {backend!r}{did_you_mean(backend, BACKENDS)} (backends: {', '.join(BACKENDS)})")
    if not 0 < raw_scale < math.inf:
        raise ProtogenError(f"raw_scale is the picture's largest value, a finite number above 0 such as 255, not {raw_scale!r}")
    if channel_swap is not None and (from_data or (preprocess is not None and preprocess.swap_rb)):
        raise ProtogenError("channel_swap says the order of the channels: leave out swap_rb, and what the data layer states")
    names, size = _by_number(labels), _sides(size)
    complete = net.known_part().graph()
    steps = replace(of_preprocess(preprocess) or Preprocess(), nhwc=True)
    if from_data:
        steps, size = _stated_by_data(complete, steps, size)
    graph = inference_part(complete)
    image = steps.image_of(graph.inputs)
    graph, image = _for_one(graph, image)
    array = _array(picture, image.shape[1])
    target = (image.shape[2], image.shape[3])
    part = fitted(array, target, size)
    part = part * (raw_scale / 255) if raw_scale != 255 else part
    blob = steps.apply(_swapped(part, channel_swap)[None]).repeat(image.shape[0], 0)
    feed = {image.name: blob, **_others(graph, image, mapping(inputs or {}, "inputs=", "{'im_info': array}"))}
    values = dict(BACKENDS[backend](graph, feed, Setting(outputs_only=True, device=device)))
    results = [value for value in graph.outputs if value not in graph.inputs] or graph.outputs
    outputs = {value.name: _first(values[value.name], value, image) for value in results}
    return Result(outputs, kinds_of(graph, outputs), array, names, seen_part(target, size))


def _by_number(labels: Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    if isinstance(labels, str) or not isinstance(labels, Mapping | Sequence | None):
        raise ProtogenError(f"labels= takes names of classes, as a list or by number, not {labels!r}; read_labels reads a file")
    return dict(labels) if isinstance(labels, Mapping) else dict(enumerate(labels or ()))


def _sides(size: Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    if isinstance(size, str) or not isinstance(size, Sequence) or len(size) != 2:
        raise ProtogenError(f"size= takes height and width, such as (256, 256), not {size!r}")
    height, width = (whole(side, "size=") for side in size)
    return height, width


def _stated_by_data(graph: Graph, steps: Preprocess, size: tuple[int, int] | None) -> tuple[Preprocess, tuple[int, int] | None]:
    """The preprocessing and the size before cropping that the net's data layer states."""
    options = with_data_preprocessing(OnnxOptions(preprocess=replace(steps, swap_rb=False), preprocess_from_data=True), graph)
    (name, transform), *_ = transforms(graph).items()
    found = options.preprocess or replace(steps, input=name)
    (channels,) = (value.shape[1] for value in inference_part(graph).inputs if value.name == name)
    return replace(found, swap_rb=channels == 3, nhwc=True), size or transform.resized


def _for_one(graph: Graph, image: Value) -> tuple[Graph, Value]:
    """The graph for a single image, if it works for one, or else as it is."""
    if image.shape[0] == 1:
        return graph, image
    try:
        single = with_batch(graph, 1, image)
    except ProtogenError:
        return graph, image
    place = graph.inputs.index(image)
    return single, single.inputs[place]


def _array(picture: str | os.PathLike[str] | np.ndarray, channels: int) -> np.ndarray:
    if channels not in (1, 3):
        raise ProtogenError(
            f"the net takes images of {channels} channels, and a picture has 3, or 1 of grey: give values instead"
        )
    if isinstance(picture, (str, os.PathLike)):
        return read_picture(picture, channels)
    array = float32(picture, "the picture")
    if array.ndim != 3 or array.shape[2] != channels or not array.size:
        raise ProtogenError(f"a picture for this net is an array (height, width, {channels}), not {array.shape}")
    return array


def _swapped(picture: np.ndarray, order: Sequence[int] | None) -> np.ndarray:
    if order is None:
        return picture
    if sorted(order) != list(range(picture.shape[2])):
        raise ProtogenError(
            f"channel_swap {tuple(order)} is no order of the picture's {picture.shape[2]} channels, such as 2,1,0"
        )
    return picture[..., list(order)]


def picture_values(path: str | os.PathLike[str], shape: Sequence[int], blue_first: bool, nhwc: bool) -> np.ndarray:
    """Return a picture as values of an input, from 0 to 255, warped to its height and width; the same for each of a batch.

    Args:
        path: the file.
        shape: of the blob, (N, C, H, W).
        blue_first: return blue, green, red rather than red, green, blue.
        nhwc: return (N, H, W, C).

    Raises:
        ProtogenError: the picture cannot be read, or the input takes none.
    """
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise ProtogenError(f"{os.fspath(path)}: an input of shape {tuple(shape)} takes no picture, which has 1 or 3 channels")
    part = fitted(read_picture(path, shape[1]), (shape[2], shape[3]), None)
    values = Preprocess(swap_rb=blue_first and shape[1] == 3, nhwc=True).apply(part[None]).repeat(shape[0], 0)
    return values.transpose(0, 2, 3, 1) if nhwc else values


def _others(graph: Graph, image: Value, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values of the inputs besides the image."""
    import numpy as np

    others = {value.name: value.shape for value in graph.inputs if value is not image}
    for name, value in values.items():
        if name not in others:
            raise ProtogenError(f"no other input {name!r}{did_you_mean(name, others)} (inputs: {', '.join(others) or 'none'})")
        if np.shape(value) != others[name]:
            raise ProtogenError(f"input {name!r} has shape {others[name]}, but its value has shape {np.shape(value)}")
    read = {value.name for node in graph.nodes for value in node.inputs}
    missing = [name for name in others if name not in values and name in read]
    if missing:
        raise ProtogenError(
            f"besides the picture, the net needs values of {some(missing)}: --input {missing[0]}=values.npy, or inputs= in Python"
        )
    unread = {name: np.zeros(shape, np.float32) for name, shape in others.items() if name not in read}
    return {**unread, **{name: float32(value, f"input {name!r}") for name, value in values.items()}}


def _first(array: np.ndarray, value: Value, image: Value) -> np.ndarray:
    """The part of an output that belongs to the first image of a batch."""
    batch = image.shape[0]
    return array[:1] if batch > 1 and value.shape[:1] == (batch,) else array
