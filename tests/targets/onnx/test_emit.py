"""The ONNX model of a net: valid in every opset, standard ops only, names kept, nothing left over, weights stored once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import protogen
from protogen import ConversionError, NetBuilder, blocks
from protogen.targets.onnx.emit import emit
from protogen.targets.onnx.opsets import OPSETS
from tests.running import by_onnx, ops_of, run_model, shape_of
from tests.targets.onnx.nets import assert_gives, value


def small_net(batch: int = 2) -> protogen.Net:
    """One of everything that matters here: BatchNorm, a branch, in-place layers, Dropout, Flatten, two outputs."""
    b = NetBuilder("small net")
    x = b.input("data", (batch, 3, 12, 12))
    x = b.conv_block(x, 6, 3, name="one")
    x = blocks.basic_block(b, x, 6, name="two")
    b.sigmoid(b.conv(x, 4, 1, name="map"))
    b.lrn(b.pool(x, "MAX", 3, stride=2, name="pool"), name="norm")
    b.softmax(b.fc(b.dropout(b.relu(b.fc(b.flatten(b.last), 8, name="fc1"))), 5, name="fc2"))
    return b.build().fill(1)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "as it is"])
@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(opset: int, fold: bool) -> None:
    net = small_net()
    model = net.to_onnx(opset=opset, fold=fold)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert {node.domain for node in model.graph.node} == {""}
    assert_gives(net, value(net), opset=opset, fold=fold)


@pytest.mark.parametrize("opset", [OPSETS[0] - 1, OPSETS[-1] + 1, 0, -1])
def test_opsets_out_of_range(opset: int, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=f"opset {opset} is not supported; choose one of {OPSETS[0]} to {OPSETS[-1]}"):
        small_net().to_onnx(tmp_path / "net.onnx", opset=opset)
    assert list(tmp_path.iterdir()) == []


def test_names_are_kept() -> None:
    net = small_net()
    model = net.to_onnx(fold=False)
    assert [info.name for info in model.graph.input] == net.inputs
    assert [info.name for info in model.graph.output] == net.outputs[::-1] == ["prob", "map"], "the last layer's first"
    made = {name for node in model.graph.node for name in node.output}
    assert set(net.shapes) - set(net.inputs) <= made
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {"one", "two/conv1", "map", "pool", "norm", "fc2"} <= set(names)
    initializers = {tensor.name for tensor in model.graph.initializer}
    assert {"one.weight", "fc1.weight", "fc1.bias"} <= initializers
    assert model.graph.name == "small net"
    assert model.producer_name == "protogen"


def test_stated_shapes_are_the_nets() -> None:
    net = small_net()
    model = net.to_onnx(fold=False)
    stated = {info.name: shape_of(info) for info in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    assert {blob: stated[blob] for blob in net.shapes} == {blob: list(shape) for blob, shape in net.shapes.items()}


def test_folded_leaves_nothing_over() -> None:
    model = small_net().to_onnx()
    assert not {"Dropout", "Identity", "BatchNormalization", "Mul", "Sub", "Div"} & set(ops_of(model))
    assert ops_of(model).count("Conv") == 4
    assert ops_of(model).count("Relu") == 4


def test_dropout_leaves_nothing_even_unfolded() -> None:
    assert not {"Dropout", "Identity"} & set(ops_of(small_net().to_onnx(fold=False)))


def test_weights_are_stored_once() -> None:
    net = small_net()
    model = net.to_onnx()
    stored = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    learnable = sum(
        int(np.prod(shape))
        for layer, shapes in net.param_shapes.items()
        for shape in shapes
        if "/bn" not in layer and "/scale" not in layer
    )
    biases = 6 * 3
    assert learnable + biases <= stored <= learnable + biases + 64
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used


def test_shared_weights_are_one_initializer() -> None:
    b = NetBuilder()
    x = b.input("data", (1, 4, 5, 5))
    for name in ("first", "second"):
        x = b.conv(x, 4, 1, bias_term=False, name=name, param=[{"name": "shared"}])
    net = b.build().fill()
    model = net.to_onnx()
    assert len(model.graph.initializer) == 1
    assert_gives(net, value(net, 1))


def test_constants_are_shared_between_layers() -> None:
    model = protogen.models.peleenet(size=32, classes=4).to_onnx()
    assert len([tensor for tensor in model.graph.initializer if not tensor.name.endswith((".weight", ".bias"))]) <= 3


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "as it is"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_dynamic_batch(batch: int, fold: bool) -> None:
    net = small_net(2)
    model = net.to_onnx(dynamic_batch=True, fold=fold)
    assert shape_of(model.graph.input[0]) == ["N", 3, 12, 12]
    assert [shape_of(info)[0] for info in model.graph.output] == ["N", "N"]
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    assert_gives(net, value(net, batch), dynamic_batch=True, fold=fold)


def test_a_fixed_batch_is_stated() -> None:
    model = small_net(3).to_onnx()
    assert [shape_of(info)[0] for info in (*model.graph.input, *model.graph.output)] == [3, 3, 3]


def test_a_net_whose_batch_cannot_be_open_says_why() -> None:
    b = NetBuilder()
    b.layer("Reshape", b.input("data", (2, 4)), name="merge", shape={"dim": [8]})
    with pytest.raises(ConversionError, match=r"batch cannot be dynamic .*layer 'merge'"):
        b.build().to_onnx(dynamic_batch=True)


def test_in_place_layers_on_a_blob_with_other_readers() -> None:
    """Whoever reads `conv` before the ReLU sees it before, whoever reads it behind sees it after."""
    net = protogen.loads("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
                convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
        layer { name: "early" type: "AbsVal" bottom: "conv" top: "early" }
        layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
        layer { name: "late" type: "Power" bottom: "conv" top: "late" power_param { scale: 2 } }""")
    net.fill()
    assert net.outputs == ["early", "late"]
    assert_gives(net, value(net, 1))
    early, late = by_onnx(net, {"data": value(net, 1)})
    np.testing.assert_allclose(np.where(late > 0, early * 2, 0), late, rtol=1e-6)


