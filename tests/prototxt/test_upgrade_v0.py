"""Nets of 2013: padding layers, data layers, and what has no form today."""

from __future__ import annotations

import pytest

from protogen.errors import NetError, ProtogenWarning
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.reading import load
from tests.oracle import LEGACY
from tests.prototxt.dialects import upgraded


@pytest.mark.parametrize(("name", "line", "column"), [("conv1", 8, 8), ("fc", 12, 8)], ids=["behind a padding layer", "later"])
def test_layers_keep_their_place(name: str, line: int, column: int) -> None:
    net = load(LEGACY / "v0.prototxt")
    assert net.layer(name).message.origin == (line, column)
    assert f"v0.prototxt:{line}:{column}: layer {name!r}" in net.layer(name).label


@pytest.mark.parametrize(
    "text", ["layers { layer { name: 'c' type: 'conv' hole: 2 } }", "layers { layer { name: 'c' type: 'conv' } hole: 2 }"]
)
def test_fields_that_v0_did_not_have_come_along_so_that_converting_can_refuse_them(text: str) -> None:
    with pytest.warns(ProtogenWarning, match="unknown field 'hole'"):
        assert upgraded(text).layer[0].hole == 2


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


def test_settings_that_a_v0_type_does_not_have() -> None:
    with pytest.warns(ProtogenWarning, match=r"^net.prototxt:1:8: layer 'r' .* ignored, .*: blobs_lr, kernelsize, group"):
        net = upgraded("layers { layer { name: 'r' type: 'relu' group: 2 kernelsize: 3 } blobs_lr: 1 top: 'x' }")
    assert net.layer[0] == Message.of("LayerParameter", name="r", type="ReLU", top="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAD + "\nlayers { layer { name: 'r' type: 'relu' } bottom: 'q' top: 'y' }",
         "net.prototxt:2:8: layer 'r' (relu): it reads padding layer 'p', which only conv and pool can"),
        (PAD + "layers { layer { name: 'c' type: 'conv' } bottom: 'q' bottom: 'x' top: 'y' }", "has one bottom, not 2"),
        (PAD + "layers { layer { name: 'c' type: 'conv' } bottom: 'qq' top: 'y' }", "no layer before it makes its bottom 'qq'"),
        ("layers { layer { name: 'c' type: 'convolution' } }", "unknown V0 layer type 'convolution'"),
        ("layers { layer { name: 'c' type: 'conv' relu_param { } } }", "field 'relu_param' belongs to a later dialect"),
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
