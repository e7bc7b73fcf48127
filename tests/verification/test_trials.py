"""Which runs are compared: folded forms, and models with a dynamic batch or size at a larger one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import protogen
from protogen import ConversionError, NetBuilder
from protogen.verification import verify
from tests.nets import small_net


def test_a_difference_of_the_folded_form_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from protogen.layers.convolution import Convolution

    def forgets(self: Any, weights: Any, scale: Any, shift: Any) -> Any:
        merged = (weights[0] * scale.reshape(-1, 1, 1, 1)).astype(np.float32)
        return self._with_bias(), [merged, np.zeros(len(scale), np.float32)]

    monkeypatch.setattr(Convolution, "absorb", forgets)
    report = verify(small_net())
    assert report.first_difference is not None
    assert report.first_difference.comparison == "torch folded / torch"
    assert verify(small_net(), folded=False).ok


def test_one_backend_is_compared_with_its_folded_form() -> None:
    assert verify(small_net(), backends=["torch"]).comparisons == ["torch folded / torch"]


def test_a_training_net_is_compared_unfolded() -> None:
    b = NetBuilder(phase="TRAIN")
    b.relu(b.conv(b.input("data", (2, 3, 6, 6)), 4, 3))
    assert verify(b.build()).comparisons == ["onnxruntime / torch"]


def test_a_model_that_only_fits_the_size_it_was_made_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the check of the emitted form ever too lenient, running it elsewhere would show."""
    from protogen.layers.pooling import Pooling
    from protogen.targets.onnx import emit

    b = NetBuilder("same")
    b.pool(b.conv(b.input("data", (1, 1, 6, 6)), 2, 3, name="conv"), "AVE", 4, stride=1, name="pool")
    net = b.build()
    assert verify(net, dynamic_size=True).ok
    monkeypatch.setattr(emit, "require_size_free", lambda *_: None)
    monkeypatch.setattr(Pooling, "onnx", lambda self, graph, bottoms, blobs: graph.add("GlobalAveragePool", bottoms[0]))
    report = verify(net, dynamic_size=True)
    assert report.first_difference is not None
    assert report.first_difference.comparison == "onnxruntime at 1x1x38x70 / torch"


def test_losses_need_not_take_the_larger_batch() -> None:
    """Models are without them; this one wants as many predictions as there are labels."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "labels" type: "DummyData" top: "label"
                dummy_data_param { shape { dim: 2 } data_filler { type: "constant" value: 1 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }""")
    report = verify(net, dynamic_batch=True)
    assert report.ok, report.verdict
    assert "onnxruntime at 3x3 / torch" in report.comparisons


@pytest.mark.parametrize("option", ["dynamic_size", "dynamic_batch"])
@pytest.mark.parametrize(
    "layer",
    [
        'type: "InnerProduct" inner_product_param { num_output: 5 }',
        'type: "Reshape" reshape_param { shape { dim: 1 dim: 400 } }',
        'type: "Bias" bias_param { axis: 0 num_axes: -1 }',
    ],
)
def test_what_cannot_be_dynamic_is_refused_as_by_convert(layer: str, option: str) -> None:
    net = protogen.loads(f"""
        layer {{ name: "in" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 3 dim: 12 dim: 12 }} }} }}
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
                convolution_param {{ num_output: 4 kernel_size: 3 }} }}
        layer {{ name: "last" bottom: "conv" top: "last" {layer} }}""")
    try:
        net.to_onnx(**{option: True})
    except ConversionError as error:
        with pytest.raises(ConversionError) as again:
            verify(net, **{option: True})
        assert again.value.lines == error.lines
    else:
        assert "InnerProduct" in layer
        assert option == "dynamic_batch"
        assert verify(net, **{option: True}).ok
