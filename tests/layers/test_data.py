"""Sources, sinks, constants and Python layers known by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError, NetError, ProtogenError
from protogen.graph.cut import without_measures
from protogen.layers.base import LayerType
from protogen.layers.python import arguments, register_python
from protogen.layers.registry import unregister
from protogen.prototxt.layer import Layer
from protogen.prototxt.message import Message
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import assert_same, by_onnx, by_torch

X = (2, 3, 4, 5)
DUMMY = 'type: "DummyData" top: "x" '


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (DUMMY + "dummy_data_param { }", [], "1 tops and 0 shapes"),
        (DUMMY + 'top: "y" top: "z" dummy_data_param { shape { dim: 1 } shape { dim: 2 } }', [], "3 tops and 2 shapes"),
        (DUMMY + "dummy_data_param { num: 1 channels: 2 height: 3 }", [], "0 values of width"),
        (DUMMY + "dummy_data_param { num: 1 channels: 2 height: 3 width: 4 shape { dim: 1 } }", [], "either shape, or num"),
        (DUMMY + "dummy_data_param { shape { dim: 1 } data_filler { } data_filler { } }", [], "2 data fillers"),
        (DUMMY + "dummy_data_param { shape { dim: -1 } }", [], "negative size"),
        (DUMMY + "dummy_data_param { shape { dim: 65536 dim: 65536 } }", [], "2^31-1"),
        ('type: "Parameter" top: "x"', [], "shape { dim: ... } } is missing"),
        ('type: "HDF5Output" bottom: "a" bottom: "b"', [X, (2,)], "file_name"),
        ('type: "HDF5Output" bottom: "a" bottom: "b" hdf5_output_param { file_name: "f" }', [X, (3,)], "first axis"),
        ('type: "Silence" bottom: "a" top: "x"', [X], "0 tops"),
        ('type: "MemoryData" top: "x" top: "l" memory_data_param { batch_size: 2 channels: 3 }', [], "positive"),
        ('type: "Input" top: "x" top: "y" input_param { shape { } shape { } shape { } }', [], "2 tops and 3 shapes"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(layer, *shapes)
    assert message in str(error.value)


def test_constant_dummy_data_is_a_constant() -> None:
    text = """
        layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "c" type: "DummyData" top: "b" top: "zero" dummy_data_param {
          shape { dim: 2 dim: 3 } data_filler { value: 0.25 } data_filler { } } }
        layer { name: "op" type: "Eltwise" bottom: "a" bottom: "b" bottom: "zero" top: "y" }"""
    net = protogen.loads(text)
    assert net.inputs == ["a"]
    values = values_for(net)
    assert_same(by_torch(net, values), [values["a"] + 0.25])
    check_every_form(net, batch=None)
    assert net.to_torch().double()(torch.zeros(2, 3, dtype=torch.float64)).dtype == torch.float64


def test_random_dummy_data_is_an_input_in_the_old_shape_fields_too() -> None:
    sizes = 'num: 4 channels: 3 channels: 1 height: 8 width: 6 data_filler { type: "gaussian" }'
    layer = DUMMY + f'top: "l" dummy_data_param {{ {sizes} }}'
    net = net_of(layer)
    assert net.inputs == ["x", "l"]
    assert net.shapes == {"x": (4, 3, 8, 6), "l": (4, 1, 8, 6)}
    assert net_of(layer, inputs={"x": (1, 3, 2, 2)}).shapes["x"] == (1, 3, 2, 2)


MIXED = """
layer { name: "dummy" type: "DummyData" top: "seven" top: "noise" top: "nine" dummy_data_param {
  shape { dim: 2 dim: 3 } data_filler { value: 7 } data_filler { type: "gaussian" std: 1 } data_filler { value: 9 } } }
