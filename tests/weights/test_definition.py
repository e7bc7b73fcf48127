"""The definition in a caffemodel: the one it was saved from, whichever Caffe wrote it, or a clear word about what is unknown."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from google.protobuf import text_format

from protogen.errors import ProtogenError, ProtogenWarning, WeightsError
from protogen.prototxt.message import Message
from protogen.prototxt.reader import read_definition
from protogen.weights import definition
from tests.bounds import bounded
from tests.corpus import CORPUS, ORACLE, needs_corpus, needs_oracle
from tests.oracle import LEGACY
from tests.weights.forks import encoded, net_class

BVLC = [
    "BVLC+caffe/models/bvlc_alexnet/deploy.prototxt",
    "BVLC+caffe/models/bvlc_googlenet/train_val.prototxt",
    "BVLC+caffe/examples/mnist/lenet_train_test.prototxt",
    "KaimingHe+deep-residual-networks/prototxt/ResNet-50-deploy.prototxt",
]
POOL = 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 3 %s } }'


def saved(text: str, phase: str) -> bytes:
    """As Caffe saves a net: each layer with the net's phase."""
    net = text_format.Parse(text, net_class("BVLC/caffe")())
    for layer in net.layer:
        layer.phase = {"TRAIN": 0, "TEST": 1}[phase]
    return bytes(net.SerializeToString())


def plain(net: Message) -> list[str]:
    return [repr(layer) for layer in net.layer]


@needs_corpus
@pytest.mark.parametrize("path", BVLC)
def test_public_nets_as_protobuf_writes_them(path: str) -> None:
    text = (CORPUS / path).read_text()
    expected, found = read_definition(text), definition.parse(encoded(text))
    assert found.name == expected.name
    for one, other in zip(found.layer, expected.layer, strict=True):
        assert one == other, other.name


@pytest.mark.parametrize("name", ["v0", "v1"])
def test_old_dialects_are_upgraded(name: str) -> None:
    text = (LEGACY / f"{name}.prototxt").read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        assert plain(definition.parse(encoded(text))) == plain(read_definition(text))


@needs_oracle
@pytest.mark.parametrize("case", ["lmdb_sgd", "hdf5_rmsprop", "image_adam"])
def test_snapshots_of_caffe_itself(case: str) -> None:
    """What BVLC's Caffe saved after training is the train.prototxt's net in phase TRAIN."""
    folder = ORACLE / "train" / case
    with pytest.warns(ProtogenWarning, match="as it was trained"):
        found = definition.read(folder / "snap_iter_16.caffemodel")
    written = read_definition((folder / "net.prototxt").read_text())
    expected = [layer for layer in written.layer if not any(rule.get("phase") == "TEST" for rule in layer.include)]
    assert [layer.name for layer in found.layer] == [layer.name for layer in expected]
    for one, other in zip(found.layer, expected):
        rates = ("param",) if one.type == "BatchNorm" else ()  # Caffe sets those of statistics to 0 itself
        losses = () if "loss_weight" in other else ("loss_weight",)  # and notes the default of losses
        assert one.without(*losses, *rates) == other.without("include", *rates)


def test_phase_and_rules_by_which_caffe_chose_the_layers_go() -> None:
    text = """layer { name: "d" type: "Data" top: "x" include { phase: TRAIN } }
              layer { name: "r" type: "ReLU" bottom: "x" top: "y" relu_param { negative_slope: 0.5 } }"""
    with pytest.warns(ProtogenWarning, match=r"phase TRAIN.*protogen deploy"):
        net = definition.parse(saved(text, "TRAIN"))
    assert [name for name, _ in net.layer[0].fields()] == ["name", "type", "top"]
    assert "phase" not in net.layer[1]
    net = definition.parse(saved(text.replace("TRAIN", "TEST"), "TEST"))  # no warning
    assert "include" not in net.layer[0]


def test_rules_of_a_net_for_both_phases_stay() -> None:
    text = """layer { name: "d" type: "Data" top: "x" include { phase: TRAIN } data_param { batch_size: 1 } }
              layer { name: "e" type: "Data" top: "x" include { phase: TEST } }"""
    assert ["include" in layer for layer in definition.parse(encoded(text)).layer] == [True, True]


SPLIT = """layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 1 } } }
layer { name: "x_d_0_split" type: "Split" bottom: "x" top: "x_d_0_split_0" top: "x_d_0_split_1" %s }
layer { name: "a" type: "ReLU" bottom: "x_d_0_split_0" top: "a" }
layer { name: "b" type: "ReLU" bottom: "x_d_0_split_1" top: "b" }"""


