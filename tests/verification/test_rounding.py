"""Where engines differ by more than the tolerance, PyTorch in float64 tells rounding from faults."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import protogen
from protogen import NetBuilder
from protogen.backends import BACKENDS, ROUNDING
from protogen.backends.torch import run_torch
from protogen.verification import verify
from protogen.verification.rounding import RUNS
from tests.nets import small_net
from tests.verification.engines import wrong


def test_a_blob_that_rounding_decides_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference of two large numbers: any engine that sums in another order gives another one."""
    b = NetBuilder("unstable")
    b.fc(b.input("data", (1, 2)), 1, name="fc", bias_term=False)
    net = b.build()
    net.weights["fc"] = [np.array([[1e6, -1e6]], np.float32)]
    wrong(monkeypatch, "onnxruntime", lambda blobs: blobs.update(fc=blobs["fc"] + np.float32(0.05)))
    report = verify(net, inputs={"data": np.array([[1, 1]], np.float32)})
    assert not report.ok
    assert report.rounding > report.tolerance
    assert "rounding decides this blob" in report.verdict


def wide() -> protogen.Net:
    """Convolutions of 2,304 products, and a sum of 12,544; every blob is computed to about 3e-6 by engines that add directly."""
    b = NetBuilder("wide")
    x = b.relu(b.conv(b.input("data", (1, 256, 7, 7)), 256, 3, pad=1, name="conv"), name="relu")
    b.fc(x, 64, name="fc")
    return b.build()


def summed_in_order(blobs: dict[str, np.ndarray]) -> None:
    """What an engine gets that adds up one product after the other, or transforms as Winograd does: off by a bit more."""
    rng = np.random.default_rng(0)
    for name in ("conv", "fc"):
        if name in blobs:
            size = 2e-5 * np.abs(blobs[name]).max() / 4.5  # of normal numbers, the largest of some thousands is 4.5
            blobs[name] = blobs[name] + (size * rng.standard_normal(blobs[name].shape)).astype(np.float32)


def test_what_an_engines_arithmetic_accounts_for_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, "onnxruntime", summed_in_order)
    assert not verify(wide()).ok, "more than an engine that adds directly is off by"
    monkeypatch.setitem(ROUNDING, "onnxruntime", 6)
    report = verify(wide())
    assert report.ok, report.verdict
    assert {row.blob for row in report.by_rounding} == {"conv", "fc"}
    assert "agree within 1e-05 or within float32's rounding (3 of them)" in report.verdict
    assert all(row.rounding is not None and 1e-5 < row.max_rel <= row.rounding < 1e-4 for row in report.by_rounding)
    assert str(report).count("  rounding gives up to ") == 3
    assert not verify(wide(), tolerance=1e-7).ok, "at most ten times the tolerance is accounted for"


def test_opencvs_convolutions_are_right_by_their_arithmetic() -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    report = verify(wide(), ("torch", "opencv"))
    assert report.ok, report.verdict


def test_no_float64_where_all_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []
    right = BACKENDS["torch"]

    def seen(graph: Any, feed: Any, setting: Any) -> Any:
        kinds.append(setting.dtype)
        return right(graph, feed, setting)

    monkeypatch.setitem(BACKENDS, "torch", seen)
    assert verify(small_net()).ok
    assert "float64" not in kinds
    wrong(monkeypatch, "onnxruntime", lambda blobs: blobs.update(fc=blobs["fc"] * 1.5) if "fc" in blobs else None)
    assert not verify(small_net()).ok
    assert kinds.count("float64") == 1 + RUNS, "once for the exact values, and for each run with rounding errors"


def mutated(net: protogen.Net, layer: str, index: int, change: Any) -> Any:
    """A backend that runs ONNX Runtime on the net with one learnable blob changed."""
    right = BACKENDS["onnxruntime"]

    def run(graph: Any, feed: Any, setting: Any) -> Any:
        (weight,) = (node.weights[index] for node in graph.nodes if node.op.layer.name == layer)
        twin = replace(weight, values=change(weight.values.copy()))
        nodes = [replace(node, weights=[twin if each is weight else each for each in node.weights]) for node in graph.nodes]
        return right(replace(graph, nodes=nodes), feed, setting)

    return run


def one_weight(values: np.ndarray) -> np.ndarray:
    values.flat[np.abs(values).argmax()] *= 1.001
    return values


def no_bias(values: np.ndarray) -> np.ndarray:
    values[0] = 0
    return values


@pytest.mark.parametrize("factor", [1, 6])
@pytest.mark.parametrize(
    ("layer", "index", "change"),
    [
        ("conv", 0, one_weight),
        ("conv", 0, lambda values: values * np.float32(1.0002)),
        ("conv", 0, lambda values: values[:, ::-1]),
        ("conv", 1, no_bias),
        ("bn", 1, lambda values: values + np.float32(1e-3 - 1e-5)),
        ("fc", 0, lambda values: np.where(values == values.max(), 0, values)),
        ("fc", 1, no_bias),
    ],
)
def test_no_fault_above_a_ten_thousandth_passes_for_rounding(
    layer: str, index: int, change: Any, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the engine is trusted to round."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 16 dim: 9 dim: 9 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 16 kernel_size: 3 } }
        layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
        layer { name: "fc" type: "InnerProduct" bottom: "bn" top: "fc" inner_product_param { num_output: 10 } }""")
    monkeypatch.setitem(BACKENDS, "onnxruntime", mutated(net, layer, index, change))
    monkeypatch.setitem(ROUNDING, "onnxruntime", factor)
    report = verify(net, folded=False)
    assert max(row.max_rel for row in report.rows) > 1e-4, "a fault that shows"
    assert report.first_difference is not None
    assert report.first_difference.blob == layer
    assert "tolerance 1e-05 (--tolerance)" in report.verdict


def test_the_arbiter_says_which_engine_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, "torch", lambda blobs: blobs.update(fc=blobs["fc"] * 1.001) if "fc" in blobs else None)
    right = BACKENDS["torch"]

    def sound_in_float64(graph: Any, feed: Any, setting: Any) -> Any:
        return (run_torch if setting.dtype == "float64" else right)(graph, feed, setting)

    monkeypatch.setitem(BACKENDS, "torch", sound_in_float64)
    row = verify(small_net()).first_difference
    assert row is not None
    assert row.distances is not None
    onnxruntime, torch = row.distances
    assert onnxruntime < 1e-6
    assert torch == pytest.approx(1e-3, rel=1e-2)
    assert re.search(r"PyTorch in float64 is \S+e-0[78] away from onnxruntime and 0.001 from torch", verify(small_net()).verdict)
