"""Losses and accuracies: values and gradients from their formulas."""

from __future__ import annotations

import numpy as np

from .table import Array, Row, full, ramp, v


def scalar(value: float) -> Array:
    return np.array(value, "float32")


def softmax(*x: float) -> Array:
    return np.exp(x) / np.exp(x).sum()


def labels(*numbers: float) -> Array:
    return np.array(numbers, "float32")


def accuracy(
    test: str, param: str, bottoms: list[Array | tuple[int, ...]], *tops: Array | tuple[int, ...], **more: object
) -> Row:
    return Row(f"test_accuracy_layer.cpp {test}", f'type: "Accuracy" accuracy_param {{ {param} }}', bottoms, tops, **more)


P = softmax(1, 2, 4)
EVEN = full(0, 2, 4)  # four classes, each with the probability 1/4
LOG4 = np.log(4)
SCORES = v(5, 1, 2, 1, 3, 2, 3, 2, 1, shape=(3, 3))
WITH_LOSS = 'type: "SoftmaxWithLoss" loss_param { %s }'
HINGE = [v(1, 0.5, -2, shape=(1, 3)), labels(0)]  # margins of 0 for the label, 1.5 for the next, none for the last
SIGMOID = 'type: "SigmoidCrossEntropyLoss" loss_param { %s }'
ROWS = [
    Row(
        "test_euclidean_loss_layer.cpp TestForward",
        'type: "EuclideanLoss"',
        [v(1, 2, 3, 4, shape=(2, 2)), v(0, 0, 0, 0, shape=(2, 2))],
        [scalar(30 / 4)],
        grads=[v(0.5, 1, 1.5, 2, shape=(2, 2)), -v(0.5, 1, 1.5, 2, shape=(2, 2))],
    ),
    Row(
        "test_euclidean_loss_layer.cpp TestForward, loss_weight",
        'type: "EuclideanLoss" loss_weight: 3.7',
        [v(2), v(0)],
        [scalar(2)],
    ),
    Row("euclidean_loss_layer.cpp's checks", 'type: "EuclideanLoss"', [(2, 3), (2, 4)], error="layer 'op'"),
    Row("test_hinge_loss_layer.cpp TestGradientL1", 'type: "HingeLoss"', HINGE, [scalar(1.5)], grads=[v(0, 1, 0)]),
    Row(
        "test_hinge_loss_layer.cpp TestGradientL2",
        'type: "HingeLoss" hinge_loss_param { norm: L2 }',
        HINGE,
        [scalar(2.25)],
        grads=[v(0, 3, 0)],
    ),
    Row(
        "test_contrastive_loss_layer.cpp TestForward",
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 2 }',
        [v(1, 0, 0.6, 0, shape=(2, 2)), v(0, 0, 0, 0.8, shape=(2, 2)), labels(1, 0)],
        [scalar((1 + 1) / 4)],
    ),
    Row(
        "test_contrastive_loss_layer.cpp TestForwardLegacy",
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 2 legacy_version: true }',
        [v(1, 0, 0.6, 0, shape=(2, 2)), v(0, 0, 0, 0.8, shape=(2, 2)), labels(1, 0)],
        [scalar((1 + 1) / 4)],
    ),
    Row(
        "test_contrastive_loss_layer.cpp TestForwardLegacy, the margin is of the square",
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 2 legacy_version: true }',
        [v(0.5), v(0), labels(0)],
        [scalar(1.75 / 2)],
    ),
    Row(
        "test_contrastive_loss_layer.cpp TestForward, the margin is of the distance",
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 2 }',
        [v(0.5), v(0), labels(0)],
        [scalar(1.5**2 / 2)],
        grads=[v(-1.5 * 0.5 / 0.5001)],
    ),
    Row(
        "test_contrastive_loss_layer.cpp TestGradient",
        'type: "ContrastiveLoss"',
        [v(3), v(1), labels(1)],
        [scalar(2)],
        grads=[v(2), v(-2)],
    ),
    Row(
        "test_multinomial_logistic_loss_layer.cpp TestGradientCPU",
        'type: "MultinomialLogisticLoss"',
        [v(0.25, 0.75), labels(0)],
        [scalar(LOG4)],
        grads=[v(-4, 0)],
    ),
    Row(
        "test_infogain_loss_layer.cpp TestInfogainLoss",
        'type: "InfogainLoss"',
        [EVEN, labels(0, 1), np.eye(4, dtype="float32").reshape(1, 1, 4, 4)],
        [scalar(LOG4)],
    ),
    Row(
        "test_infogain_loss_layer.cpp TestInfogainLoss, weights",
        'type: "InfogainLoss"',
        [EVEN, labels(0, 1), np.diag([1.0, 3, 0, 0]).astype("float32").reshape(1, 1, 4, 4)],
        [scalar(2 * LOG4)],
    ),
    Row(
        "test_sigmoid_cross_entropy_loss_layer.cpp TestSigmoidCrossEntropyLoss",
        'type: "SigmoidCrossEntropyLoss"',
        [full(0, 2, 3), v(1, 0, 1, 0, 1, 0, shape=(2, 3))],
        [scalar(3 * np.log(2))],
        grads=[v(-1, 1, -1, 1, -1, 1, shape=(2, 3)) / 4],
    ),
    Row(
        "test_sigmoid_cross_entropy_loss_layer.cpp TestIgnoreGradient",
        SIGMOID % "ignore_label: -1",
        [full(0, 1, 3), v(1, -1, 0)],
        [scalar(2 * np.log(2))],
        grads=[v(-0.5, 0, 0.5)],
    ),
    Row(
        "test_softmax_with_loss_layer.cpp TestGradient",
        'type: "SoftmaxWithLoss"',
        [v(1, 2, 4), labels(1)],
        [scalar(-np.log(P[1]))],
        grads=[(P - [0, 1, 0])[None]],
    ),
    Row(
        "test_softmax_with_loss_layer.cpp TestGradient, loss_weight",
        'type: "SoftmaxWithLoss" loss_weight: 3',
        [EVEN, labels(0, 1)],
        [scalar(LOG4)],
    ),
    Row(
        "test_softmax_with_loss_layer.cpp TestForwardIgnoreLabel",
        WITH_LOSS % "ignore_label: 1",
        [EVEN, labels(0, 1)],
        [scalar(LOG4)],
    ),
    Row(
        "test_softmax_with_loss_layer.cpp TestForwardIgnoreLabel, all",
        WITH_LOSS % "ignore_label: 1",
        [EVEN, labels(1, 1)],
        [scalar(0)],
    ),
    Row(
        "test_softmax_with_loss_layer.cpp TestGradientIgnoreLabel",
        WITH_LOSS % "ignore_label: 1",
        [EVEN, labels(0, 1)],
        [scalar(LOG4)],
        grads=[v(-0.75, 0.25, 0.25, 0.25, 0, 0, 0, 0, shape=(2, 4))],
    ),
    Row(
        "test_softmax_with_loss_layer.cpp TestGradientUnnormalized",
        WITH_LOSS % "normalize: false",
        [full(0, 1, 2, 1, 2), full(0, 1, 1, 2)],
        [scalar(2 * np.log(2))],
        grads=[v(-1, -1, 1, 1, shape=(1, 2, 1, 2)) / 2],
    ),
    *(
        Row(
            f"test_softmax_with_loss_layer.cpp TestGradientUnnormalized, {mode}",
            WITH_LOSS % f"ignore_label: 1 normalization: {mode}",
            [full(0, 2, 2, 1, 2), v(0, 1, 0, 0, shape=(2, 1, 2))],
            [scalar(3 * np.log(2) / divisor)],
        )
        for mode, divisor in (("VALID", 3), ("FULL", 4), ("BATCH_SIZE", 2), ("NONE", 1))
    ),
    Row("softmax_loss_layer.cpp's checks", 'type: "SoftmaxWithLoss"', [(2, 3, 4), (2, 3)], error="layer 'op'"),
    Row(
        "softmax_loss_layer.cpp's second top",
        'type: "SoftmaxWithLoss" loss_weight: 1 loss_weight: 0',
        [v(1, 2, 4), labels(1)],
        [scalar(-np.log(P[1])), P[None]],
    ),
    accuracy("TestSetup", "", [(100, 10), (100,)], ()),
    accuracy("TestSetupTopK", "top_k: 5", [(100, 10), (100,)], ()),
    accuracy("TestSetupOutputPerClass", "", [(100, 10), (100,)], (), (10,)),
    accuracy("TestForward", "", [SCORES, labels(0, 1, 1)], scalar(2 / 3)),
    accuracy("TestForwardTopK", "top_k: 2", [SCORES, labels(0, 2, 1)], scalar(1)),
    accuracy("TestForwardIgnoreLabel", "ignore_label: 1", [SCORES, labels(0, 1, 2)], scalar(1 / 2)),
    accuracy("TestForwardWithSpatialAxes", "axis: 1", [ramp(1, 2, 2, 2), v(1, 1, 0, 1, shape=(1, 2, 2))], scalar(3 / 4)),
    accuracy("TestForwardPerClass", "", [SCORES, labels(0, 1, 1)], scalar(2 / 3), v(1, 0.5, 0)[0]),
    accuracy("TestForwardPerClassWithIgnoreLabel", "ignore_label: 0", [SCORES, labels(0, 1, 1)], scalar(1 / 2), v(0, 0.5, 0)[0]),
    accuracy("TestForward, a tie counts against the label", "", [v(2, 2), labels(1)], scalar(0)),
    accuracy("accuracy_layer.cpp's checks", "top_k: 4", [(2, 3), (2,)], error="top_k"),
    accuracy("accuracy_layer.cpp's checks", "", [(2, 3), (3,)], error="layer 'op'"),
]