layer { name: "op" type: "Eltwise" bottom: "seven" bottom: "noise" bottom: "nine" top: "y" }
"""


def test_each_top_of_dummy_data_goes_by_its_own_filler() -> None:
    """As dummy_data_layer.cpp fills them: constants once and for all, the others anew for each batch."""
    net = protogen.loads(MIXED)
    assert (net.inputs, net.computed) == (["noise"], ["seven", "nine", "y"])
    values = values_for(net)
    assert_same(by_torch(net, values), [values["noise"] + 16])
    check_every_form(net, batch=None)
    assert [value.name for value in net.to_onnx().graph.input] == ["noise"]
    assert protogen.verify(net).ok
    blobs = net.to_torch().blobs(torch.tensor(values["noise"]))
    assert [float(blobs[name].mean()) for name in ("seven", "nine")] == [7, 9]


def test_a_random_top_takes_the_shape_of_an_input_and_a_constant_one_does_not() -> None:
    text = MIXED.partition('layer { name: "op"')[0]
    net = protogen.loads(text, inputs={"noise": (4, 5)})
    assert net.shapes == {"seven": (2, 3), "noise": (4, 5), "nine": (2, 3)}
    written = net.to_prototxt()
    assert protogen.loads(written).shapes == net.shapes
    assert written.count("data_filler") == 3
    with pytest.raises(NetError, match=r"no input 'nine'.*inputs: noise"):
        protogen.loads(text, inputs={"nine": (4, 5)})


@pytest.mark.parametrize(
    ("read", "inputs", "expected"),
    [("seven", [], 7), ("nine", [], 9), ("noise", ["noise"], None)],
)
def test_a_cut_net_keeps_those_tops_of_dummy_data_that_it_needs(read: str, inputs: list[str], expected: float | None) -> None:
    others = [top for top in ("seven", "noise", "nine") if top != read]
    net = protogen.loads(
        MIXED.partition('layer { name: "op"')[0]
        + f"""layer {{ name: "fc" type: "InnerProduct" bottom: "{read}" top: "fc"
                inner_product_param {{ num_output: 3 bias_term: false weight_filler {{ value: 1 }} }} }}
              layer {{ name: "sum" type: "Eltwise" bottom: "{others[0]}" bottom: "{others[1]}" top: "sum" }}
              layer {{ name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "sum" top: "loss" }}"""
    )
    rest = net.with_graph(without_measures(net.graph()))
    assert (rest.inputs, rest.outputs) == (inputs, ["fc"])
    values = values_for(rest)
    total = values["noise"].sum(1, keepdims=True) if expected is None else np.full((2, 1), 3 * expected, np.float32)
    assert_same(by_torch(rest, values), [np.repeat(total, 3, 1)])


def test_parameter_starts_at_zero_learns_and_is_no_input() -> None:
    net = net_of('type: "Parameter" top: "w" parameter_param { shape { dim: 2 dim: 3 } }')
    assert (net.inputs, net.outputs, net.param_shapes) == ([], ["w"], {"op": [(2, 3)]})
    net.weights["op"] = [np.arange(6, dtype=np.float32).reshape(2, 3)]
    module = net.to_torch()
    module().sum().backward()
    assert module.caffe_grads("op")[0].tolist() == [[1, 1, 1]] * 2
    assert_same(by_onnx(net, {}), net.weights["op"])


def test_parameter_with_a_forks_filler() -> None:
    net = net_of('type: "Parameter" top: "w" parameter_param { shape { dim: 2 } blob_filler { value: 3 } }').fill()
    assert net.weights["op"][0].tolist() == [3, 3]


def test_sinks_read_and_make_nothing() -> None:
    text = """
        layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "r" type: "ReLU" bottom: "a" top: "r" }
        layer { name: "s" type: "Sigmoid" bottom: "a" top: "s" }
        layer { name: "out" type: "HDF5Output" bottom: "s" bottom: "a" hdf5_output_param { file_name: "x.h5" } }"""
    net = protogen.loads(text)
    assert net.outputs == ["r"]
    check_every_form(net)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        ('type: "Data" data_param { batch_size: 4 } transform_param { crop_size: 8 }', [(4, 3, 8, 8), (4,)]),
        ('type: "ImageData" image_data_param { batch_size: 4 crop_size: 8 is_color: false }', [(4, 1, 8, 8), (4,)]),
        ('type: "ImageData" image_data_param { batch_size: 4 new_height: 5 new_width: 8 }', [(4, 3, 5, 8), (4,)]),
        (
            'type: "AnnotatedData" data_param { batch_size: 4 } transform_param { resize_param { height: 5 width: 8 } }',
            [(4, 3, 5, 8), (1, 1, 1, 8)],
        ),
        ('type: "MemoryData" memory_data_param { batch_size: 4 channels: 1 height: 2 width: 3 }', [(4, 1, 2, 3), (4,)]),
    ],
)
def test_data_layers_are_inputs(layer: str, shapes: list[tuple[int, ...]]) -> None:
    net = net_of(layer + ' top: "d" top: "l"')
    assert net.inputs == ["d", "l"]
    assert list(net.shapes.values()) == shapes


def test_unknown_input_shapes_are_asked_for() -> None:
    layer = 'type: "HDF5Data" top: "d" top: "l" hdf5_data_param { source: "f" batch_size: 4 }'
    with pytest.raises(NetError, match="the shape of input 'd', 'l'"):
        _ = net_of(layer).shapes
    assert net_of(layer, inputs={"d": (4, 3), "l": (4,)}).shapes == {"d": (4, 3), "l": (4,)}


# ---- Python layers

PYTHON = 'type: "Python" top: "y" python_param { module: "%s" layer: "%s" param_str: "%s" } '
DROPOUT = PYTHON % ("spatial_dropout", "SpatialDropoutLayer", "{'phase': '%s', 'p': '0.2'}") + 'bottom: "a"'


def test_enets_dropout_scales_in_test() -> None:
    net = net_of(DROPOUT % "TEST", X)
    values = values_for(net)
    assert_same(by_torch(net, values), [values["a"] / np.float32(0.8)])
    check_every_form(net)


def test_enets_dropout_drops_whole_channels_in_train() -> None:
    y = net_of(DROPOUT % "TRAIN", (50, 3, 2, 2), phase="TRAIN").to_torch()(torch.ones(50, 3, 2, 2))
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert torch.equal(y.amin((2, 3)), y.amax((2, 3)))


@pytest.mark.parametrize("text", ["", "{'p': 'x'}", "{'p': 1}", "__import__('os').system('false')"])
def test_a_bad_param_str_is_an_error_and_no_code(text: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'"):
        net_of(PYTHON % ("spatial_dropout", "SpatialDropoutLayer", text) + 'bottom: "a"', X)


def test_caffes_example_loss() -> None:
    layer = PYTHON % ("pyloss", "EuclideanLossLayer", "") + 'bottom: "a" bottom: "b" loss_weight: 1'
    module = net_of(layer, (2, 3), (2, 3), phase="TRAIN").to_torch()
    assert module.loss(torch.ones(2, 3), torch.zeros(2, 3)).item() == pytest.approx(1.5)


def test_an_unknown_python_layer_stays_unknown_and_is_named_with_its_class() -> None:
    net = net_of(PYTHON % ("os", "system", "rm") + 'bottom: "a"', X)
    assert net.unknown_types == ["Python (os.system)"]
    with pytest.raises(ProtogenError, match=r"unknown layer type 'Python \(os.system\)'"):
        net.to_torch()


def test_a_python_layer_without_bottoms_is_an_input() -> None:
    layer = PYTHON % ("roi_data_layer.layer", "RoIDataLayer", "'num_classes': 21")
    assert net_of(layer).inputs == ["y"]
    assert net_of(layer, inputs={"y": X}).shapes == {"y": X}


def test_register_python_gives_a_layer_its_definition() -> None:
    @register_python("Twice", "my.layers", "layers")
    class Twice(LayerType):
        def setup(self) -> None:
            self.tops = list(self.bottoms)

        def forward(self, x: torch.Tensor, *, blobs: object, training: bool) -> torch.Tensor:  # type: ignore[override]
            return 2 * x

    try:
        for module in ("my.layers", "layers"):
            net = net_of(PYTHON % (module, "Twice", "") + 'bottom: "a"', X)
            assert net.to_torch()(torch.ones(X)).unique().tolist() == [2]
    finally:
        unregister("Python (my.layers.Twice)", "Python (layers.Twice)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'feat_stride': 16", {"feat_stride": 16}),
        ("{'feat_stride': 16, 'scales': [2, 4]}", {"feat_stride": 16, "scales": [2, 4]}),
        ('{"phase": "TEST", "p": 0.5}', {"phase": "TEST", "p": 0.5}),
        ("feat_stride: 16\nscales: [8, 16]  # anchors", {"feat_stride": 16, "scales": [8, 16]}),
        ("use: true\nname: conv5", {"use": True, "name": "conv5"}),
        ("feat_stride: 16", {"feat_stride": 16}),
        ("", {}),
        ("# a comment", {}),
    ],
)
def test_arguments_reads_literals_only(text: str, expected: dict[str, object]) -> None:
    assert arguments(Layer(Message.of("LayerParameter", python_param={"param_str": text}))) == expected


LABELLED = """
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 4 } %s }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


