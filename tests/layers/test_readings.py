"""Types that are different layers in different forks: the text decides, then how many blobs the weights have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ProtogenWarning, WeightsError
from protogen.weights import caffemodel
from tests.running import by_onnx, by_torch

HEAD = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 2 dim: 2 } } }\n'
X = np.random.default_rng(0).standard_normal((2, 3, 2, 2)).astype(np.float32)
C = (3,)


def text(layer: str) -> str:
    return HEAD + f'layer {{ name: "op" bottom: "x" top: "y" {layer} }}'


def stored(path: Path, *shapes: Sequence[int], layer: str = "op") -> Path:
    """A caffemodel whose layer has blobs of these shapes, with values from 1 to 2; and a layer without blobs."""
    rng = np.random.default_rng(1)
    blobs = [rng.uniform(1, 2, shape).astype(np.float32) for shape in shapes]
    caffemodel.write(path, "", [("x", "Input", [], ["x"], []), (layer, "", ["x"], ["y"], blobs)])
    return path


def held(path: Path) -> list[np.ndarray]:
    return [np.asarray(blob) for blob in caffemodel.read(path)[1].blobs]


def each_position(x: np.ndarray) -> np.ndarray:
    """happynear/caffe-windows, normalize_layer.cpp."""
    return x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-6)


def everything(x: np.ndarray) -> np.ndarray:
    """weiliu89/caffe, normalize_layer.cpp, with a scale of 1."""
    return x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 1e-10)


def assert_gives(net: protogen.Net, expected: np.ndarray) -> None:
    for values in (by_torch(net, {"x": X}), by_onnx(net, {"x": X})):
        np.testing.assert_allclose(values[0], expected, rtol=1e-4, atol=1e-5)


class TestNormalize:
    @pytest.mark.parametrize("param", ["norm_param { }", "norm_param { eps: 1e-10 }", "param { }", "param { lr_mult: 0 }"])
    def test_the_text_says_that_it_is_ssds(self, param: str) -> None:
        net = protogen.loads(text(f'type: "Normalize" {param}'))
        assert net.param_shapes == {"op": [()]}
        assert_gives(net, everything(X))
        assert protogen.loads(net.to_prototxt()).param_shapes == net.param_shapes, "an empty norm_param is written, too"

    def test_blobs_in_the_text_say_so(self) -> None:
        net = protogen.loads(text('type: "Normalize" blobs { data: 3 }'))
        assert_gives(net, 3 * everything(X))
        assert_gives(net.at("TEST"), 3 * everything(X))

    @pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5", "pth"])
    def test_one_blob_in_the_weights_makes_it_ssds(self, tmp_path: Path, ending: str) -> None:
        known = protogen.loads(text('type: "Normalize" norm_param { }'))
        known.weights["op"] = [np.array(2.5)]
        path = tmp_path / f"a.{ending}"
        if ending == "pth":
            torch.save(known.to_torch().state_dict(), path)
        else:
            known.save_caffemodel(path)
        net = protogen.loads(text('type: "Normalize"'), weights=path)
        assert_gives(net, 2.5 * everything(X))
        assert_gives(net.at("TEST"), 2.5 * everything(X))

    @pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5", "pth"])
    def test_none_in_the_weights_make_it_happynears(self, tmp_path: Path, ending: str) -> None:
        more = 'layer { name: "fc" type: "InnerProduct" bottom: "y" top: "z" inner_product_param { num_output: 1 } }'
        known = protogen.loads(text('type: "Normalize" normalize_param { }') + more).fill()
        path = tmp_path / f"a.{ending}"
        if ending == "pth":
            torch.save(known.to_torch().state_dict(), path)
        else:
            known.save_caffemodel(path)
        net = protogen.loads(text('type: "Normalize"') + more, weights=path)
        y = net.to_torch().blobs(torch.tensor(X))["y"]
        np.testing.assert_allclose(y.numpy(), each_position(X), rtol=1e-5)

    def test_where_nothing_tells_a_warning_names_both_and_what_to_write(self, tmp_path: Path) -> None:
        message = (
            r"^<text>:2:7: layer 'op' \(Normalize\): taken for happynear's Normalize .*write "
            r"normalize_param \{\} for happynear's .*, norm_param \{\} for SSD's "
        )
        with pytest.warns(ProtogenWarning, match=message):
            net = protogen.loads(text('type: "Normalize"'))
        assert_gives(net, each_position(X))
        assert_gives(net.at("TRAIN").at("TEST"), each_position(X))
        with pytest.warns(ProtogenWarning, match="taken for"), pytest.raises(WeightsError, match="none of its layers"):
            protogen.loads(text('type: "Normalize"'), weights=stored(tmp_path / "a.caffemodel", (3,), layer="other"))

    def test_weights_that_come_later_must_go_with_what_was_taken(self, tmp_path: Path) -> None:
        with pytest.warns(ProtogenWarning, match="taken for"):
            net = protogen.loads(text('type: "Normalize"'))
        message = r"'op' \(Normalize\) was taken for happynear's .* load net and weights together.* norm_param \{\}"
        with pytest.raises(WeightsError, match=message):
            net.weights.load(stored(tmp_path / "a.caffemodel", ()))
        with pytest.raises(WeightsError, match=message):
            net.weights["op"] = [np.array(1.0)]

    def test_the_builder_warns_too(self) -> None:
        b = protogen.NetBuilder()
        b.input("x", (1, 3, 2, 2))
        with pytest.warns(ProtogenWarning, match="^layer 'op' .*taken for happynear's"):
            b.layer("Normalize", "x", name="op")
        b.build()  # once is enough


class TestBN:
    VIEW = (1, 3, 1, 1)

    def test_two_blobs_are_segnets(self, tmp_path: Path) -> None:
        """alexgkendall/caffe-segnet, bn_layer.cpp: the batch's own statistics, unless told otherwise."""
        path = stored(tmp_path / "a.caffemodel", self.VIEW, self.VIEW)
        scale, shift = held(path)
        unit = (X - X.mean((0, 2, 3), keepdims=True)) / np.sqrt(X.var((0, 2, 3), keepdims=True) + 1e-9)
        assert_gives(protogen.loads(text('type: "BN"'), weights=path), unit * scale + shift)

    def test_four_blobs_are_pspnets(self, tmp_path: Path) -> None:
        """hszhao/PSPNet, bn_layer.cpp: stored statistics."""
        path = stored(tmp_path / "a.caffemodel", *[self.VIEW] * 4)
        slope, bias, mean, variance = held(path)
        assert_gives(protogen.loads(text('type: "BN"'), weights=path), (X - mean) / np.sqrt(variance + 1e-5) * slope + bias)

    def test_where_nothing_tells_it_is_taken_for_pspnets_with_a_warning(self, tmp_path: Path) -> None:
        with pytest.warns(ProtogenWarning, match=r"PSPNet's .* write bn_param \{ bn_mode: LEARN \} for SegNet's"):
            net = protogen.loads(text('type: "BN"'))
        assert len(net.param_shapes["op"]) == 4
        with pytest.raises(WeightsError, match=r"taken for PSPNet's BN .* but these weights have 2, as SegNet's"):
            net.weights.load(stored(tmp_path / "a.caffemodel", self.VIEW, self.VIEW))

    def test_the_text_goes_before_the_weights(self, tmp_path: Path) -> None:
        path = stored(tmp_path / "a.caffemodel", *[self.VIEW] * 4)
        with pytest.raises(WeightsError, match="has 2 blobs"):
            protogen.loads(text('type: "BN" bn_param { bn_mode: INFERENCE }'), weights=path)