def test_splits_that_caffe_inserted_go() -> None:
    net = definition.parse(encoded(SPLIT % ""))
    assert [(layer.name, layer.bottom) for layer in net.layer] == [("d", ()), ("a", ["x"]), ("b", ["x"])]


@pytest.mark.parametrize("own", [SPLIT % "loss_weight: 1", (SPLIT % "").replace("x_d_0_split", "mine")])
def test_other_splits_stay(own: str) -> None:
    assert len(definition.parse(encoded(own)).layer) == 4


def test_where_nothing_tells_forks_apart_the_field_is_kept_under_its_number() -> None:
    with pytest.warns(ProtogenWarning, match=r"field 13 of PoolingParameter may be round_mode in BVLC/caffe"):
        net = definition.parse(encoded(POOL % "round_mode: FLOOR"))
    assert [name for name, _ in net.layer[0].pooling_param.fields()] == ["kernel_size", "field_13"]


def test_the_rest_of_the_file_tells_and_that_is_said() -> None:
    """Only two forks have both Tiny-DSOD's types of layers and a field 13 in Pooling, and both call it ceil_mode."""
    text = (POOL % "ceil_mode: false") + 'layer { name: "q" type: "Permute" bottom: "x" top: "q" permute_param { order: 0 } }'
    with pytest.warns(ProtogenWarning, match="field 13 of PoolingParameter"):
        definition.parse(encoded(text, "lyxok1/Tiny-DSOD"))


def test_a_setting_that_is_its_default_is_no_difference() -> None:
    """Convolution's field 16 is BVLC's axis and a fork's dilation: of value 1, both are what they are without it."""
    text = (
        'layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 1 kernel_size: 3 axis: %d } }'
    )
    assert "field_16" not in definition.parse(encoded(text % 1)).layer[0].convolution_param  # no warning
    with pytest.warns(ProtogenWarning, match="field 16 of ConvolutionParameter may be"):
        definition.parse(encoded(text % 2))


@pytest.mark.parametrize("name", ["v1", "v0"])
def test_weights_without_parameters_are_no_definition(name: str) -> None:
    with pytest.raises(WeightsError, match="no parameters of any layer: give its prototxt"):
        definition.read(LEGACY / f"{name}.caffemodel")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 90, "an HDF5 file holds weights but no definition"),
        (bytes(range(256)), "neither a prototxt nor a .caffemodel"),
        (b"\x0a\x03net", "contains no layers"),
        (b"\x0a\x03net\xa2\x06\x7f\x0a", "truncated or damaged"),
        (b"\x0a\x03net\xa2\x06\xff\xff\xff\xff\x0f\x0a", "claims 4294967295 bytes"),
        (b"\x0a\x03net\xa0\x06\x05", "field 100 is a varint"),
        (b"\xa2\x06\x03\xca\x07\x7f", "truncated or damaged"),
    ],
)
def test_files_that_are_no_definition(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.caffemodel"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=re.escape(message)) as error:
        definition.read(path)
    assert "m.caffemodel" in str(error.value)


HOSTILE = {
    "one unknown field twenty thousand times": b"\xca\x9c\x07\x01a" * 20_000,
    "a message in twenty thousand parts": b"\xca\x07\x02\x10\x03" * 20_000,
    "twenty thousand unknown numbers": b"".join(
        bytes([0x80 | (n << 3 & 0x78), 0x80 | (n >> 4 & 0x7F), 0x80 | (n >> 11 & 0x7F), 1, 1]) for n in range(20_000)
    ),
}


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


@pytest.mark.filterwarnings("ignore::protogen.ProtogenWarning")
@pytest.mark.parametrize("layer", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_layers_cost_no_more_than_they_hold(layer: bytes) -> None:
    data = b"\xa2\x06" + varint(len(layer)) + layer
    with bounded(megabytes=64, seconds=30):
        try:
            definition.parse(data, "x")
        except ProtogenError as error:
            assert str(error)


def test_blobs_are_not_read() -> None:
    """The definition of a file costs no memory for its weights."""
    net = text_format.Parse(POOL % "", net_class("BVLC/caffe")())
    net.layer[0].blobs.add().data.extend([1.0] * 4_000_000)
    data = net.SerializeToString()
    with bounded(megabytes=4):
        definition.parse(data)
