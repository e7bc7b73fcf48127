"""Layers that compute each value by itself: values and gradients by their formulas, at five points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .table import Array, Row, full, v

Function = Callable[[Array], Array]
POINTS = v(-2, -0.5, 0.25, 1, 3)
POSITIVE = v(0.125, 0.5, 1, 2, 4)
_sigmoid: Function = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731


def both(test: str, layer: str, function: Function, slope: Function, x: Array = POINTS, file: str = "neuron_layer") -> list[Row]:
    """The layer's values and, by the test of its gradient, its slopes."""
    file = f"test_{file}.cpp"
    return [
        Row(f"{file} {test}", layer, [x], [function(x)]),
        Row(f"{file} {test}, gradient", layer, [x], [x.shape], grads=[slope(x)]),
    ]


def exp(test: str, base: float, param: str, scale: float = 1, shift: float = 0) -> list[Row]:
    log = 1.0 if base == -1 else np.log(base)
    layer = f'type: "Exp" exp_param {{ base: {base} {param} }}'
    return both(
        test, layer, lambda x: np.exp(log * (shift + scale * x)), lambda x: log * scale * np.exp(log * (shift + scale * x))
    )


def log(test: str, base: float, param: str, scale: float = 1, shift: float = 0) -> list[Row]:
    unit = 1.0 if base == -1 else np.log(base)
    layer = f'type: "Log" log_param {{ base: {base} {param} }}'
    return both(test, layer, lambda x: np.log(shift + scale * x) / unit, lambda x: scale / (shift + scale * x) / unit, POSITIVE)


def power(test: str, param: str, power: float, scale: float, shift: float) -> list[Row]:
    layer = f'type: "Power" power_param {{ {param} }}'
    return both(
        test,
        layer,
        lambda x: (shift + scale * x) ** power,
        lambda x: power * scale * (shift + scale * x) ** (power - 1),
        POSITIVE,
        "power_layer",
    )


