"""Layers that weigh and add, and those that normalise: InnerProduct to Softmax."""

from __future__ import annotations

import numpy as np

from .table import Array, Row, full, ramp, v

W = v(1, 2, 3, 0, -1, 1, shape=(2, 3))
X = v(1, 0, 2, 3, 1, 1, shape=(2, 3))
FACTORS = v(2, 3, 5)
CUBE = ramp(1, 2, 3, 2)


def along(*numbers: float, axis: int, like: Array = CUBE) -> Array:
    """Numbers along one axis of a blob of four."""
    return np.broadcast_to(np.reshape(numbers, [-1 if i == axis else 1 for i in range(4)]), like.shape).astype("float32")


def scale(test: str, param: str, *args: object, type: str = "Scale", **more: object) -> Row:
    return Row(f"test_{type.lower()}_layer.cpp {test}", f'type: "{type}" {type.lower()}_param {{ {param} }}', *args, **more)


def eltwise(test: str, param: str, top: Array | tuple[int, ...], grads: tuple[Array, ...] = (), **more: object) -> Row:
    bottoms = [v(1, 2, -3), v(4, -2, 0.5), v(2, 2, 2)]
    return Row(
        f"test_eltwise_layer.cpp {test}", f'type: "Eltwise" eltwise_param {{ {param} }}', bottoms, [top], grads=grads, **more
    )


def softmax(*x: float) -> Array:
    return np.exp(x) / np.exp(x).sum()


