"""Prior boxes and regions: the SSD fork's tests of PriorBox and the like (weiliu89/caffe, branch ssd, src/caffe/test)."""

from __future__ import annotations

import numpy as np

from .table import Row, full, ramp, v

IMAGE = full(0, 1, 3, 100, 100)
R = 2 * np.sqrt(2)  # half the long side of a box of size 4 and ratio 2


def prior(test: str, param: str, *halves: tuple[float, float], variance: tuple[float, ...] = (0.1,) * 4) -> Row:
    """Boxes around the middle of an image of 100 x 100, by half their widths and heights, on a feature map of one pixel."""
    boxes = [((50 - w) / 100, (50 - h) / 100, (50 + w) / 100, (50 + h) / 100) for w, h in halves]
    top = np.array([boxes, [variance] * len(boxes)], "float32").reshape(1, 2, -1)
    return Row(
        f"test_prior_box_layer.cpp {test}", f'type: "PriorBox" prior_box_param {{ {param} }}', [full(0, 1, 1, 1, 1), IMAGE], [top]
    )


def setup(test: str, param: str, boxes: int) -> Row:
    return Row(
        f"test_prior_box_layer.cpp {test}",
        f'type: "PriorBox" prior_box_param {{ {param} }}',
        [(10, 10, 10, 10), (10, 3, 100, 100)],
        [(1, 2, 100 * boxes * 4)],
    )


ROWS = [
    setup("TestSetup", "min_size: 4 max_size: 9", 2),
    setup("TestSetupMultiSize", "min_size: 4 min_size: 8 max_size: 9 max_size: 18", 4),
    setup("TestSetupNoMaxSize", "min_size: 4", 1),
    setup("TestSetupMultiSizeNoMaxSize", "min_size: 4 min_size: 8", 2),
    setup("TestSetupAspectRatio1", "min_size: 4 max_size: 9 aspect_ratio: 1 flip: false", 2),
    setup("TestSetupAspectRatioNoFlip", "min_size: 4 max_size: 9 aspect_ratio: 2 aspect_ratio: 3 flip: false", 4),
    setup("TestSetupAspectRatio", "min_size: 4 max_size: 9 aspect_ratio: 2 aspect_ratio: 3", 6),
    setup(
        "TestSetupAspectRatioMultiSize", "min_size: 4 min_size: 8 max_size: 9 max_size: 18 aspect_ratio: 2 aspect_ratio: 3", 12
    ),
    prior("TestCPU", "min_size: 4 max_size: 9", (2, 2), (3, 3)),
    prior("TestCPUNoMaxSize", "min_size: 4", (2, 2)),
    prior("TestCPUVariance1", "min_size: 4 variance: 1", (2, 2), variance=(1, 1, 1, 1)),
    prior(
        "TestCPUVarianceMulti",
        "min_size: 4 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4",
        (2, 2),
        variance=(0.1, 0.2, 0.3, 0.4),
    ),
    prior("TestCPUAspectRatioNoFlip", "min_size: 4 max_size: 9 aspect_ratio: 2 flip: false", (2, 2), (3, 3), (R, R / 2)),
    prior("TestCPUAspectRatio", "min_size: 4 max_size: 9 aspect_ratio: 2", (2, 2), (3, 3), (R, R / 2), (R / 2, R)),
    prior(
        "TestCPUAspectRatioMultiSize",
        "min_size: 4 min_size: 8 aspect_ratio: 2",
        (2, 2),
        (R, R / 2),
        (R / 2, R),
        (4, 4),
        (2 * R, R),
        (R, 2 * R),
    ),
    prior("TestCPU, clip", "min_size: 120 clip: true", (50, 50)),
    prior("TestCPU, no clip", "min_size: 120", (60, 60)),
    Row(
        "test_prior_box_layer.cpp TestCPUFixStep",
        'type: "PriorBox" prior_box_param { min_size: 4 step: 10 }',
        [full(0, 1, 1, 1, 2), IMAGE],
        [v(0.03, 0.03, 0.07, 0.07, 0.13, 0.03, 0.17, 0.07, *[0.1] * 8, shape=(1, 2, 8))],
    ),
    Row(
        "test_prior_box_layer.cpp TestCPUFixStep, offset",
        'type: "PriorBox" prior_box_param { min_size: 4 step: 10 offset: 0.2 }',
        [full(0, 1, 1, 1, 1), IMAGE],
        [v(0, 0, 0.04, 0.04, *[0.1] * 4, shape=(1, 2, 4))],
    ),
    Row(
        "prior_box_layer.cpp's checks",
        'type: "PriorBox" prior_box_param { max_size: 4 }',
        [(1, 1, 1, 1), (1, 3, 9, 9)],
        error="min_size",
    ),
    Row(
        "prior_box_layer.cpp's checks",
        'type: "PriorBox" prior_box_param { min_size: 4 max_size: 4 }',
        [(1, 1, 1, 1), (1, 3, 9, 9)],
        error="max_size",
    ),
    Row(
        "prior_box_layer.cpp's checks",
        'type: "PriorBox" prior_box_param { min_size: 4 variance: 1 variance: 2 }',
        [(1, 1, 1, 1), (1, 3, 9, 9)],
        error="variance",
    ),
    Row(
        "test_smooth_L1_loss_layer.cpp TestGradient",
        'type: "SmoothL1Loss"',
        [v(0.5, 3, shape=(1, 2, 1, 1)), full(0, 1, 2, 1, 1)],
        [np.array(0.125 + 2.5, "float32")],
        grads=[v(0.5, 1, shape=(1, 2, 1, 1))],
    ),
    Row(
        "opencv/opencv modules/dnn/test/test_layers.cpp Interp",
        'type: "Interp" interp_param { height: 1 width: 5 }',
        [v(0, 1, 2, shape=(1, 1, 1, 3))],
        [v(0, 0.5, 1, 1.5, 2, shape=(1, 1, 1, 5))],
    ),
    Row(
        "rbgirshick/caffe-fast-rcnn roi_pooling_layer.cpp",
        'type: "ROIPooling" roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1 }',
        [ramp(1, 1, 4, 4), v(0, 0, 0, 3, 3)],
        [v(5, 7, 13, 15, shape=(1, 1, 2, 2))],
    ),
    Row(
        "rbgirshick/caffe-fast-rcnn roi_pooling_layer.cpp, scale",
        'type: "ROIPooling" roi_pooling_param { pooled_h: 1 pooled_w: 1 spatial_scale: 0.5 }',
        [ramp(1, 1, 4, 4), v(0, 2, 2, 4, 4)],
        [full(10, 1, 1, 1, 1)],
    ),
]
