"""Options of the ONNX model: no postprocessing, preprocessing inside, other names, clean graphs, float16 weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

import protogen
from protogen import ConversionError, NetBuilder, ProtogenWarning
from protogen.targets.onnx.options import Preprocess
from tests.corpus import CORPUS, needs_corpus
from tests.layers.nets import net_of
from tests.nets import SSD
from tests.oracle import cases, families
from tests.running import NEWEST, names_of, run_model, shape_of
from tests.targets.onnx.nets import classifier, image

LABELS = """
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1 dim: 2 dim: 8 } } }
layer { name: "eval" type: "DetectionEvaluate" bottom: "detection_out" bottom: "label" top: "eval"
        detection_evaluate_param { num_classes: 3 background_label_id: 0 overlap_threshold: 0.5 } }
"""


# ---- no postprocessing


@pytest.mark.filterwarnings("ignore:left out of the ONNX model")
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("labels", ["", LABELS], ids=["deploy", "test"])
def test_without_postprocessing_an_ssd_ends_in_its_heads(labels: str, fold: bool) -> None:
    net = protogen.loads(SSD + labels).fill()
    model = net.to_onnx(postprocess=False, fold=fold)
    assert names_of(model) == (["data"], ["loc_flat", "conf_flat", "prior"])
    assert net.outputs == (["eval"] if labels else ["detection_out"])
    assert not {"NonMaxSuppression", "TopK"} & {node.op_type for node in model.graph.node}
    x = image(1, 3, 16, 16)
    whole = run_model(protogen.loads(SSD).fill().to_onnx(fold=fold, all_blobs=True), x)
    for name, value in run_model(model, x).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_head_that_others_read_is_an_output_too() -> None:
    net = protogen.loads(
        SSD + 'layer { name: "more" type: "Power" bottom: "loc_flat" top: "more" power_param { scale: 2 } }'
    ).fill()
    made = run_model(net.to_onnx(postprocess=False), image(1, 3, 16, 16))
    assert set(made) == {"loc_flat", "conf_flat", "prior", "more"}
    np.testing.assert_allclose(made["more"], 2 * made["loc_flat"])


def test_postprocessing_in_the_middle_stays() -> None:
    net = protogen.loads(SSD + 'layer { name: "more" type: "Power" bottom: "detection_out" top: "more" }').fill()
    with pytest.warns(ProtogenWarning, match="no postprocessing to cut off"):
        model = net.to_onnx(postprocess=False)
    assert names_of(model)[1] == ["more"]


def test_a_net_without_detections_stays_as_it_is() -> None:
    net = classifier()
    with pytest.warns(ProtogenWarning, match="no postprocessing to cut off: the net does not end in detection layers"):
        model = net.to_onnx(postprocess=False)
    assert model == net.to_onnx()


def test_nothing_but_detection_layers() -> None:
    net = protogen.loads("""
        layer { name: "found" type: "Input" top: "detection_out" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 7 } } }"""
        + LABELS)  # fmt: skip
    with pytest.raises(ConversionError, match="has only detection layers"):
        net.to_onnx(postprocess=False)


# ---- preprocessing

MEAN = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)


def preprocessed(x: np.ndarray, what: Preprocess) -> np.ndarray:
    """What OpenCV's blobFromImage does, in numpy."""
    if what.nhwc:
        x = x.transpose(0, 3, 1, 2)
    if what.swap_rb:
        x = x[:, ::-1]
    mean, scale = (np.array(numbers, np.float32).reshape(-1, 1, 1) for numbers in (what.means, what.scales))
    return np.ascontiguousarray((x - mean) * scale)


@pytest.mark.parametrize("opset", [11, 17, NEWEST])
@pytest.mark.parametrize(
    "what",
    [
        Preprocess((104, 117, 123), 0.017, swap_rb=True, nhwc=True),
        Preprocess((104, 117, 123), (0.017, 0.02, 0.01)),
        Preprocess(127.5, 1 / 127.5, swap_rb=True),
        Preprocess(nhwc=True),
        Preprocess(scale=1 / 255),
    ],
    ids=str,
)
def test_preprocessing_in_the_model(what: Preprocess, opset: int) -> None:
    net = classifier()
    x = image(2, 10, 12, 3) if what.nhwc else image(2, 3, 10, 12)
    model = net.to_onnx(opset=opset, preprocess=what)
    onnx.checker.check_model(model, full_check=True)
    assert shape_of(model.graph.input[0]) == list(x.shape)
    expected = run_model(net.to_onnx(opset=opset), preprocessed(x, what))
    np.testing.assert_allclose(run_model(model, x)["prob"], expected["prob"], rtol=1e-5, atol=1e-6)


