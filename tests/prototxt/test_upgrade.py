"""Older dialects, held against what Caffe's own upgrade makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from protogen.errors import NetError, ProtogenError, ProtogenWarning
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import kind_of, read_definition, read_solver
from protogen.prototxt.upgrade import upgrade
from protogen.prototxt.upgrade_v1 import TYPES
from protogen.prototxt.writer import write
from protogen.reading import load, loads
from protogen.schema import message_type
from tests.oracle import LEGACY


def upgraded(text: str) -> Message:
    return upgrade(parse(text, source="net.prototxt"), "net.prototxt")


@pytest.mark.parametrize("name", ["v0", "v1", "batchnorm_old"])
def test_as_caffe_does_it(name: str) -> None:
    definition = read_definition((LEGACY / f"{name}.prototxt").read_text())
    expected = parse((LEGACY / f"{name}.upgraded.prototxt").read_text())
    assert definition == expected
    assert upgrade(definition.copy()) == expected, "upgrading twice changes nothing"
    assert parse(write(definition)) == expected


def test_upgraded_nets_load() -> None:
    assert load(LEGACY / "v0.prototxt").shapes["prob"] == (2, 5)
    assert load(LEGACY / "v1.prototxt").shapes["prob"] == (2, 4)


@pytest.mark.parametrize(("name", "line", "column"), [("conv1", 8, 8), ("fc", 12, 8)], ids=["behind a padding layer", "later"])
def test_layers_keep_their_place(name: str, line: int, column: int) -> None:
    net = load(LEGACY / "v0.prototxt")
    assert net.layer(name).message.origin == (line, column)
    assert f"v0.prototxt:{line}:{column}: layer {name!r}" in net.layer(name).label


def test_every_v1_type_has_a_name_today() -> None:
    assert set(TYPES) == set(message_type("V1LayerParameter").fields["type"].values)


def test_per_blob_settings_of_different_length() -> None:
    layer = upgraded('layers { type: RELU param: "w" blobs_lr: 1 blobs_lr: 2 weight_decay: 3 }').layer[0]
    assert layer == Message.of(
        "LayerParameter", type="ReLU", param=[{"name": "w", "lr_mult": 1, "decay_mult": 3}, {"lr_mult": 2}]
    )


def test_unknown_fields_of_forks_come_along() -> None:
    with pytest.warns(ProtogenWarning, match="my_param"):
        layer = upgraded("layers { type: RELU my_param { x: 1 } }").layer[0]
    assert layer.my_param.x == 1


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("norm_param { across_spatial: false scale_filler { value: 3 } }",
         {"norm_param": {"across_spatial": False, "scale_filler": {"value": 3}}}),
        ("crop_param { axis: 1 offset: [2, 3] }", {"crop_param": {"axis": 1, "offset": [2, 3]}}),
        ("batch_norm_param { eps: 1 }", {"batch_norm_param": {"eps": 1.0}}),
        ("propagate_down: true phase: TEST", {"propagate_down": [True], "phase": "TEST"}),
    ],
)  # fmt: skip
def test_fields_of_today_in_a_v1_layer_mean_what_they_mean_today(field: str, expected: dict[str, Any]) -> None:
    with pytest.warns(ProtogenWarning, match="in V1LayerParameter"):
        layer = upgraded("layers { name: 'n' type: NORMALIZE " + field + " }").layer[0]
    assert layer == Message.of("LayerParameter", name="n", type="Normalize", **expected)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("crop_param: 3", "'crop_param' takes a message, not 3"),
        ("phase { x: 1 }", "'phase' takes a enum, not"),
        ("norm_param { eps: 1 eps: 2 }", "'eps' is given twice"),
        ("norm_param { across_spatial: 3 }", "'across_spatial' takes a bool, not 3"),
    ],
)
def test_fields_of_today_in_a_v1_layer_with_wrong_values(field: str, message: str) -> None:
    with pytest.warns(ProtogenWarning), pytest.raises(NetError, match=r"^net.prototxt:1:8: layer 'n': field " + message):
        upgraded("layers { name: 'n' type: NORMALIZE " + field + " }")


@pytest.mark.parametrize(
    "text", ["layers { layer { name: 'c' type: 'conv' hole: 2 } }", "layers { layer { name: 'c' type: 'conv' } hole: 2 }"]
)
def test_fields_that_v0_did_not_have_come_along_so_that_converting_can_refuse_them(text: str) -> None:
    with pytest.warns(ProtogenWarning, match="unknown field 'hole'"):
        assert upgraded(text).layer[0].hole == 2


def test_transform_parameters_move() -> None:
    net = upgraded(
        'layers { name: "a" type: DATA data_param { source: "db" scale: 0.5 mirror: true crop_size: 7 mean_file: "m" } }'
        'layers { name: "b" type: IMAGE_DATA image_data_param { source: "s" } transform_param { scale: 2 } }'
        'layers { name: "c" type: WINDOW_DATA }'
        'layers { name: "d" type: RELU }'
    )
    expected = parse(
        'layer { name: "a" type: "Data" data_param { source: "db" } '
        '        transform_param { scale: 0.5 mirror: true crop_size: 7 mean_file: "m" } }'
        'layer { name: "b" type: "ImageData" image_data_param { source: "s" } transform_param { scale: 2 } }'
        'layer { name: "c" type: "WindowData" window_data_param { } transform_param { } }'
        'layer { name: "d" type: "ReLU" }'
    )
    assert net == expected


def test_v0_data_layers() -> None:
    net = upgraded(
        'layers { layer { name: "d" type: "images" source: "s" batchsize: 4 cropsize: 8 mirror: true scale: 2 meanfile: "m"'
        "         rand_skip: 3 shuffle_images: true new_height: 9 new_width: 10 } top: 'x' }"
        "layers { layer { name: 'w' type: 'window_data' source: 's' det_fg_threshold: 0.25 det_crop_mode: 'square' } top: 'y' }"
        "layers { layer { name: 'o' type: 'hdf5_output' hdf5_output_param { file_name: 'f' } } bottom: 'x' }"
    )
    expected = parse(
        'layer { name: "d" type: "ImageData" top: "x" image_data_param { source: "s" batch_size: 4 rand_skip: 3'
        "        shuffle: true new_height: 9 new_width: 10 }"
        "        transform_param { crop_size: 8 mirror: true scale: 2 mean_file: 'm' } }"
        "layer { name: 'w' type: 'WindowData' top: 'y'"
        "        window_data_param { source: 's' fg_threshold: 0.25 crop_mode: 'square' } }"
        "layer { name: 'o' type: 'HDF5Output' bottom: 'x' hdf5_output_param { file_name: 'f' } }"
    )
    assert net == expected


PAD = "input: 'x' layers { layer { name: 'p' type: 'padding' pad: 2 } bottom: 'x' top: 'q' }"


def test_padding_of_a_pooling_layer() -> None:
    net = upgraded(PAD + "layers { layer { name: 'm' type: 'pool' kernelsize: 3 } bottom: 'q' top: 'y' }")
    assert net.layer[1] == Message.of(
        "LayerParameter", name="m", type="Pooling", bottom="x", top="y", pooling_param={"kernel_size": 3, "pad": 2}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAD + "\nlayers { layer { name: 'r' type: 'relu' } bottom: 'q' top: 'y' }",
         "net.prototxt:2:8: layer 'r' (relu): it reads padding layer 'p'; only conv and pool may"),
        (PAD + "layers { layer { name: 'c' type: 'conv' } bottom: 'q' bottom: 'x' top: 'y' }", "takes one bottom, not 2"),
        (PAD + "layers { layer { name: 'c' type: 'conv' } bottom: 'qq' top: 'y' }", "no layer before it makes its bottom 'qq'"),
        ("layers { layer { name: 'c' type: 'convolution' } }", "unknown V0 layer type 'convolution'"),
        ("layers { layer { name: 'c' type: 'conv' relu_param { } } }", "the V0 dialect has no field 'relu_param'"),
        ("layers { layer { name: 'c' type: 'bogus' } }", "net.prototxt:1:8: layer 'c' (bogus): unknown V0 layer type 'bogus'"),
        ("layers { layer { name: 'a' type: 'relu' } }\nlayers { name: 'b' type: RELU }",
         "net.prototxt:2:8: the net mixes dialects: layers without"),
        ("input: 'x' input_dim: 1 input_dim: 3", "inputs need 4 input_dim values, not 2"),
        ("input: 'x' input: 'y' input_shape { dim: 1 }", "inputs need 2 input_shape fields, not 1"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::protogen.ProtogenWarning")
def test_what_cannot_be_upgraded(text: str, message: str) -> None:
    with pytest.raises(NetError) as caught:
        upgraded(text)
    assert message in str(caught.value)


def test_layers_of_two_dialects_keep_the_order_of_the_text() -> None:
    with pytest.warns(ProtogenWarning, match=r"^net.prototxt:1:7: the net mixes layer with layers \(the old dialect\)"):
        net = upgraded("""layer { name: 'a' type: 'Input' top: 'x' input_param { shape { dim: 1 dim: 2 } } }
            layers { name: 'b' type: RELU bottom: 'x' top: 'y' } layer { name: 'c' type: 'TanH' bottom: 'y' top: 'z' }
            layers { name: 'd' type: SIGMOID bottom: 'z' top: 'z' }""")
    assert [(layer.name, layer.type) for layer in net.layer] == [("a", "Input"), ("b", "ReLU"), ("c", "TanH"), ("d", "Sigmoid")]
    assert not net.layers


def test_layers_of_two_dialects_without_an_order_are_refused() -> None:
    net = parse("layer { name: 'a' } layers { name: 'b' }")
    for layer in (*net.layer, *net.layers):
        layer.origin = None
    with pytest.raises(NetError, match="the net mixes dialects: layer here, layers"):
        upgrade(net)


def test_settings_that_a_v0_type_does_not_have() -> None:
    with pytest.warns(ProtogenWarning, match=r"^net.prototxt:1:8: layer 'r' \(relu\): .*: blobs_lr, kernelsize, group; ignored"):
        net = upgraded("layers { layer { name: 'r' type: 'relu' group: 2 kernelsize: 3 } blobs_lr: 1 top: 'x' }")
    assert net.layer[0] == Message.of("LayerParameter", name="r", type="ReLU", top="x")


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("input: 'x' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9", {"x": (1, 3, 8, 9)}),
        ("input: 'x' input_dim: [1, 3, 8, 9] input: 'y' input_dim: [1, 1, 2, 2]", {"x": (1, 3, 8, 9), "y": (1, 1, 2, 2)}),
        ("input: 'x' input_shape { dim: 1 dim: 3 }", {"x": (1, 3)}),
        ("input: 'x' input: 'y' input_shape { dim: 1 } input_shape { dim: 2 }", {"x": (1,), "y": (2,)}),
        ("input: 'x' input_shape { dim: 1 dim: 3 } input_dim: [9, 9, 9, 9]", {"x": (1, 3)}),
    ],
)
def test_input_fields(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    net = loads(text + " layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'x' }")
    assert net.shapes == shapes
    assert net.layers[0].name == "input"


def test_too_many_input_dims_are_ignored_as_caffe_does() -> None:
    with pytest.warns(ProtogenWarning, match="the last 1 of 5 are ignored"):
        assert loads("input: 'x' input_dim: [1, 3, 8, 9, 7]").shapes == {"x": (1, 3, 8, 9)}


def test_an_input_without_a_shape_waits_for_one() -> None:
    text = "input: 'x' layer { name: 'r' type: 'ReLU' bottom: 'x' top: 'y' }"
    assert loads(text, inputs={"x": (2, 3)}).shapes == {"x": (2, 3), "y": (2, 3)}
    with pytest.raises(NetError, match="the shape of input 'x' is not in the file"):
        loads(text).require_shapes()


def test_batch_norm_with_two_param_entries_is_left_alone() -> None:
    text = "layer { name: 'b' type: 'BatchNorm' param { lr_mult: 1 } param { lr_mult: 1 } }"
    assert upgraded(text) == parse(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [("SGD", "SGD"), ("NESTEROV", "Nesterov"), ("ADAGRAD", "AdaGrad"), ("RMSPROP", "RMSProp"), ("ADADELTA", "AdaDelta"),
     ("ADAM", "Adam"), ("1", "Nesterov")],
)  # fmt: skip
def test_solver_type(old: str, new: str) -> None:
    assert read_solver(f"base_lr: 1 solver_type: {old}") == Message.of("SolverParameter", base_lr=1, type=new)


def test_old_solver_file() -> None:
    solver = read_solver((LEGACY / "solver_old.prototxt").read_text())
    assert (solver.type, solver.train_net, "solver_type" in solver) == ("Nesterov", "train.prototxt", False)


def test_solver_with_both_types() -> None:
    with pytest.raises(ProtogenError, match=r"^s.prototxt: has both solver_type"):
        read_solver("solver_type: ADAM type: 'Adam'", "s.prototxt")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('net: "a.prototxt" base_lr: 0.1', "solver", "this is a solver, not a net"),
        ('net: "a.prototxt" base_lr: 0.1 nonsense: {', "solver", "this is a solver, not a net"),
        ('item { name: "dog" label: 1 }', "label map", "this is a label map"),
        ('name: "only"', "", "no layers in it"),
        ("", "", "the text is empty"),
    ],
)
def test_other_files(text: str, kind: str, message: str) -> None:
    assert kind_of(text) == kind
    with pytest.raises(NetError, match=message) as caught:
        loads(text, source="f.prototxt")
    assert str(caught.value).startswith("f.prototxt: ")


def test_a_net_is_no_solver() -> None:
    with pytest.raises(ProtogenError, match=r"^n.prototxt: this is a net, not a solver"):
        read_solver("layer { name: 'a' }", "n.prototxt")


def test_intels_batch_of_statistics_goes_to_every_batch_norm() -> None:
    text = """bn_stats_batch_size: 2  input: "x" input_shape { dim: 4 dim: 3 }
        layer { name: "a" type: "BatchNorm" bottom: "x" top: "a" batch_norm_param { eps: 1 stats_batch_size: 4 } }
        layer { name: "b" type: "BatchNorm" bottom: "a" top: "b" }  layer { name: "c" type: "ReLU" bottom: "b" top: "c" }"""
    net = upgraded(text)
    assert [layer.batch_norm_param.stats_batch_size for layer in net.layer[1:3]] == [2, 2]
    assert net.layer[1].batch_norm_param.eps == 1 and "batch_norm_param" not in net.layer[3]
    assert "bn_stats_batch_size" not in net and upgrade(net.copy()) == net
    with pytest.raises(ProtogenError, match=r"layer 'b' .*: batch_norm_param.stats_batch_size is not computed"):
        loads(text, phase="TRAIN").to_torch()
    loads(text).to_torch()  # where the stored statistics are used, it does not count
