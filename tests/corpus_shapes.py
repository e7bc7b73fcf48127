"""Likely shapes of what data layers read, for files that do not state them: Caffe looked into its data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from protogen.prototxt.message import Message

Shape = tuple[int, ...]
KNOWN: dict[str, Shape] = {"im_info": (1, 3), "gt_boxes": (4, 5), "rois": (4, 5), "labels": (4,), "bbox_targets": (4, 84)}
KNOWN |= {f"bbox_{side}_weights": (4, 84) for side in ("inside", "outside")}
DATA = re.compile("Data|Input|Python")  # types of layers that take their shapes from elsewhere
SIDES = (224, 28)  # of images without a stated size: ImageNet's, MNIST's


def assumed_shapes(definition: Message) -> Iterator[dict[str, Shape]]:
    """Shapes for the tops of layers that read files, likely ones first: an image and one label, a map of labels, or boxes."""
    layers = [layer for layer in definition.layer if not layer.bottom and DATA.search(layer.type)]
    for side, channels, label in product(SIDES, (3, 1, 2), ("number", "map", "boxes")):
        shapes: dict[str, Shape] = {}
        for layer in layers:
            transform = layer.transform_param
            size = transform.crop_size or max((resize.height for resize in transform.resize_param), default=0) or side
            for i, top in enumerate(layer.top):
                image = (1, 2 if "pair" in top else channels, size, size)
                if top in KNOWN:
                    shapes[top] = KNOWN[top]
                elif top == "seg_label":
                    shapes[top] = _segments(definition, layer, size)
                else:
                    shapes[top] = image if i == 0 or top in ("depth", "hha") else _label(label, layer, size)
        if shapes:
            yield shapes


def _label(form: str, layer: Message, size: int) -> Shape:
    """One number, one for each pixel, or boxes; YOLO's data layer pads these to 300."""
    boxes = (1, 1, 300, 5) if layer.annotated_data_param.get("yolo_data_type", 0) else (1, 1, 1, 8)
    return {"number": (1,), "map": (1, 1, size, size), "boxes": boxes}[form]


def _segments(definition: Message, layer: Message, size: int) -> Shape:
    """A plane for each class that the layer YoloSeg compares, or three; smaller than the image."""
    compared = {other.bottom[0] for other in definition.layer if other.type == "YoloSeg"}
    makers = [other for other in definition.layer if other.type == "Convolution" and set(other.top) & compared]
    classes = makers[-1].convolution_param.num_output if makers else 3
    side = size // int(layer.annotated_data_param.get("seg_scales", 8))
    return (1, classes, side, side)