ROWS = [
    *both("TestAbsVal", 'type: "AbsVal"', np.abs, np.sign),
    *both(
        "TestClip", 'type: "Clip" clip_param { min: -1 max: 2 }', lambda x: x.clip(-1, 2), lambda x: 1.0 * ((x > -1) & (x < 2))
    ),
    *both("TestReLU", 'type: "ReLU"', lambda x: x.clip(0), lambda x: 1.0 * (x > 0)),
    *both(
        "TestReLUWithNegativeSlope",
        'type: "ReLU" relu_param { negative_slope: 0.25 }',
        lambda x: np.where(x > 0, x, x / 4),
        lambda x: np.where(x > 0, 1, 0.25),
    ),
    *both(
        "TestELU",
        'type: "ELU" elu_param { alpha: 0.5 }',
        lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)),
        lambda x: np.where(x > 0, 1, 0.5 * np.exp(x)),
    ),
    *both("TestELUasReLU", 'type: "ELU" elu_param { alpha: 0 }', lambda x: x.clip(0), lambda x: 1.0 * (x > 0)),
    *both("TestSigmoid", 'type: "Sigmoid"', _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    *both("TestSwish", 'type: "Swish"', lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x))),
    *both(
        "TestSwishWithBeta",
        'type: "Swish" swish_param { beta: 7 }',
        lambda x: x * _sigmoid(7 * x),
        lambda x: _sigmoid(7 * x) * (1 + 7 * x * _sigmoid(-7 * x)),
    ),
    *both("TestSwishAsLinear", 'type: "Swish" swish_param { beta: 0 }', lambda x: x / 2, lambda x: full(0.5, *x.shape)),
    *both("TestTanH", 'type: "TanH"', np.tanh, lambda x: 1 - np.tanh(x) ** 2, file="tanh_layer"),
    Row("test_tanh_layer.cpp TestTanHOverflow", 'type: "TanH"', [v(-10000, 10000)], [v(-1, 1)]),
    *exp("TestExpLayer", -1, ""),
    *exp("TestExpLayerWithShift", -1, "shift: 1", shift=1),
    *exp("TestExpLayerBase2", 2, ""),
    *exp("TestExpLayerBase2Shift1", 2, "shift: 1", shift=1),
    *exp("TestExpLayerBase2Scale3", 2, "scale: 3", scale=3),
    *exp("TestExpLayerBase2Shift1Scale3", 2, "shift: 1 scale: 3", 3, 1),
    *log("TestLogLayer", -1, ""),
    *log("TestLogLayerBase2", 2, ""),
    *log("TestLogLayerBase2Shift1", 2, "shift: 1", shift=1),
    *log("TestLogLayerBase2Scale3", 2, "scale: 3", scale=3),
    *log("TestLogLayerBase2Shift1Scale3", 2, "shift: 1 scale: 3", 3, 1),
    Row("test_neuron_layer.cpp TestLogLayer", 'type: "Log" log_param { base: 0 }', [(1, 2)], error="base"),
    Row("test_neuron_layer.cpp TestExpLayer", 'type: "Exp" exp_param { base: 0 }', [(1, 2)], error="base"),
    *both("TestBNLL", 'type: "BNLL"', lambda x: np.log1p(np.exp(x)), _sigmoid),
    Row("test_neuron_layer.cpp TestBNLL", 'type: "BNLL"', [v(-100, 0, 100)], [v(0, np.log(2), 100)]),
    Row(
        "test_neuron_layer.cpp TestPReLUParam",
        'type: "PReLU"',
        [full(-1, 1, 2, 1, 1)],
        [full(-0.25, 1, 2, 1, 1)],
        [v(0.25, 0.25)],
    ),
    Row(
        "test_neuron_layer.cpp TestPReLUForward",
        'type: "PReLU"',
        [v(-1, 2, -3, 4, shape=(1, 2, 2))],
        [v(-10, 2, -300, 4, shape=(1, 2, 2))],
        [v(10, 100)],
        grads=[v(10, 1, 100, 1, shape=(1, 2, 2))],
    ),
    Row(
        "test_neuron_layer.cpp TestPReLUForwardChannelShared",
        'type: "PReLU" prelu_param { channel_shared: true }',
        [v(-1, 2, -3, 4, shape=(1, 2, 2))],
        [v(-10, 2, -30, 4, shape=(1, 2, 2))],
        [v(10)],
    ),
    Row(
        "test_neuron_layer.cpp TestPReLUConsistencyReLU",
        'type: "PReLU"',
        [POINTS],
        [np.where(POINTS > 0, POINTS, POINTS / 4)],
        [full(0.25, 5)],
    ),
    Row(
        "test_neuron_layer.cpp TestDropoutTestPhase",
        'type: "Dropout" dropout_param { dropout_ratio: 0.75 }',
        [POINTS],
        [POINTS],
        grads=[full(1, 1, 5)],
    ),
    Row(
        "test_neuron_layer.cpp TestDropoutHalf",
        'type: "Dropout" dropout_param { dropout_ratio: 0 }',
        [POINTS],
        [POINTS],
        phase="TRAIN",
    ),
    Row("test_neuron_layer.cpp TestDropoutHalf", 'type: "Dropout" dropout_param { dropout_ratio: 2 }', [(1, 2)], error="ratio"),
    Row("test_threshold_layer.cpp TestSetup", 'type: "Threshold"', [(2, 3, 6, 5)], [(2, 3, 6, 5)]),
    Row("test_threshold_layer.cpp Test", 'type: "Threshold"', [v(-1, 0, 0.1)], [v(0, 0, 1)]),
    Row(
        "test_threshold_layer.cpp Test2", 'type: "Threshold" threshold_param { threshold: 0.5 }', [v(0.4, 0.5, 0.6)], [v(0, 0, 1)]
    ),
    *power("TestPower", "power: 0.37 scale: 0.83 shift: 2.4", 0.37, 0.83, 2.4),
    *power("TestPowerGradientShiftZero", "power: 0.37 scale: 0.83", 0.37, 0.83, 0),
    *power("TestPowerZero", "power: 0 scale: 0.83 shift: 2.4", 0, 0.83, 2.4),
    *power("TestPowerOne", "scale: 0.83 shift: 2.4", 1, 0.83, 2.4),
    *power("TestPowerTwo", "power: 2 scale: 0.34 shift: -2.4", 2, 0.34, -2.4),
    *power("TestPowerTwoScaleHalfGradient", "power: 2 scale: 0.5 shift: -2.4", 2, 0.5, -2.4),
]