class TestBatchNorm:
    """intel/caffe, mkldnn_batch_norm_layer.cpp: BVLC's statistics, then scale and bias."""

    def test_five_blobs_have_scale_and_bias(self, tmp_path: Path) -> None:
        path = stored(tmp_path / "a.caffemodel", C, C, (1,), C, C)
        mean, variance, factor, scale, bias = (blob.reshape(-1, 1, 1) for blob in held(path))
        net = protogen.loads(text('type: "BatchNorm" batch_norm_param { eps: 0.5 }'), weights=path)
        assert_gives(net, (X - mean / factor) / np.sqrt(variance / factor + 0.5) * scale + bias)

    def test_in_training_the_sums_are_bvlcs(self, tmp_path: Path) -> None:
        path = stored(tmp_path / "a.caffemodel", C, C, (1,), C, C)
        net = protogen.loads(text('type: "BatchNorm"'), weights=path, phase="TRAIN")
        module = net.to_torch()
        module(torch.tensor(X))
        mean, _, factor, _, _ = held(path)
        sums = module.caffe_params("op")
        np.testing.assert_allclose(sums[0].numpy(), 0.999 * mean + X.mean((0, 2, 3)), rtol=1e-5)
        np.testing.assert_allclose(sums[2].numpy(), 0.999 * factor + 1, rtol=1e-6)

    def test_without_weights_it_is_bvlcs_without_a_warning(self, tmp_path: Path) -> None:
        net = protogen.loads(text('type: "BatchNorm"'))
        assert net.param_shapes == {"op": [C, C, (1,)]}
        with pytest.raises(WeightsError, match=r"taken for BVLC's BatchNorm.*have 5.*load net and weights together"):
            net.weights.load(stored(tmp_path / "a.caffemodel", C, C, (1,), C, C))