LRN = 'type: "LRN" lrn_param { local_size: 3 alpha: 3 beta: 1 %s }'
MVN = v(1, 3, 2, 6, shape=(1, 2, 1, 2))  # two channels of two pixels
ROWS = [
    Row(
        "test_inner_product_layer.cpp TestSetUp",
        'type: "InnerProduct" inner_product_param { num_output: 10 }',
        [(2, 3, 4, 5)],
        [(2, 10)],
    ),
    Row(
        "test_inner_product_layer.cpp TestForward",
        'type: "InnerProduct" inner_product_param { num_output: 2 }',
        [X],
        [v(7.5, 2, 8.5, 0, shape=(2, 2))],
        [W, v(0.5, 0)],
        grads=[v(1, 1, 4, 1, 1, 4, shape=(2, 3))],
    ),
    Row(
        "test_inner_product_layer.cpp TestForwardTranspose",
        'type: "InnerProduct" inner_product_param { num_output: 2 transpose: true }',
        [X],
        [v(7.5, 2, 8.5, 0, shape=(2, 2))],
        [W.T, v(0.5, 0)],
        grads=[v(1, 1, 4, 1, 1, 4, shape=(2, 3))],
    ),
    Row(
        "test_inner_product_layer.cpp TestForwardNoBatch",
        'type: "InnerProduct" inner_product_param { num_output: 2 axis: 0 }',
        [np.array([1, 0, 2], "float32")],
        [np.array([7.5, 2], "float32")],
        [W, v(0.5, 0)],
    ),
    Row(
        "test_inner_product_layer.cpp TestForward, axis 2",
        'type: "InnerProduct" inner_product_param { num_output: 2 axis: 2 }',
        [X.reshape(1, 2, 3)],
        [v(7, 2, 8, 0, shape=(1, 2, 2))],
        [W, v(0, 0)],
    ),
    Row(
        "inner_product_layer.cpp's checks",
        'type: "InnerProduct" inner_product_param { num_output: 2 axis: 3 }',
        [(2, 3)],
        error="axis 3",
    ),
    Row(
        "test_embed_layer.cpp TestSetUp",
        'type: "Embed" embed_param { num_output: 10 input_dim: 5 }',
        [(4, 1, 1, 1)],
        [(4, 1, 1, 1, 10)],
    ),
    Row(
        "test_embed_layer.cpp TestForward",
        'type: "Embed" embed_param { num_output: 2 input_dim: 3 bias_term: false }',
        [np.array([2, 0, 2], "float32")],
        [v(5, 6, 1, 2, 5, 6, shape=(3, 2))],
        [v(1, 2, 3, 4, 5, 6)],
    ),
    Row(
        "test_embed_layer.cpp TestForwardWithBias",
        'type: "Embed" embed_param { num_output: 2 input_dim: 3 }',
        [np.array([1], "float32")],
        [v(13, 24)],
        [v(1, 2, 3, 4, 5, 6), v(10, 20)],
    ),
    scale("TestForwardEltwise", "axis: 0", [v(1, 2, 3), FACTORS], [v(2, 6, 15)], grads=[FACTORS, v(1, 2, 3)]),
    scale("TestForwardEltwiseWithParam", "axis: 0 num_axes: -1", [v(1, 2, 3)], [v(2, 6, 15)], [FACTORS]),
    scale("TestForwardBroadcastBegin", "axis: 0", [CUBE, np.array([3], "float32")], [3 * CUBE]),
    scale(
        "TestForwardBroadcastMiddle",
        "axis: 1",
        [CUBE, v(1, 2, 3, 4, 5, 6, shape=(2, 3))],
        [CUBE * v(1, 2, 3, 4, 5, 6, shape=(1, 2, 3, 1))],
    ),
    scale(
        "TestForwardBroadcastMiddleWithParam",
        "axis: 1 num_axes: 2",
        [CUBE],
        [CUBE * v(1, 2, 3, 4, 5, 6, shape=(1, 2, 3, 1))],
        [v(1, 2, 3, 4, 5, 6)],
    ),
    scale(
        "TestForwardBroadcastMiddleWithParamAndBias",
        "axis: 2 bias_term: true",
        [CUBE],
        [CUBE * along(2, 3, 5, axis=2) + along(1, 0, -1, axis=2)],
        [FACTORS, v(1, 0, -1)],
    ),
    scale(
        "TestForwardBroadcastEnd",
        "axis: 2",
        [CUBE, v(1, 2, 3, 4, 5, 6, shape=(3, 2))],
        [CUBE * v(1, 2, 3, 4, 5, 6, shape=(1, 1, 3, 2))],
    ),
    scale(
        "TestForwardScale", "axis: 0", [CUBE, np.array(10, "float32")], [10 * CUBE], grads=[full(10, 1, 2, 3, 2), np.array(66)]
    ),
    scale("TestForwardScaleAxis2", "axis: 2", [CUBE, np.array(10, "float32")], [10 * CUBE]),
    scale("scale_layer.cpp's checks", "axis: 1", [(1, 2, 3, 2), (3,)], error="layer 'op'"),
    scale("scale_layer.cpp's checks", "axis: 2 num_axes: 3", [(1, 2, 3, 2)], error="num_axes"),
    scale(
        "TestForwardEltwise", "axis: 0", [v(1, 2, 3), FACTORS], [v(3, 5, 8)], type="Bias", grads=[full(1, 1, 3), full(1, 1, 3)]
    ),
    scale("TestForwardEltwiseWithParam", "axis: 0 num_axes: -1", [v(1, 2, 3)], [v(3, 5, 8)], [FACTORS], type="Bias"),
    scale("TestForwardBroadcastBegin", "axis: 0", [CUBE, np.array([3], "float32")], [CUBE + 3], type="Bias"),
    scale(
        "TestForwardBroadcastMiddle",
        "axis: 1",
        [CUBE, v(1, 2, 3, 4, 5, 6, shape=(2, 3))],
        [CUBE + v(1, 2, 3, 4, 5, 6, shape=(1, 2, 3, 1))],
        type="Bias",
        grads=[full(1, 1, 2, 3, 2), full(2, 2, 3)],
    ),
    scale(
        "TestForwardBroadcastMiddleWithParam",
        "num_axes: 2",
        [CUBE],
        [CUBE + v(1, 2, 3, 4, 5, 6, shape=(1, 2, 3, 1))],
        [v(1, 2, 3, 4, 5, 6)],
        type="Bias",
    ),
    scale(
        "TestForwardBroadcastEnd",
        "axis: 2",
        [CUBE, v(1, 2, 3, 4, 5, 6, shape=(3, 2))],
        [CUBE + v(1, 2, 3, 4, 5, 6, shape=(1, 1, 3, 2))],
        type="Bias",
    ),
    scale("TestForwardBias", "axis: 0", [CUBE, np.array(10, "float32")], [CUBE + 10], type="Bias"),
    scale(
        "TestForwardBiasAxis2",
        "axis: 2",
        [CUBE, np.array(10, "float32")],
        [CUBE + 10],
        type="Bias",
        grads=[full(1, 1, 2, 3, 2), np.array(12)],
    ),
    eltwise("TestSetUp", "operation: PROD", (1, 3)),
    eltwise("TestProd", "operation: PROD", v(8, -8, -3)),
    eltwise("TestStableProdGradient", "operation: PROD", v(8, -8, -3), (v(8, -4, 1), v(2, 4, -6), v(4, -4, -1.5))),
    eltwise("TestUnstableProdGradient", "operation: PROD stable_prod_grad: false", v(8, -8, -3), (v(8, -4, 1),)),
    eltwise("TestSum", "operation: SUM", v(7, 2, -0.5)),
    eltwise("TestSumCoeff", "coeff: 1 coeff: -0.5 coeff: 2", v(3, 7, 0.75)),
    eltwise(
        "TestSumCoeffGradient", "coeff: 1 coeff: -0.5 coeff: 2", v(3, 7, 0.75), (v(1, 1, 1), v(-0.5, -0.5, -0.5), v(2, 2, 2))
    ),
    eltwise("TestMax", "operation: MAX", v(4, 2, 2)),
    Row(
        "test_eltwise_layer.cpp TestMaxGradient",
        'type: "Eltwise" eltwise_param { operation: MAX }',
        [v(1, 5), v(2, 3)],
        [v(2, 5)],
        grads=[v(0, 1), v(1, 0)],
    ),
    Row("eltwise_layer.cpp's checks", 'type: "Eltwise" eltwise_param { coeff: 1 }', [(1, 2), (1, 2)], error="coeff"),
    Row(
        "eltwise_layer.cpp's checks",
        'type: "Eltwise" eltwise_param { operation: PROD coeff: 1 coeff: 1 }',
        [(1, 2), (1, 2)],
        error="coeff",
    ),
    Row("eltwise_layer.cpp's checks", 'type: "Eltwise"', [(1, 2), (1, 3)], error="same shape"),
    Row("test_lrn_layer.cpp TestSetupAcrossChannels", 'type: "LRN"', [(2, 7, 3, 3)], [(2, 7, 3, 3)]),
    Row(
        "test_lrn_layer.cpp TestForwardAcrossChannels",
        LRN % "",
        [full(1, 1, 4, 1, 1)],
        [v(1 / 3, 1 / 4, 1 / 4, 1 / 3, shape=(1, 4, 1, 1))],
    ),
    Row(
        "test_lrn_layer.cpp TestForwardAcrossChannelsLargeRegion",
        'type: "LRN" lrn_param { local_size: 15 alpha: 15 beta: 1 }',
        [v(1, 2, shape=(1, 2, 1, 1))],
        [v(1 / 6, 2 / 6, shape=(1, 2, 1, 1))],
    ),
    Row("test_lrn_layer.cpp TestForwardAcrossChannels, k", LRN % "k: 2", [full(1, 1, 2, 1, 1)], [full(0.25, 1, 2, 1, 1)]),
    Row(
        "test_lrn_layer.cpp TestForwardWithinChannel",
        LRN % "norm_region: WITHIN_CHANNEL",
        [full(1, 1, 1, 3, 3)],
        [1 / (1 + 3 * v(4, 6, 4, 6, 9, 6, 4, 6, 4, shape=(1, 1, 3, 3)) / 9)],
    ),
    Row("lrn_layer.cpp's checks", 'type: "LRN" lrn_param { local_size: 4 }', [(1, 4, 1, 1)], error="local_size|odd"),
    Row("test_mvn_layer.cpp TestForward", 'type: "MVN" mvn_param { eps: 0 }', [MVN], [v(-1, 1, -1, 1, shape=(1, 2, 1, 2))]),
    Row(
        "test_mvn_layer.cpp TestForwardMeanOnly",
        'type: "MVN" mvn_param { normalize_variance: false }',
        [MVN],
        [v(-1, 1, -2, 2, shape=(1, 2, 1, 2))],
        grads=[full(0, 1, 2, 1, 2)],
    ),
    Row(
        "test_mvn_layer.cpp TestForwardAcrossChannels",
        'type: "MVN" mvn_param { across_channels: true eps: 0 }',
        [MVN],
        [(MVN - 3) / np.sqrt(3.5)],
    ),
    Row(
        "test_batch_norm_layer.cpp TestForward",
        'type: "BatchNorm" batch_norm_param { eps: 0 }',
        [MVN],
        [v(-1, 1, -1, 1, shape=(1, 2, 1, 2))],
        phase="TRAIN",
    ),
    Row(
        "test_batch_norm_layer.cpp TestForward, stored statistics",
        'type: "BatchNorm" batch_norm_param { eps: 0 }',
        [MVN],
        [(MVN - v(1, 2, shape=(1, 2, 1, 1))) / v(2, 4, shape=(1, 2, 1, 1))],
        [v(2, 4), v(8, 32), v(2)],
    ),
    Row("test_softmax_layer.cpp TestForward", 'type: "Softmax"', [v(1, 2, 4)], [softmax(1, 2, 4)[None]], grads=[full(0, 1, 3)]),
    Row(
        "test_softmax_layer.cpp TestForward, other axes",
        'type: "Softmax" softmax_param { axis: 0 }',
        [v(1, 2, shape=(2, 1))],
        [softmax(1, 2)[:, None]],
    ),
    Row("test_softmax_layer.cpp TestForward, large values", 'type: "Softmax"', [v(1000, 1000)], [v(0.5, 0.5)]),
    Row(
        "weiliu89/caffe (ssd) test_normalize_layer.cpp TestForwardEltWise",
        'type: "Normalize" norm_param { eps: 0 across_spatial: false scale_filler { value: 1 } }',
        [v(3, 0, 4, 2, shape=(1, 2, 1, 2))],
        [v(0.6, 0, 0.8, 1, shape=(1, 2, 1, 2))],
    ),
    Row(
        "weiliu89/caffe (ssd) test_normalize_layer.cpp TestForwardEltWiseScaleChannel",
        'type: "Normalize" norm_param { eps: 0 across_spatial: false channel_shared: false }',
        [v(3, 4, shape=(1, 2, 1, 1))],
        [v(6, 24, shape=(1, 2, 1, 1))],
        [v(10, 30)],
    ),
    Row(
        "weiliu89/caffe (ssd) test_normalize_layer.cpp TestForwardEltWiseScale",
        'type: "Normalize" norm_param { eps: 0 across_spatial: false channel_shared: true }',
        [v(3, 4, shape=(1, 2, 1, 1))],
        [v(6, 8, shape=(1, 2, 1, 1))],
        [v(10)],
    ),
    Row(
        "weiliu89/caffe (ssd) test_normalize_layer.cpp TestForward",
        'type: "Normalize" norm_param { eps: 0 channel_shared: true }',
        [v(1, 2, 2, 4, shape=(1, 2, 1, 2))],
        [v(0.2, 0.4, 0.4, 0.8, shape=(1, 2, 1, 2))],
        [v(1)],
    ),
]