@pytest.mark.parametrize("transform", ["", "transform_param { crop_size: 6 }"])
def test_there_are_as_many_labels_as_images(transform: str) -> None:
    net = protogen.loads(LABELLED % transform, inputs={"data": (2, 3, 8, 8)})
    assert net.shapes["data"] == (2, 3, 8, 8)
    assert net.shapes["label"] == (2,)
    assert protogen.loads(LABELLED % transform, inputs={"data": (2, 3, 8, 8), "label": (2, 1)}).shapes["label"] == (2, 1)


def test_there_are_as_many_labels_as_images_in_memory() -> None:
    text = LABELLED.replace('type: "Data"', 'type: "MemoryData"').replace(
        'data_param { source: "x" batch_size: 4 }', "memory_data_param { batch_size: 4 channels: 3 height: 8 width: 8 }"
    )
    assert protogen.loads(text % "").shapes["label"] == (4,)
    assert protogen.loads(text % "", inputs={"data": (2, 3, 8, 8)}).shapes["label"] == (2,)


@pytest.mark.parametrize(
    ("layer", "label"),
    [
        ('type: "ImageLabelmapData"', (2, 1, 8, 9)),
        ('type: "ImageSegData"', (2, 1, 8, 9)),
        ('type: "DenseImageData"', (2, 1, 8, 9)),
        ('type: "AnnotatedData"', (1, 1, 1, 8)),
        ('type: "AnnotatedData" annotated_data_param { yolo_data_type: 1 }', (2, 1, 300, 5)),
    ],
)
def test_labels_that_are_maps_or_boxes(layer: str, label: tuple[int, ...]) -> None:
    net = protogen.loads(f'layer {{ name: "d" top: "x" top: "y" {layer} }}', inputs={"x": (2, 3, 8, 9)})
    assert net.shapes == {"x": (2, 3, 8, 9), "y": label}