def test_preprocessing_is_that_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    what = Preprocess((104, 117, 123), 0.017, swap_rb=True, nhwc=True)
    x = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    blob = cv2.dnn.blobFromImage(x, 0.017, (12, 10), (104, 117, 123), swapRB=True)
    np.testing.assert_allclose(preprocessed(x[None].astype(np.float32), what), blob, rtol=1e-5, atol=1e-5)


def test_preprocessing_with_an_open_batch_and_other_inputs() -> None:
    b = NetBuilder()
    x = b.fc(b.input("data", (1, 3, 6, 6)), 4, name="fc")
    b.eltwise(x, b.input("more", (1, 4)), name="sum")
    net, what = b.build().fill(), Preprocess((104, 117, 123), swap_rb=True)
    model = net.to_onnx(preprocess=what, dynamic_batch=True)
    data, more = image(5, 3, 6, 6), image(5, 4)
    expected = run_model(net.to_onnx(dynamic_batch=True), preprocessed(data, what), more)["sum"]
    np.testing.assert_allclose(run_model(model, data, more)["sum"], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("shapes", "what", "message"),
    [
        ([(1, 3, 6, 6), (1, 1, 6, 6)], Preprocess(1), "needs one image input .* 'a' .*'b'"),
        ([(1, 3)], Preprocess(1), "needs one image input"),
        ([(1, 3, 6, 6)], Preprocess((1, 2)), "mean has 2 numbers, but 'a' 3 channels"),
        ([(1, 1, 6, 6)], Preprocess(swap_rb=True), "'a' has 1 channels, not 3"),
    ],
)
def test_preprocessing_that_does_not_fit(shapes: list[tuple[int, ...]], what: Preprocess, message: str) -> None:
    b = NetBuilder()
    for name, shape in zip("ab", shapes):
        b.relu(b.input(name, shape), in_place=False)
    with pytest.raises(ConversionError, match=message):
        b.build().to_onnx(preprocess=what)


@pytest.mark.parametrize("numbers", [(), float("nan"), (1, float("inf"))])
def test_preprocessing_takes_numbers(numbers: object) -> None:
    with pytest.raises(ConversionError, match="mean must be one finite number, or one per channel"):
        Preprocess(mean=numbers)  # type: ignore[arg-type]


# ---- names


def test_other_names() -> None:
    net = classifier()
    model = net.to_onnx(rename={"data": "images", "prob": "scores"}, preprocess=Preprocess(swap_rb=True))
    assert names_of(model) == (["images"], ["scores"])
    onnx.checker.check_model(model, full_check=True)
    expected = run_model(net.to_onnx(preprocess=Preprocess(swap_rb=True)), image(2, 3, 10, 12))["prob"]
    np.testing.assert_array_equal(run_model(model, image(2, 3, 10, 12))["scores"], expected)


