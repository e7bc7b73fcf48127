"""Convolution, Deconvolution, Im2col, Pooling, SPP."""

from __future__ import annotations

import numpy as np

from .table import Row, full, ramp, v


def conv(source: str, param: str, *args: object, type: str = "Convolution", **fields: object) -> Row:
    return Row(f"test_{type.lower()}_layer.cpp {source}", f'type: "{type}" convolution_param {{ {param} }}', *args, **fields)


def pool(source: str, param: str, *args: object, **fields: object) -> Row:
    return Row(f"test_pooling_layer.cpp {source}", f'type: "Pooling" pooling_param {{ {param} }}', *args, **fields)


ONES2 = full(1, 2, 2)
ONE_BIAS = [ONES2, v(0.5)]
CROSS = np.outer([1, 1, 2, 1, 1], [1, 1, 2, 1, 1])[None, None].astype("float32")
SOBEL = np.outer([1, 2, 1], [-1, 0, 1])

ROWS = [
    conv("TestSetup", "num_output: 4 kernel_size: 3 stride: 2", [(2, 3, 6, 4)] * 2, [(2, 4, 2, 1)] * 2),
    conv("TestSetup, group", "num_output: 3 kernel_size: 3 stride: 2 group: 3", [(2, 3, 6, 4)] * 2, [(2, 3, 2, 1)] * 2),
    conv("TestSimpleConvolution", "num_output: 1 kernel_size: 2", [full(1, 1, 1, 3, 3)], [full(4.5, 1, 1, 2, 2)], ONE_BIAS),
    conv(
        "TestSimpleConvolution, two bottoms",
        "num_output: 1 kernel_size: 2",
        [full(1, 1, 1, 2, 2), full(2, 1, 1, 2, 2)],
        [full(4.5, 1, 1, 1, 1), full(8.5, 1, 1, 1, 1)],
        ONE_BIAS,
    ),
    conv(
        "TestDilatedConvolution",
        "num_output: 1 kernel_size: 2 dilation: 3 bias_term: false",
        [ramp(1, 1, 5, 5)],
        [v(36, 40, 56, 60, shape=(1, 1, 2, 2))],
        [ONES2],
    ),
    conv(
        "Test0DConvolution",
        "num_output: 2 axis: -1 kernel_size: 7",
        [v(1, 0, 2, 3, 1, 1, shape=(2, 3))],
        [v(7.5, 2, 8.5, 0, shape=(2, 2))],
        [v(1, 2, 3, 0, -1, 1, shape=(2, 3)), v(0.5, 0)],
    ),
    conv(
        "TestSimple3DConvolution",
        "num_output: 1 kernel_size: 2 bias_term: false",
        [full(1, 1, 1, 2, 2, 3)],
        [full(8, 1, 1, 1, 1, 2)],
        [full(1, 2, 2, 2)],
    ),
    conv(
        "TestDilated3DConvolution",
        "num_output: 1 kernel_size: 2 dilation: 2 bias_term: false",
        [ramp(1, 1, 3, 3, 3)],
        [full(8 * 13, 1, 1, 1, 1, 1)],
        [full(1, 2, 2, 2)],
    ),  # the corners of a cube average to its middle, 13
    conv(
        "Test1x1Convolution",
        "num_output: 2 kernel_size: 1 bias_term: false",
        [v(1, 2, 3, 4, shape=(1, 1, 2, 2))],
        [v(2, 4, 6, 8, 3, 6, 9, 12, shape=(1, 2, 2, 2))],
        [v(2, 3)],
    ),
    conv(
        "TestSimpleConvolutionGroup",
        "num_output: 2 kernel_size: 1 group: 2 bias_term: false",
        [v(1, 2, shape=(1, 2, 1, 1))],
        [v(10, 200, shape=(1, 2, 1, 1))],
        [v(10, 100)],
    ),
    conv(
        "TestSobelConvolution",
        "num_output: 1 kernel_size: 3 bias_term: false",
        [np.tile(ramp(5), (1, 1, 3, 1))],
        [full(8, 1, 1, 1, 3)],
        [SOBEL],
    ),
    conv(
        "TestSobelConvolution, columns",
        "num_output: 1 kernel_h: 3 kernel_w: 1 stride_h: 2 stride_w: 1 bias_term: false",
        [np.tile(ramp(5), (1, 1, 5, 1))],
        [np.tile(4 * ramp(5), (1, 1, 2, 1))],
        [v(1, 2, 1)],
    ),
    conv(
        "TestSobelConvolution, rows",
        "num_output: 1 kernel_h: 1 kernel_w: 3 stride_h: 1 stride_w: 2 bias_term: false",
        [v(0, 1, 3, 6, 10, shape=(1, 1, 1, 5))],
        [v(3, 7, shape=(1, 1, 1, 2))],
        [v(-1, 0, 1)],
    ),
    conv(
        "TestNDAgainst2D",
        "num_output: 1 kernel_size: 1 kernel_size: 3 pad: 0 pad: 1 bias_term: false",
        [ramp(1, 1, 2, 2)],
        [v(1, 1, 5, 5, shape=(1, 1, 2, 2))],
        [v(1, 1, 1)],
    ),
    conv(
        "TestGradient",
        "num_output: 1 kernel_size: 2 bias_term: false",
        [ramp(1, 1, 3, 3)],
        [(1, 1, 2, 2)],
        [ONES2],
        grads=[v(1, 2, 1, 2, 4, 2, 1, 2, 1, shape=(1, 1, 3, 3))],
    ),
    conv(
        "TestDilatedGradient",
        "num_output: 1 kernel_size: 2 dilation: 2 bias_term: false",
        [ramp(1, 1, 3, 3)],
        [(1, 1, 1, 1)],
        [v(1, 2, 3, 4)],
        grads=[v(1, 0, 2, 0, 0, 0, 3, 0, 4, shape=(1, 1, 3, 3))],
    ),
    conv(
        "Test1x1Gradient",
        "num_output: 2 kernel_size: 1 bias_term: false",
        [ramp(1, 1, 2, 2)],
        [(1, 2, 2, 2)],
        [v(2, 3)],
        grads=[full(5, 1, 1, 2, 2)],
    ),
    conv(
        "TestGradientGroup",
        "num_output: 2 kernel_size: 1 group: 2 bias_term: false",
        [ramp(1, 2, 1, 1)],
        [(1, 2, 1, 1)],
        [v(10, 100)],
        grads=[v(10, 100, shape=(1, 2, 1, 1))],
    ),
    conv(
        "TestGradient3D",
        "num_output: 1 kernel_size: 2 bias_term: false",
        [full(1, 1, 1, 2, 2, 2)],
        [(1, 1, 1, 1, 1)],
        [ramp(2, 2, 2)],
        grads=[ramp(1, 1, 2, 2, 2)],
    ),
    conv(
        "base_conv_layer.cpp's checks",
        "num_output: 2 kernel_size: 1 group: 2",
        [(1, 3, 4, 4)],
        error="group 2 does not divide the 3",
    ),
    conv(
        "base_conv_layer.cpp's checks",
        "num_output: 3 kernel_size: 1 group: 2",
        [(1, 4, 4, 4)],
        error="group 2 does not divide num_o",
    ),
    conv("base_conv_layer.cpp's checks", "num_output: 2 kernel_size: 0", [(1, 3, 4, 4)], error="kernel size must be positive"),
    conv(
        "base_conv_layer.cpp's checks", "num_output: 2 kernel_size: 1 stride: 0", [(1, 3, 4, 4)], error="stride must be positive"
    ),
    conv(
        "base_conv_layer.cpp's checks",
        "num_output: 2 kernel_size: 1 kernel_h: 1",
        [(1, 3, 4, 4)],
        error="either kernel_size or kernel_h",
    ),
    conv(
        "base_conv_layer.cpp's checks",
        "num_output: 2 kernel_size: 1 kernel_size: 1 kernel_size: 1",
        [(1, 3, 4, 4)],
        error="3 values of kernel_size for 2 spatial axes",
    ),
    conv("base_conv_layer.cpp's checks", "num_output: 2 kernel_h: 1 kernel_w: 1", [(1, 3, 4)], error="two spatial axes, not 1"),
    conv(
        "base_conv_layer.cpp's checks", "num_output: 2 kernel_size: 1", [(1, 3, 4, 4), (1, 3, 4, 5)], n_tops=2, error="same shape"
    ),
    conv("TestSetup", "num_output: 4 kernel_size: 3 stride: 2", [(2, 3, 6, 4)] * 2, [(2, 4, 13, 9)] * 2, type="Deconvolution"),
    conv(
        "TestSetup, group",
        "num_output: 3 kernel_size: 3 stride: 2 group: 3",
        [(2, 3, 6, 4)],
        [(2, 3, 13, 9)],
        type="Deconvolution",
    ),
    conv(
        "TestSimpleDeconvolution",
        "num_output: 1 kernel_size: 3 stride: 2",
        [full(1, 1, 1, 2, 2)],
        [CROSS + 0.25],
        [full(1, 3, 3), v(0.25)],
        type="Deconvolution",
    ),
    conv(
        "TestSimpleDeconvolution, padding",
        "num_output: 1 kernel_size: 3 stride: 2 pad: 1 bias_term: false",
        [full(1, 1, 1, 2, 2)],
        [CROSS[..., 1:-1, 1:-1]],
        [full(1, 3, 3)],
        type="Deconvolution",
    ),
    conv(
        "TestNDAgainst2D",
        "num_output: 1 kernel_size: 1 kernel_size: 2 stride: 1 stride: 3 bias_term: false",
        [v(1, 2, shape=(1, 1, 1, 2))],
        [v(1, 10, 0, 2, 20, shape=(1, 1, 1, 5))],
        [v(1, 10)],
        type="Deconvolution",
    ),
    conv(
        "TestGradient",
        "num_output: 1 kernel_size: 2 stride: 2 bias_term: false",
        [ramp(1, 1, 2, 2)],
        [(1, 1, 4, 4)],
        [v(1, 2, 3, 4)],
        type="Deconvolution",
        grads=[full(10, 1, 1, 2, 2)],
    ),
    conv(
        "TestGradient3D",
        "num_output: 2 kernel_size: 1 bias_term: false",
        [ramp(1, 1, 1, 1, 2)],
        [(1, 2, 1, 1, 2)],
        [v(3, 4)],
        type="Deconvolution",
        grads=[full(7, 1, 1, 1, 1, 2)],
    ),
    conv("TestSetup", "kernel_size: 3 dilation: 3", [(2, 3, 10, 12)], [(2, 27, 4, 6)], type="Im2col"),
    conv(
        "TestForward",
        "kernel_size: 2",
        [ramp(1, 1, 3, 3)],
        type="Im2col",
        tops=[v(0, 1, 3, 4, 1, 2, 4, 5, 3, 4, 6, 7, 4, 5, 7, 8, shape=(1, 4, 2, 2))],
    ),
    conv(
        "TestGradient",
        "kernel_size: 2",
        [ramp(1, 1, 3, 3)],
        [(1, 4, 2, 2)],
        type="Im2col",
        grads=[v(1, 2, 1, 2, 4, 2, 1, 2, 1, shape=(1, 1, 3, 3))],
    ),
    conv(
        "TestDilatedGradientForceND",
        "kernel_size: 2 dilation: 2 force_nd_im2col: true",
        [ramp(1, 1, 3, 3)],
        [(1, 4, 1, 1)],
        type="Im2col",
        grads=[v(1, 0, 1, 0, 0, 0, 1, 0, 1, shape=(1, 1, 3, 3))],
    ),
    conv(
        "TestRect",
        "kernel_h: 2 kernel_w: 1",
        [ramp(1, 1, 3, 2)],
        type="Im2col",
        tops=[v(0, 1, 2, 3, 2, 3, 4, 5, shape=(1, 2, 2, 2))],
    ),
    pool("TestSetup", "kernel_size: 3 stride: 2", [(2, 3, 6, 5)], [(2, 3, 3, 2)]),
    pool("TestSetupPadded", "pool: AVE kernel_size: 3 stride: 2 pad: 1", [(2, 3, 6, 5)], [(2, 3, 4, 3)]),
    pool("TestSetupGlobalPooling", "pool: AVE global_pooling: true", [(2, 3, 6, 5)], [(2, 3, 1, 1)]),
    pool("TestForwardMax", "kernel_size: 2", [ramp(1, 1, 3, 3)], [v(4, 5, 7, 8, shape=(1, 1, 2, 2))]),
    pool("TestForwardMax, tall window", "kernel_h: 3 kernel_w: 2", [ramp(1, 1, 4, 3)], [v(7, 8, 10, 11, shape=(1, 1, 2, 2))]),
    pool("TestForwardMax, wide window", "kernel_h: 2 kernel_w: 3", [-ramp(1, 1, 3, 4)], [-v(0, 1, 4, 5, shape=(1, 1, 2, 2))]),
    pool(
        "TestForwardMaxTopMask",
        "kernel_size: 2 stride: 2",
        [v(9, 1, 2, 7, 3, 4, 5, 6, shape=(1, 1, 2, 4))],
        [v(9, 7, shape=(1, 1, 1, 2)), v(0, 3, shape=(1, 1, 1, 2))],
    ),
    pool(
        "TestForwardMaxPadded",
        "kernel_size: 3 stride: 2 pad: 1",
        [v(5, 1, 2, 3, 4, 9, 7, 6, 8, shape=(1, 1, 3, 3))],
        [v(5, 9, 7, 9, shape=(1, 1, 2, 2))],
    ),
    pool("TestForwardMaxPadded, below 0", "kernel_size: 3 stride: 2 pad: 1", [full(-3, 1, 1, 3, 3)], [full(-3, 1, 1, 2, 2)]),
    pool(
        "TestForwardAve",
        "pool: AVE kernel_size: 3 pad: 1",
        [full(2, 1, 1, 3, 3)],
        [v(8, 12, 8, 12, 18, 12, 8, 12, 8, shape=(1, 1, 3, 3)) / 9],
    ),
    pool(
        "TestForwardAve, clipped last window",
        "pool: AVE kernel_h: 1 kernel_w: 2 stride: 2",
        [ramp(1, 1, 1, 5)],
        [v(0.5, 2.5, 4, shape=(1, 1, 1, 3))],
    ),
    pool(
        "TestForwardMax, clipped last window",
        "kernel_h: 1 kernel_w: 3 stride: 2",
        [ramp(1, 1, 1, 6)],
        [v(2, 4, 5, shape=(1, 1, 1, 3))],
    ),
    pool(
        "TestGradientMax", "kernel_size: 2", [ramp(1, 1, 2, 3)], [(1, 1, 1, 2)], grads=[v(0, 0, 0, 0, 1, 1, shape=(1, 1, 2, 3))]
    ),
    pool(
        "TestGradientMax, one maximum of two windows",
        "kernel_size: 2",
        [v(0, 9, 0, 0, 0, 0, shape=(1, 1, 2, 3))],
        [full(9, 1, 1, 1, 2)],
        grads=[v(0, 2, 0, 0, 0, 0, shape=(1, 1, 2, 3))],
    ),
    pool(
        "TestGradientAve",
        "pool: AVE kernel_size: 2",
        [ramp(1, 1, 2, 3)],
        [v(2, 3, shape=(1, 1, 1, 2))],
        grads=[v(1, 2, 1, 1, 2, 1, shape=(1, 1, 2, 3)) / 4],
    ),
    pool(
        "TestGradientAvePadded",
        "pool: AVE kernel_size: 3 pad: 1",
        [ramp(1, 1, 1, 2)],
        [v(1, 1, shape=(1, 1, 1, 2)) / 9],
        grads=[v(2, 2, shape=(1, 1, 1, 2)) / 9],
    ),
    pool("pooling_layer.cpp's checks", "kernel_size: 2 pad: 2", [(1, 1, 4, 4)], error="pad"),
    pool("pooling_layer.cpp's checks", "global_pooling: true kernel_size: 2", [(1, 1, 4, 4)], error="kernel"),
    pool("pooling_layer.cpp's checks", "global_pooling: true stride: 2", [(1, 1, 4, 4)], error="stride"),
    pool("pooling_layer.cpp's checks", "kernel_size: 2 stride: 2 stride_h: 2", [(1, 1, 4, 4)], error="stride"),
    pool("pooling_layer.cpp's checks", "kernel_h: 2", [(1, 1, 4, 4)], error="kernel"),
    pool("pooling_layer.cpp's checks", "kernel_size: 2", [(1, 1, 4)], error="axes"),
    Row(
        "test_stochastic_pooling.cpp TestSetup",
        'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }',
        [(2, 3, 6, 5)],
        [(2, 3, 3, 2)],
    ),
    Row(
        "test_stochastic_pooling.cpp TestStochasticTestPhase",
        'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 }',
        [v(1, 2, 3, 4, shape=(1, 1, 2, 2))],
        [full(3, 1, 1, 1, 1)],
    ),
    Row(
        "test_stochastic_pooling.cpp TestStochastic",
        'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 }',
        [v(0, 0, 7, 0, shape=(1, 1, 2, 2))],
        [full(7, 1, 1, 1, 1)],
        phase="TRAIN",
    ),
    Row("test_spp_layer.cpp TestSetup", 'type: "SPP" spp_param { pyramid_height: 3 }', [(2, 3, 9, 8)], [(2, 63)]),
    Row("test_spp_layer.cpp TestEqualOutputDims", 'type: "SPP" spp_param { pyramid_height: 5 }', [(1, 2, 64, 48)], [(1, 682)]),
    Row(
        "test_spp_layer.cpp TestForwardBackward",
        'type: "SPP" spp_param { pyramid_height: 2 }',
        [ramp(1, 1, 2, 2)],
        [v(3, 0, 1, 2, 3)],
    ),
]
