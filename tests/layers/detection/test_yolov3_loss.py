"""Yolov3 against a plain loop over cells, anchors and boxes."""

from __future__ import annotations

import pytest

from tests.layers.detection.plain_yolo import (
    V3,
    case,
    check,
    plain_yolov3,
    run,
    yolov3_text,
)  # fmt: skip  # fmt: skip

YOLO_SETTINGS = [
    {},
    {"mask": (3, 4, 5), "coord": 1.0, "object": 5.0, "thresh": 0.6, "class": 2.0},
    {"mask": (0, 1, 2)},
    {"mask": (5, 3)},
    {"iou_thresh": 1.0, "smooth": 0.0},
    {"iou_thresh": 0.2},
    {"logic": True, "object": 5.0},
    {"focal": True},
    {"focal": True, "iou_thresh": 1.0, "mask": (3, 4, 5, 2)},
    *({"kind": kind} for kind in ("IOU", "GIOU", "DIOU", "CIOU")),
    *({"kind": kind, "accumulate": False, "normalizer": 2.0, "max_delta": 1.5} for kind in ("IOU", "GIOU", "DIOU", "CIOU")),
    {"kind": "CIOU", "logic": True, "iou_thresh": 0.1},
]


@pytest.mark.parametrize("settings", YOLO_SETTINGS, ids=str)
def test_yolov3_is_the_plain_loop(settings: dict) -> None:
    for seed in range(3):
        x, label = case(3, len({**V3, **settings}["mask"]), seed)
        check(run(yolov3_text(**settings), x, label), plain_yolov3(x, label, **settings))
