"""Each field of YOLO's layers alone, held against the plain loops of `plain_yolo.py` and `test_yolo.py`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tests.layers.alone import Alone
from tests.layers.detection import test_yolo
from tests.layers.detection.plain_yolo import (
    ROWS,
    SIDE,
    V2_ANCHORS,
    V3_ANCHORS,
    biases,
    case,
    plain_region,
    plain_yolov3,
)  # fmt: skip

WIDER = [(1.25 * w, 0.75 * h) for w, h in V2_ANCHORS]
LOWER = [(1.5 * w, 0.5 * h) for w, h in V3_ANCHORS]
LOSS = 'bottom: "a" bottom: "b" top: "loss" %s { %s }'
# Fields of the losses, their values, the other fields they need, and all of it as the plain loops call it.
REGION: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("bias_match", 0, "", {"bias_match": 0}),
    ("rescore", 0, "", {"rescore": 0}),
    ("object_scale", 5.0, "", {"object": 5.0}),
    ("class_scale", 2.5, "", {"class": 2.5}),
    ("noobject_scale", 2.0, "", {"noobject": 2.0}),
    ("coord_scale", 1.5, "", {"coord": 1.5}),
    ("thresh", 0.5, "", {"thresh": 0.5}),
]
YOLOV3: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("object_scale", 5.0, "use_logic_gradient: true", {"object": 5.0, "logic": True}),
    ("class_scale", 2.5, "", {"class": 2.5}),
    ("coord_scale", 1.5, "", {"coord": 1.5}),
    ("thresh", 0.5, "", {"thresh": 0.5}),
    ("anchors_scale", 24, "", {"scale": 24}),
    ("use_logic_gradient", True, "", {"logic": True}),
    ("use_focal_loss", True, "", {"focal": True}),
    *(("iou_loss", kind, "", {"kind": kind}) for kind in ("IOU", "GIOU", "DIOU", "CIOU")),
    ("iou_normalizer", 2.0, "iou_loss: GIOU", {"normalizer": 2.0, "kind": "GIOU"}),
    ("iou_thresh", 0.25, "", {"iou_thresh": 0.25}),
    ("max_delta", 0.125, "iou_loss: IOU", {"max_delta": 0.125, "kind": "IOU"}),
    ("accumulate", False, "iou_loss: DIOU", {"accumulate": False, "kind": "DIOU"}),
    ("label_smooth_eps", 0.25, "", {"smooth": 0.25}),
]


def loss(type: str, path: str, value: Any, text: str, how: dict[str, Any], boxes: int, **more: Any) -> Alone:
    """A field of a loss, which has `boxes` boxes of 3 classes in each cell; `how` is what the plain loop calls it."""
    plain, version = (plain_region, 2) if type == "RegionLoss" else (plain_yolov3, 3)

    def expected(net, values):
        value, gradient = plain(values["a"], values["b"], **how)
        return [np.float32(value), gradient]

    text = LOSS % (path.partition(".")[0], text)
    shapes = [(3, 8 * boxes, SIDE, SIDE), (3, 1, ROWS, 5)]
    options = {"phase": "TRAIN", "gradient": ("a",), "inputs": partial(case, version, boxes), "tolerance": 2e-5, **more}
    return Alone(type, path, value, text, shapes, expected, **options)


def region(field: str, value: Any, text: str = f"num_class: 3 {biases(V2_ANCHORS)}", boxes: int = 5, **more: Any) -> Alone:
    return loss("RegionLoss", f"region_loss_param.{field}", value, text, more.pop("how", {}), boxes, **more)


MASK = "mask: 3 mask: 4 mask: 5"
OWN = f"num_class: 3 num: 3 {biases(V3_ANCHORS)}"


def yolov3(field: str, value: Any, text: str = f"{OWN} {MASK}", others: str = "", **more: Any) -> Alone:
    return loss("Yolov3", f"yolov3_param.{field}", value, f"{text} {others}", more.pop("how", {}), 3, **more)


def flat(anchors: list[tuple[float, float]]) -> list[float]:
    return [size for anchor in anchors for size in anchor]


def output(version: int, field: str, value: Any, old: str = "", new: str = "", maps: int | None = None, **more: Any) -> Alone:
    """A field of a detection layer, whose other fields are those of `test_yolo.py`, `old` among them replaced by `new`."""
    text = (test_yolo.V2, test_yolo.V3)[version - 2]
    assert old in text
    text = text.replace(old, new)
    shapes = test_yolo.SHAPES[: maps or version - 1]
    bottoms = " ".join(f'bottom: "{name}"' for name in "ab"[: len(shapes)])
    type, param = (("YoloDetectionOutput", "yolo"), ("Yolov3DetectionOutput", "yolov3"))[version - 2]
    path, layer = f"{param}_detection_output_param", f'{bottoms} top: "y" {param}_detection_output_param {{ {text} }}'

    def expected(net, values):
        return [test_yolo.by_hand(net, values)]

    return Alone(type, f"{path}.{field}", value, layer, shapes, expected, **more)


ALONE = [
    *(region(field, value, how=how) for field, value, _, how in REGION),
    region("biases", flat(WIDER), how={"anchors": WIDER}),
    region("num_class", 3, biases(V2_ANCHORS), refused=r"predictions \(N, 125, H, W\)"),
    region("num", 4, boxes=4, how={"anchors": V2_ANCHORS[:4]}, refused=r"predictions \(N, 40, H, W\)"),
    *(yolov3(field, value, others=others, how=how) for field, value, others, how in YOLOV3),
    yolov3("biases", flat(LOWER), how={"anchors": LOWER}),
    yolov3("mask", [5, 2, 4], how={"mask": (5, 2, 4)}),
    yolov3("num_class", 3, f"num: 3 {biases(V3_ANCHORS)} {MASK}", refused=r"predictions \(N, 75, H, W\)"),
    yolov3("num", 3, f"num_class: 3 {biases(V3_ANCHORS)} {MASK}", refused=r"predictions \(N, 40, H, W\)"),
    *(
        row
        for version in (2, 3)
        for row in (
            output(version, "num_classes", 3, "num_classes: 3", refused="num_classes is missing"),
            output(version, "num_box", 2, "num_box: 2", refused=r"needs bottoms \(N, (40|24), S, S\)"),
            output(version, "confidence_threshold", 0.25),
            output(version, "nms_threshold", 0.125),
        )
    ),
    output(2, "biases", [2.0, 1.5, 3.0, 3.5]),
    output(3, "biases", [12.0, 10.0, 20.0, 33.0, 45.0, 40.0, 90.0, 60.0]),
    output(3, "anchors_scale", [24, 20]),
    output(3, "mask", [1, 2, 0, 3]),
    output(3, "mask_group_num", 1, maps=1, refused="has 1 bottoms; mask_group_num is 2"),
]