def test_names_can_be_swapped() -> None:
    net = classifier()
    model = net.to_onnx(rename={"data": "prob", "prob": "data"})
    assert names_of(model) == (["prob"], ["data"])
    assert run_model(model, image(2, 3, 10, 12))["data"].shape == (2, 5)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"dat": "x"}, "'dat': not an input or output; did you mean 'data'"),
        ({"conv": "x"}, "'conv': not an input or output"),
        ({"data": "fc"}, "'data' to 'fc': the name is taken"),
        ({"data": "x", "prob": "x"}, "the name is taken"),
        ({"data": ""}, "the name is empty"),
    ],
)
def test_names_that_cannot_be(rename: dict[str, str], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        classifier().to_onnx(rename=rename)


def test_a_new_name_that_the_converter_would_have_used() -> None:
    net = classifier()
    model = net.to_onnx(rename={"data": "conv.weight", "prob": "preprocess/Sub"}, preprocess=Preprocess(1.0))
    assert names_of(model) == (["conv.weight"], ["preprocess/Sub"])
    assert run_model(model, image(2, 3, 10, 12))["preprocess/Sub"].shape == (2, 5)


# ---- clean graphs


COMPUTED = {"Add", "Sub", "Mul", "Div", "Concat", "Split", "Slice", "Transpose"}


def left_over(model: onnx.ModelProto, net: protogen.Net) -> list[str]:
    """Nodes that do nothing, that only compute with constants, or that reshape what was just reshaped.

    An output that is an input or a constant needs an Identity to have a name of its own; weights are no constants.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    sources = {value.name for value in model.graph.input} | constants
    outputs = {value.name for value in model.graph.output}
    constants -= {name for name in constants if name.rpartition(".")[0] in {layer.name for layer in net.layers}}
    readers = Counter(name for node in model.graph.node for name in node.input)
    reshaped = {node.output[0] for node in model.graph.node if node.op_type in ("Flatten", "Reshape")}
    between = {name for name in reshaped - outputs if readers[name] == 1}

    def is_left(node: onnx.NodeProto) -> bool:
        if node.op_type == "Identity":
            return not (node.input[0] in sources and node.output[0] in outputs)
        if node.op_type in ("Flatten", "Reshape"):
            return node.input[0] in between
        return node.op_type == "Dropout" or (node.op_type in COMPUTED and constants.issuperset(node.input))

    return [f"{node.op_type} {node.name}" for node in model.graph.node if is_left(node)]


@pytest.mark.filterwarnings("ignore:left out of the ONNX model")
@pytest.mark.parametrize("family", families())
def test_nothing_is_left_over(family: str) -> None:
    for case in cases(family).values():
        if case.phase == "TEST":
            for fold in (True, False):
                net = protogen.loads(case.prototxt)
                try:
                    model = net.to_onnx(fold=fold)
                except ConversionError:
                    continue  # whether a case converts is tested elsewhere
                assert left_over(model, net) == [], case.name


def test_prior_boxes_are_joined_beforehand() -> None:
    more = """layer { name: "other" type: "PriorBox" bottom: "loc" bottom: "data" top: "other" prior_box_param { min_size: 2 } }
              layer { name: "priors" type: "Concat" bottom: "prior" bottom: "other" top: "priors" concat_param { axis: 2 } }
              layer { name: "twice" type: "Power" bottom: "priors" top: "twice" power_param { scale: 2 } }"""
    net = protogen.loads(SSD + more).fill()
    model = net.to_onnx()
    assert [node.op_type for node in model.graph.node if "priors/constant" in node.input] == ["Mul"]
    assert left_over(model, net) == []
    x = image(1, 3, 16, 16)
    made = run_model(net.to_onnx(fold=False, all_blobs=True), x)
    np.testing.assert_array_equal(made["priors"], np.concatenate([made["prior"], made["other"]], 2))
    np.testing.assert_allclose(run_model(model, x)["twice"], 2 * made["priors"])


@pytest.mark.parametrize("opset", [11, 13, NEWEST])
@pytest.mark.parametrize("code", ["CENTER_SIZE", "CORNER", "CORNER_SIZE"])
def test_prior_boxes_are_taken_apart_beforehand(code: str, opset: int) -> None:
    """All that is computed with them alone is a constant; open sizes leave the same nodes to compute when the model runs."""
    net = protogen.loads(SSD.replace("CENTER_SIZE", code)).fill()
    model, x = net.to_onnx(opset=opset), image(1, 3, 16, 16) / 256
    assert left_over(model, net) == []
    np.testing.assert_array_equal(
        run_model(model, x)["detection_out"], run_model(net.to_onnx(opset=opset, dynamic_size=True), x)["detection_out"]
    )


@needs_corpus
@pytest.mark.parametrize(
    "path",
    [
        "Robert-JunWang+PeleeNet/caffe/peleenet.prototxt",
        "KaimingHe+deep-residual-networks/prototxt/ResNet-50-deploy.prototxt",
        "Robert-JunWang+Pelee/model/voc/deploy_merged.prototxt",
        "BVLC+caffe/models/bvlc_googlenet/deploy.prototxt",
        "chuanqi305+MobileNet-SSD/voc/MobileNetSSD_deploy.prototxt",
    ],
)
def test_published_nets_are_clean(path: str) -> None:
    net = protogen.load(CORPUS / path)
    model = net.to_onnx()
    assert left_over(model, net) == []
    assert not {"BatchNormalization"} & {node.op_type for node in model.graph.node}
    layers = {layer.name for layer in net.layers}
    weights = [tensor.name for tensor in model.graph.initializer if len(tensor.dims) in (2, 4) and np.prod(tensor.dims) > 64]
    assert weights
    assert {name.removesuffix(".weight") for name in weights if name.endswith(".weight")} <= layers


# ---- float16 weights


def inputs_of(model: onnx.ModelProto) -> list[str]:
    """Types of the tensors that Casts read."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return [onnx.TensorProto.DataType.Name(types[node.input[0]]) for node in model.graph.node if node.op_type == "Cast"]


@pytest.mark.parametrize("opset", [11, 17, NEWEST])
def test_float16_weights_halve_the_file(tmp_path: Path, opset: int) -> None:
    net = protogen.models.peleenet(size=64, classes=100).fill(1)
    full, half = tmp_path / "full.onnx", tmp_path / "half.onnx"
    model = net.to_onnx(full, opset=opset)
    small = net.to_onnx(half, opset=opset, fp16=True)
    onnx.checker.check_model(str(half), full_check=True)
    assert half.stat().st_size < 0.53 * full.stat().st_size
    assert set(inputs_of(small)) == {"FLOAT16"}
    assert [value.type.tensor_type.elem_type for value in (*small.graph.input, *small.graph.output)] == [1, 1]  # 1: FLOAT
    assert {tensor.name for tensor in small.graph.initializer} == {tensor.name for tensor in model.graph.initializer}
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
    wanted, made = run_model(model, x)["prob"], run_model(small, x)["prob"]
    assert np.abs(made - wanted).max() <= 1e-2 * np.abs(wanted).max()
    assert not np.array_equal(made, wanted)


@pytest.mark.parametrize("value", [1e5, -1e5, 1e-5, float("nan"), 0.0])
def test_float16_leaves_alone_what_it_cannot_hold(value: float) -> None:
    b = NetBuilder()
    b.fc(b.fc(b.input("data", (1, 64)), 1024, name="odd"), 2, name="plain")
    net = b.build().fill(1)
    net.weights["odd"] = [np.full((1024, 64), value), np.zeros(1024)]
    model = net.to_onnx(fp16=True)
    kinds = {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in model.graph.initializer}
    assert kinds == {"odd.weight": "FLOAT", "odd.bias": "FLOAT", "plain.weight": "FLOAT16", "plain.bias": "FLOAT"}


def test_float16_keeps_prior_boxes() -> None:
    text = SSD.replace("dim: 16 dim: 16", "dim: 160 dim: 160")
    model = protogen.loads(text).fill().to_onnx(fp16=True, postprocess=False)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer if np.prod(tensor.dims) > 1000}
    assert set(types.values()) == {onnx.TensorProto.FLOAT}
    assert types


def test_float16_of_weights_that_were_arranged_anew() -> None:
    """LSTM has its gates in another order in ONNX."""
    net = net_of('type: "LSTM" bottom: "a" bottom: "b" top: "op" recurrent_param { num_output: 16 '
                 'weight_filler { type: "uniform" min: -0.1 max: 0.1 } }', (1, 1, 32), (1, 1)).fill()  # fmt: skip
    model = net.to_onnx(fp16=True)
    x, cont = np.random.default_rng(0).standard_normal((1, 1, 32), np.float32), np.zeros((1, 1), np.float32)
    feed = [{"a": x, "b": cont}[value.name] for value in model.graph.input]
    made, wanted = run_model(model, *feed)["op"], run_model(net.to_onnx(), *feed)["op"]
    assert len(inputs_of(model)) >= 2
    assert np.abs(made - wanted).max() <= 1e-2 * np.abs(wanted).max()
