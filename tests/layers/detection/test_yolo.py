"""YoloDetectionOutput and Yolov3DetectionOutput against a plain account of their steps; what is refused; opsets, batches."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.detection.plain_yolo import plain_iou, sigmoid
from tests.layers.nets import net_of
from tests.running import NEWEST, Arrays, by_onnx, by_torch

V2 = "num_classes: 3 num_box: 2 biases: 1.5 biases: 2 biases: 4 biases: 3 nms_threshold: 0.3 confidence_threshold: 0.2"
V3 = (
    "num_classes: 3 num_box: 2 biases: 10 biases: 14 biases: 23 biases: 27 biases: 37 biases: 58 biases: 81 biases: 82 "
    "mask: 2 mask: 3 mask: 0 mask: 1 anchors_scale: 32 anchors_scale: 16 nms_threshold: 0.3 confidence_threshold: 0.4"
)
SHAPES = [(1, 16, 4, 4), (1, 16, 8, 8)]


def v2(param: str = V2, bottoms: str = 'bottom: "a"') -> str:
    return f'type: "YoloDetectionOutput" {bottoms} top: "y" yolo_detection_output_param {{ {param} }}'


def v3(param: str = V3, bottoms: str = 'bottom: "a" bottom: "b"') -> str:
    return f'type: "Yolov3DetectionOutput" {bottoms} top: "y" yolov3_detection_output_param {{ {param} }}'


def values(net: protogen.Net, images: int = 1) -> Arrays:
    rng = np.random.default_rng(7)
    return {name: rng.standard_normal((images, *net.shapes[name][1:])).astype(np.float32) for name in net.inputs}


def by_hand(net: protogen.Net, given: Arrays) -> np.ndarray:
    layer = net.layers[-1]
    third = layer.type == "Yolov3DetectionOutput"
    p = layer.message.yolov3_detection_output_param if third else layer.message.yolo_detection_output_param
    found = []
    for t, data in enumerate(given.values()):
        side = data.shape[3]
        for image, row, column, n in np.ndindex(len(data), side, side, p.num_box):
            values = data[image].reshape(p.num_box, -1, side, side)[n, :, row, column].astype(np.float64)
            x, y, objectness = sigmoid(values[[0, 1, 4]])
            anchor = p.mask[t * p.num_box + n] if third else n
            unit = side * p.anchors_scale[t] if third else side
            size = [np.exp(values[2 + i]) * p.biases[2 * anchor + i] / unit for i in (0, 1)]
            box = [(column + x) / side, (row + y) / side, *size]
            if third:
                scores = objectness * sigmoid(values[5:])
                found += [(score, label, box) for label, score in enumerate(scores) if score > p.confidence_threshold]
            else:
                likely = np.exp(values[5:]) / np.exp(values[5:]).sum()
                if objectness * likely.max() >= p.confidence_threshold:
                    found.append((objectness * likely.max(), int(likely.argmax()), box))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[float, int, list[float]]] = []
    for item in found:
        if all(plain_iou(item[2], other[2]) < p.nms_threshold for other in kept):
            kept.append(item)
    rows = [[0, label + 1, score, x - w / 2, y - h / 2, x + w / 2, y + h / 2] for score, label, (x, y, w, h) in kept]
    return np.array(rows or [[image, *[-1] * 6] for image in range(len(next(iter(given.values()))))]).reshape(1, 1, -1, 7)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (v2(), SHAPES[:1]),
        (v2(V2, 'bottom: "a" bottom: "b"'), SHAPES),
        (v3(), SHAPES),
        (v3(V3.replace("confidence_threshold: 0.4", "confidence_threshold: 1.5")), SHAPES),
    ],
)
def test_rows_are_those_of_the_steps(layer: str, shapes: list[tuple[int, ...]]) -> None:
    net = net_of(layer, *shapes)
    for images in (1, 2):
        given = values(net, images)
        expected = by_hand(net, given)
        made = [by_torch(net, given)[0], by_onnx(net, given, dynamic_batch=True)[0]]
        made += [by_onnx(net, given, opset=opset)[0] for opset in (11, 13, 18, NEWEST) if images == 1]
        for rows in made:
            assert rows.shape == expected.shape
            np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (v2("num_box: 2"), SHAPES[:1], "num_classes is missing"),
        (v2("num_classes: 3 num_box: 2 biases: 1 biases: 1 biases: 2"), SHAPES[:1], "3 biases have no anchor 1"),
        (v2(V2), [(1, 17, 4, 4)], "needs bottoms (N, 16, S, S)"),
        (v2(V2), [(1, 16, 4, 5)], "needs bottoms (N, 16, S, S)"),
        (v2("num_classes: 3 num_box: 0"), SHAPES[:1], "must be positive"),
        (v3(V3, 'bottom: "a"'), SHAPES[:1], "has 1 bottoms; mask_group_num is 2"),
        (v3(V3.replace("anchors_scale: 32", "")), SHAPES, "1 anchors_scale for 2 bottoms"),
        (v3(V3.replace("anchors_scale: 32", "anchors_scale: 0")), SHAPES, "anchors_scale must be positive"),
        (v3(V3.replace("mask: 2 mask: 3", "")), SHAPES, "mask has 2 entries"),
        (v3(V3.replace("mask: 2", "mask: 9")), SHAPES, "8 biases have no anchor 9"),
        (v3(V3 + " gaussian_box: true"), SHAPES, "gaussian_box is not supported"),
    ],
)
def test_what_cannot_be_names_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(layer, *shapes)
    assert message in str(error.value)
