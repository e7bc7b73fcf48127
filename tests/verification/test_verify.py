"""verify: agreement, differences found and named, inputs given, and wrong requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import protogen
from protogen import NetBuilder, ProtogenError, verification
from protogen.targets.onnx.options import Preprocess
from protogen.verification import verify
from tests.backends.test_model_file import BGR
from tests.nets import SSD, small_net
from tests.verification.engines import wrong


def test_every_blob_is_compared() -> None:
    net = small_net()
    report = verify(net)
    assert report.ok
    assert report.first_difference is None
    assert report.comparisons == ["onnxruntime / torch", "torch folded / torch", "onnxruntime folded / torch"]
    computed = [blob for blob in net.shapes if blob not in net.inputs]
    assert [row.blob for row in report.rows if row.comparison == "onnxruntime / torch"] == computed
    assert [row.blob for row in report.rows if row.comparison == "torch folded / torch"] == net.outputs
    assert {row.blob: row.shape for row in report.rows} == {blob: net.shapes[blob] for blob in computed}
    assert all(row.max_rel <= 1e-5 for row in report.rows)
    assert report.verdict.startswith("all ")
    assert report.verdict in str(report)


def test_the_net_given_stays_as_it_is() -> None:
    net = small_net()
    verify(net)
    assert dict(net.weights) == {}


def test_the_first_blob_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(blobs: dict[str, np.ndarray]) -> None:
        for name in ("pool", "fc"):
            if name in blobs:
                blobs[name] = blobs[name] + 0.01 * np.abs(blobs[name]).max()

    wrong(monkeypatch, "onnxruntime", change)
    report = verify(small_net())
    assert not report.ok
    row = report.first_difference
    assert row is not None
    assert (row.comparison, row.blob) == ("onnxruntime / torch", "pool")
    assert row.max_rel == pytest.approx(0.01, rel=1e-3)
    assert "blob 'pool' (2, 8, 1, 1) is the first that differs" in report.verdict
    assert [r.blob for r in report.rows if not r.ok] == ["pool", "fc"]
    assert "DIFFERS" in str(report)
    assert "rounding decides" not in report.verdict
    assert verify(small_net(), tolerance=0.02).ok


def test_backends_in_either_order() -> None:
    report = verify(small_net(), backends=("onnxruntime", "torch"))
    assert report.ok
    assert report.comparisons[0] == "torch / onnxruntime"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:x"}, "unknown device 'cuda:x'"),
        ({"tolerance": float("nan")}, "a tolerance must be a finite number"),
        ({"device": "meta"}, "device 'meta' cannot be used here"),
        ({"dtype": "float61"}, "unknown dtype 'float61'; did you mean 'float16'"),
        ({"backends": ("torch", "onnx-runtime")}, "unknown backend 'onnx-runtime'; did you mean 'onnxruntime'"),
        ({"backends": ()}, "no backends"),
        ({"inputs": {"dat": np.zeros((2, 3, 12, 12))}}, "no input 'dat'; did you mean 'data'"),
        (
            {"inputs": {"data": np.zeros((1, 3, 12, 12))}},
            r"input 'data' has shape \(2, 3, 12, 12\), but its value has shape \(1, 3, 12, 12\)",
        ),
        ({"opset": 3}, "opset 3 is not supported"),
    ],
)
def test_wrong_requests(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtogenError, match=message):
        verify(small_net(), **options)


def test_a_net_that_computes_nothing() -> None:
    b = NetBuilder()
    b.input("data", (1, 2))
    with pytest.raises(ProtogenError, match="nothing to verify"):
        verify(b.build())


def test_a_training_net_is_compared_as_it_is_in_inference() -> None:
    """Where regions are sampled to train with, PyTorch in phase TRAIN has other rows than the model."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "map" top: "rois" top: "gt_boxes"
                input_param { shape { dim: 1 dim: 4 dim: 9 dim: 9 } shape { dim: 5 dim: 5 } shape { dim: 2 dim: 5 } } }
        layer { name: "targets" type: "Python" bottom: "rois" bottom: "gt_boxes"
                top: "sampled" top: "labels" top: "to" top: "w" top: "v"
                python_param { module: "rpn.proposal_target_layer" layer: "ProposalTargetLayer" param_str: "'num_classes': 3" } }
        layer { name: "pool" type: "ROIPooling" bottom: "map" bottom: "sampled" top: "pool"
                roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }
        layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 3 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "labels" top: "loss" }
        layer { name: "quiet" type: "Silence" bottom: "to" bottom: "w" bottom: "v" }""", phase="TRAIN")  # fmt: skip
    report = verify(net)
    assert report.ok, report.verdict
    assert {row.blob: row.shape for row in report.rows}["fc"] == (5, 3)


def test_float16_weights_have_their_own_tolerance() -> None:
    report = verify(small_net(), fp16=True)
    assert report.tolerance == verification.TOLERANCES["float16"]
    assert 1e-5 < max(row.max_rel for row in report.rows) <= 1e-2


def test_preprocessing_that_a_model_gets_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from protogen.targets.onnx import emit

    def forgets(graph: Any, x: str, what: Preprocess, channels: int) -> str:
        return graph.add("Mul", graph.transpose(x, [0, 3, 1, 2]), graph.constant([[[n]] for n in what.scales]))

    monkeypatch.setattr(emit, "_preprocessed", forgets)
    report = verify(small_net(), preprocess=BGR)
    assert report.first_difference is not None
    assert report.first_difference.blob == "one"


def test_given_images_are_those_that_the_model_takes() -> None:
    net = small_net()
    image = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3)).astype(np.float32)
    report = verify(net, inputs={"data": image}, preprocess=BGR)
    assert report.ok, report.verdict
    with pytest.raises(ProtogenError, match=r"input 'data' has shape \(2, 12, 12, 3\), but its value has shape \(2, 3, 12, 12\)"):
        verify(net, inputs={"data": image.transpose(0, 3, 1, 2)}, preprocess=BGR)


def test_without_postprocessing_the_heads_are_compared() -> None:
    net = protogen.loads(SSD)
    report = verify(net, postprocess=False, dynamic_batch=True)
    assert report.ok, report.verdict
    assert report.outputs == ["loc_flat", "conf_flat", "prior"]
    assert [row.blob for row in report.rows if row.comparison == "onnxruntime folded / torch"] == report.outputs
    assert verify(net).outputs == ["detection_out"]


def test_preprocessing_undone() -> None:
    blob = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    image = BGR.undo(blob)
    assert image.shape == BGR.shape_of(blob.shape) == (2, 4, 5, 3)
    np.testing.assert_allclose(BGR.apply(image), blob, atol=1e-5)
    assert image[0, 0, 0, 2] == pytest.approx(blob[0, 0, 0, 0] / 0.017 + 104), "red, the image's last channel, is the net's first"


def test_detections_are_left_out_in_half_precision() -> None:
    """Scores that nearly tie change places; what comes before the detections is compared."""
    net = protogen.loads(SSD + 'layer { name: "more" type: "Power" bottom: "detection_out" top: "more" }')
    for options in ({"fp16": True}, {"dtype": "bfloat16"}):
        report = verify(net, **options)
        assert report.ok, report.verdict
        assert report.left_out == ["detection_out", "more"]
        assert not {"detection_out", "more"} & {row.blob for row in report.rows}
        assert "not compared, because half precision reorders rows: detection_out, more" in report.verdict
    assert "detection_out" in {row.blob for row in verify(net).rows}


def test_layers_are_set_up_once_and_weights_filled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folded or not, in PyTorch or ONNX: every form is made of the net's own graph."""
    from protogen.graph import store
    from protogen.layers.base import LayerType

    net = protogen.models.peleenet(size=32, classes=10)
    set_up: list[str] = []
    drawn: list[tuple[str, int]] = []
    init, draw = LayerType.__init__, store._drawn

    def counted_init(self: LayerType, layer: Any, *args: Any) -> None:
        set_up.append(layer.name)
        init(self, layer, *args)

    def counted_draw(layer: str, index: int, *args: Any) -> Any:
        drawn.append((layer, index))
        return draw(layer, index, *args)

    monkeypatch.setattr(LayerType, "__init__", counted_init)
    monkeypatch.setattr(store, "_drawn", counted_draw)
    assert verify(net).ok
    assert set_up == [], "the net has set them up"
    assert sorted(drawn) == sorted({(op.layer.name, i) for op in net.ops for i in range(len(op.blobs))})


def test_a_net_whose_only_layer_works_in_place_on_its_input_is_verified() -> None:
    net = protogen.loads("""
        input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
        layer { name: "p" type: "Power" bottom: "data" top: "data" power_param { scale: 0.5 shift: 1 } }""")
    report = protogen.verify(net)
    assert report.ok
    assert {row.blob for row in report.rows} == {"data"}
