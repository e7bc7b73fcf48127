"""Fields that would change numbers unnoticed: reading goes on, converting refuses them by name unless told otherwise."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import protogen
from protogen.cli import cli
from protogen.errors import ConversionError

TEXT = """
input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 6 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 %s } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" %s }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" %s }
""".replace('layer { name: "conv"', 'input: "label" input_shape { dim: 1 dim: 1 dim: 4 dim: 4 }\nlayer { name: "conv"')
UNKNOWN = TEXT % ("sparkle: 2", "shine_param { level: 3 }", "")
KNOWN = TEXT % ("shape_offset: 1", "quantization_param { bw_layer_in: 8 }", "")


def load(text: str, **options: object) -> protogen.Net:
    if "sparkle" not in text:
        return protogen.loads(text, **options)
    with pytest.warns(protogen.ProtogenWarning, match="unknown field"):
        return protogen.loads(text, **options)


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        (UNKNOWN, "convolution_param.sparkle is not computed", "shine_param is not computed"),
        (KNOWN, "convolution_param.shape_offset is not computed", "quantization_param.bw_layer_in is not computed"),
    ],
)
def test_every_form_refuses_all_of_them_by_name_and_summary_goes_on(text: str, first: str, second: str) -> None:
    net = load(text)
    assert "conv" in str(net.summary().rows)
    for convert in (net.to_torch, net.to_onnx, lambda: net.to_torch(fold=True), lambda: protogen.verify(net)):
        with pytest.raises(ConversionError) as caught:
            convert()
        assert f"layer 'conv' (Convolution): {first}" in str(caught.value)
        assert f"layer 'norm' (BatchNorm): {second}" in str(caught.value)
        assert "--no-strict" in str(caught.value)


@pytest.mark.parametrize("text", [UNKNOWN, KNOWN])
def test_without_strict_they_are_left_out_with_a_warning(text: str) -> None:
    net, plain = load(text, strict=False), protogen.loads(TEXT % ("", "", ""))
    plain.weights.update(net.weights.filled(0))
    net.weights.update(net.weights.filled(0))
    x = [torch.rand(1, 3, 6, 6), torch.zeros(1, 1, 4, 4)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = net.to_torch()
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 2 and all(text.endswith("is not computed; it is ignored") for text in texts)
    assert np.array_equal(module(*x).detach(), plain.to_torch()(*x).detach())


def test_the_choice_goes_with_the_net() -> None:
    net = load(UNKNOWN, strict=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.at(inputs={"data": (2, 3, 6, 6), "label": (2, 1, 4, 4)}).to_onnx()
    assert "convolution_param.sparkle is not computed; it is ignored" in str(caught[0].message)


def test_layers_that_a_form_leaves_out_need_not_be_computed() -> None:
    net = protogen.loads(TEXT % ("", "", "loss_param { label_smoothing: 0.1 }"))
    with pytest.warns(protogen.ProtogenWarning, match="left out of the ONNX model"):
        net.to_onnx()
    with pytest.raises(ConversionError, match=r"loss_param\.label_smoothing is not computed"):
        net.to_torch()


def test_a_default_that_is_written_out_and_the_parameters_of_other_types_are_no_reason() -> None:
    extra = "engine: CUDNN relu: false shape_offset: [] } pooling_param { pool: LOWRES torch_pooling: true "
    protogen.loads(TEXT % (extra, "batch_norm_param { stats_batch_size: 0 }", "")).to_torch()


@pytest.mark.parametrize("rules", ["param", "include", "exclude"])
def test_unknown_fields_of_a_layers_rules_are_refused(rules: str) -> None:
    stage = 'not_stage: "x" stage: "y"' if rules == "exclude" else ""
    net = load(TEXT % ("", f"{rules} {{ {stage} sparkle: 2 }}", ""))
    with pytest.raises(ConversionError, match=rf"layer 'norm' \(BatchNorm\): {rules}.sparkle is not computed"):
        net.to_torch()


def test_what_only_the_solver_reads_is_no_reason() -> None:
    """lr_mult and decay_mult, and force_mult of wenwei202/caffe (src/caffe/solvers/sgd_solver.cpp:231)."""
    load(TEXT % ("", "param { lr_mult: 2 decay_mult: 0 force_mult: 1 }", "")).to_torch()


@pytest.mark.parametrize("modifier", ["quantization_param { }", "quantization_param { bw_params: 32 }"])
def test_intels_layers_quantise_as_soon_as_the_message_is_there(modifier: str) -> None:
    net = protogen.loads(TEXT % ("", modifier, ""))
    with pytest.raises(ConversionError, match=r"layer 'norm' \(BatchNorm\): quantization_param is not computed"):
        net.to_torch()


def test_data_layers_may_say_what_they_like() -> None:
    with pytest.warns(protogen.ProtogenWarning, match="unknown field"):
        net = protogen.loads("""
            layer { name: "d" type: "Data" top: "data" data_param { batch_size: 1 shuffle_seed_file: "x" }
                    transform_param { crop_size: 8 bgr2rgb: true } }
            layer { name: "r" type: "ReLU" bottom: "data" top: "r" }""")
    assert net.to_onnx().graph.input[0].name == "data"


def test_a_layer_with_a_phase_of_its_own_is_refused() -> None:
    net = protogen.loads(TEXT % ("", "phase: TRAIN", ""))
    with pytest.raises(ConversionError, match="phase: TRAIN in a net of phase TEST is not computed"):
        net.to_torch()


def test_methods_of_pooling_that_are_not_computed_are_unknown_types() -> None:
    net = protogen.loads("""
        input: "x" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 }
        layer { name: "p" type: "Pooling" bottom: "x" top: "y" pooling_param { pool: LOWRES kernel_size: 2 stride: 2 } }""")
    assert net.unknown_types == ["Pooling (LOWRES)"]
    with pytest.raises(protogen.NetError, match=r"layer 'p' \(Pooling\): unknown layer type 'Pooling \(LOWRES\)'"):
        net.to_torch()


def test_values_in_a_python_layers_string_count_too() -> None:
    net = protogen.loads("""
        input: "s" input_shape { dim: 1 dim: 18 dim: 2 dim: 2 }
        input: "d" input_shape { dim: 1 dim: 36 dim: 2 dim: 2 }
        input: "i" input_shape { dim: 1 dim: 3 }
        layer { name: "p" type: "Python" bottom: "s" bottom: "d" bottom: "i" top: "rois" python_param {
            module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{'feat_stride': 16, 'ratios': [1, 2, 3]}" } }""")
    with pytest.raises(ConversionError, match=r"layer 'p' \(Python\): 'ratios' of its param_str is not computed"):
        net.to_onnx()


def test_propagate_down_stops_the_gradient_as_in_caffe() -> None:
    net = protogen.loads("""
        input: "a" input_shape { dim: 2 dim: 3 }  input: "b" input_shape { dim: 2 dim: 3 }
        layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "s" propagate_down: true propagate_down: false }""")
    a, b = (torch.ones(2, 3, requires_grad=True) for _ in "ab")
    net.to_torch()(a, b).sum().backward()
    assert a.grad is not None
    assert b.grad is None


def test_one_propagate_down_for_each_bottom() -> None:
    with pytest.raises(protogen.LayerError, match="1 values of propagate_down for 2 bottoms"):
        protogen.loads("""
            input: "a" input_shape { dim: 2 }  input: "b" input_shape { dim: 2 }
            layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "s" propagate_down: true }""")


def test_the_command_line_refuses_and_no_strict_converts(tmp_path: Path) -> None:
    path, target = tmp_path / "net.prototxt", tmp_path / "net.onnx"
    path.write_text(KNOWN)
    refused = CliRunner().invoke(cli, ["convert", str(path), "-o", str(target)])
    assert refused.exit_code == 1
    assert "convolution_param.shape_offset is not computed" in str(refused.exception)
    assert not target.exists()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = CliRunner().invoke(cli, ["convert", str(path), "-o", str(target), "--no-strict"])
    assert done.exit_code == 0, done.output
    assert "convolution_param.shape_offset is not computed; it is ignored" in str(caught[0].message)
    assert target.exists()
    assert CliRunner().invoke(cli, ["summary", str(path)]).exit_code == 0