def test_an_in_place_layer_on_an_input() -> None:
    b = NetBuilder()
    b.relu(b.input("data", (1, 2, 4, 4)))
    b.conv("data", 3, 1, name="conv")
    net = b.build().fill()
    model = net.to_onnx()
    assert [info.name for info in model.graph.input] == ["data"]
    assert_gives(net, value(net, 1))


def test_outputs_that_stand_for_another_value() -> None:
    """Dropout and Split make outputs that equal other blobs; each is there under its own name."""
    b = NetBuilder()
    x = b.conv(b.input("data", (1, 2, 4, 4)), 3, 1, name="conv")
    b.dropout(x, in_place=False, name="dropped")
    b.layer("Split", x, name="split", top=["left", "right"])
    b.relu("left", in_place=False, name="end")
    net = b.build().fill()
    for fold in (True, False):
        model = net.to_onnx(fold=fold)
        assert [info.name for info in model.graph.output] == ["end", "dropped", "right"]
        assert_gives(net, value(net, 1), fold=fold)


def test_an_output_that_equals_the_input() -> None:
    b = NetBuilder()
    b.dropout(b.input("data", (1, 4)), in_place=False, name="same")
    b.fc("data", 3, name="fc")
    net = b.build().fill()
    assert_gives(net, value(net, 1))


def test_all_blobs() -> None:
    net = small_net()
    model = net.to_onnx(fold=False, all_blobs=True)
    assert [info.name for info in model.graph.output] == [blob for blob in net.shapes if blob not in net.inputs]
    made = run_model(model, value(net))
    with torch.no_grad():
        for name, tensor in net.to_torch().blobs(torch.tensor(value(net))).items():
            if name not in net.inputs:
                np.testing.assert_allclose(made[name], tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


ODD = ["a.b", "x y", "é", "a\"'b", "a\nb", "{{ x }}", "node", "one.weight", "fc/constant", "0"]


def test_any_name() -> None:
    b = NetBuilder('quo"ted')
    b.input("data", (1, 2, 4, 4))
    for name in ODD:
        b.relu(b.conv(b.last, 2, 1, name=name), in_place=True)
    net = b.build().fill()
    model = net.to_onnx(fold=False)
    assert [info.name for info in model.graph.output] == [ODD[-1]]
    assert set(ODD) <= {name for node in model.graph.node for name in node.output}
    assert_gives(net, value(net, 1), fold=False)


def test_the_file_is_the_model(tmp_path: Path) -> None:
    net, path = small_net(), tmp_path / "net.onnx"
    model = net.to_onnx(path)
    assert onnx.load(path) == model
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    onnx.checker.check_model(str(path), full_check=True)


def test_the_same_net_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (small_net().to_onnx(tmp_path / name) for name in ("one.onnx", "two.onnx"))
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    assert first == second


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(protogen.ProtogenError, match="cannot write"):
        small_net().to_onnx(tmp_path / "missing" / "net.onnx")


def test_seed() -> None:
    net = protogen.models.peleenet(size=32, classes=4)
    weight = {seed: onnx.numpy_helper.to_array(net.to_onnx(fold=False, seed=seed).graph.initializer[0]) for seed in (1, 2)}
    assert not np.array_equal(weight[1], weight[2])
    with torch.no_grad():
        np.testing.assert_array_equal(weight[1], net.to_torch(seed=1).caffe_params("stem1")[0].numpy())


def test_an_input_overwritten_in_place_is_an_output_of_another_name() -> None:
    net = protogen.loads(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }'
        'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }'
    )
    model = net.to_onnx()
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output] == ["x_out"]


def sequence(steps: int) -> protogen.Net:
    return protogen.loads(f"""
        layer {{ name: "d" type: "Input" top: "d" top: "c"
                 input_param {{ shape {{ dim: {steps} dim: 1 dim: 2 }} shape {{ dim: {steps} dim: 1 }} }} }}
        layer {{ name: "s" type: "LSTM" bottom: "d" bottom: "c" top: "s" recurrent_param {{ num_output: 2 }} }}""")


def sliced(tops: int) -> protogen.Net:
    names = " ".join(f'top: "s{i}"' for i in range(tops))
    return protogen.loads(f"""
        layer {{ name: "d" type: "Input" top: "d" input_param {{ shape {{ dim: {tops} dim: 2 }} }} }}
        layer {{ name: "s" type: "Slice" bottom: "d" {names} slice_param {{ axis: 0 }} }}""")


@pytest.mark.parametrize(("build", "size"), [(sequence, 100), (sliced, 1000)])
def test_long_layers_take_time_in_proportion(build: Callable[[int], protogen.Net], size: int) -> None:
    """Eight times the length takes about eight times as many steps of the interpreter, not 64 times."""

    def lines(net: protogen.Net) -> int:
        count = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal count
            count += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            emit(net.graph(), check=False)
        finally:
            sys.settrace(before)
        return count

    emit(build(2).graph(), check=False)  # imports
    assert lines(build(size)) < 14 * lines(build(size // 8))