def test_segnets_data_layer_resizes() -> None:
    """caffe-segnet, src/caffe/layers/dense_image_data_layer.cpp: both images take new_height and new_width."""
    net = protogen.loads("""layer { name: "d" top: "x" top: "y" type: "DenseImageData"
        dense_image_data_param { source: "x" batch_size: 4 new_height: 6 new_width: 8 } }""")
    assert net.shapes == {"x": (4, 3, 6, 8), "y": (4, 1, 6, 8)}


OLD, SHAPE = "num: 4 channels: 3 height: 2 width: 5", "shape { dim: 4 dim: 3 dim: 2 dim: 5 }"


def zeros(*shape: int):
    return lambda net, values: [np.zeros(shape, np.float32)]


ALONE = [
    *(
        Alone("DummyData", f"dummy_data_param.{field}", [7], f'top: "y" dummy_data_param {{ {OLD} }}', [], zeros(*shape))
        for field, shape in (
            ("num", (7, 3, 2, 5)),
            ("channels", (4, 7, 2, 5)),
            ("height", (4, 3, 7, 5)),
            ("width", (4, 3, 2, 7)),
        )
    ),
    Alone("DummyData", "dummy_data_param.shape", [{"dim": [2, 7]}], f'top: "y" dummy_data_param {{ {SHAPE} }}', [], zeros(2, 7)),
    # A file is written by Caffe only; what is left of the name is that there must be one.
    Alone(
        "HDF5Output", "hdf5_output_param.file_name", "x.h5", 'bottom: "a" bottom: "b"', [X, (2,)], lambda net, values: [],
        refused="file_name: ... } is missing",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("transform", "channels"),
    [
        ("", 3),
        ("mean_value: 128", 3),  # of every channel: CIFAR-10's images are in colour (DataTransformer's CHECK of mean_values_)
        ("mean_value: 104 mean_value: 117 mean_value: 123", 3),
        ("mean_value: 1 mean_value: 2 mean_value: 3 mean_value: 4", 4),
        ("force_gray: true mean_value: 128", 1),
    ],
)
def test_channels_of_images(transform: str, channels: int) -> None:
    net = protogen.loads(f"""
        layer {{ name: "d" type: "ImageData" top: "data" top: "label" image_data_param {{ batch_size: 2 }}
                 transform_param {{ crop_size: 32 {transform} }} }}""")
    assert net.shapes["data"] == (2, channels, 32, 32)
