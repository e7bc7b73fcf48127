"""Messages from the wire: as protobuf reads them where one meaning is known, and none guessed where forks differ."""

from __future__ import annotations

import struct

import pytest

from protogen.errors import WeightsError
from protogen.prototxt.message import Message
from protogen.schema import message_class, message_type
from protogen.weights.decode import Decoder, Reading, readings
from protogen.weights.numbers import all_forks
from protogen.weights.wire import Wire
from tests.weights.forks import encoded, table


def ways(data: bytes, kind: str = "LayerParameter") -> list[Reading]:
    return readings(Wire(data, "x"), 0, len(data), message_type(kind))


def only(data: bytes, kind: str = "LayerParameter") -> Message:
    (way,) = ways(data, kind)
    return way.message


def test_every_kind_of_value_as_protobuf_writes_it() -> None:
    layer = message_class("LayerParameter")(name="conv", type="Convolution", loss_weight=[0.5, -2])  # type: ignore[call-arg]
    layer.convolution_param.num_output = 2**32 - 1  # type: ignore[attr-defined]
    layer.convolution_param.kernel_size.extend([3, 5])  # type: ignore[attr-defined]
    layer.convolution_param.bias_term = False  # type: ignore[attr-defined]
    layer.softmax_param.axis = -1  # type: ignore[attr-defined]
    layer.convolution_param.engine = 2  # type: ignore[attr-defined]
    read = only(layer.SerializeToString())
    assert (read.name, read.loss_weight) == ("conv", [0.5, -2.0])
    conv = read.convolution_param
    assert (conv.num_output, conv.kernel_size, conv.bias_term, conv.engine) == (2**32 - 1, [3, 5], False, "CUDNN")
    assert read.softmax_param.axis == -1


def test_lists_may_be_packed_or_not() -> None:
    values = [1.5, 2.5, 3.5]
    packed = struct.pack("<3f", *values)
    for data in (b"\x2a\x0c" + packed, b"".join(b"\x2d" + struct.pack("<f", value) for value in values)):
        assert only(data).loss_weight == values
    assert only(bytes([0x0A, 3, 2, 3, 4]), "BlobShape").dim == [2, 3, 4]


def test_a_message_in_two_parts_is_merged_and_of_a_value_given_twice_the_last_counts() -> None:
    net = message_class("LayerParameter")
    one, two = net(), net()
    one.pooling_param.kernel_size, one.pooling_param.stride = 2, 1  # type: ignore[attr-defined]
    two.pooling_param.stride = 2  # type: ignore[attr-defined]
    pooling = only(one.SerializeToString() + two.SerializeToString()).pooling_param
    assert (pooling.kernel_size, pooling.stride) == (2, 2)


# fork, layer -> what its parameters are read as
FORKS = {
    "the type of the layer tells (Interp, not Input)": (
        "hszhao/PSPNet", 'name: "i" type: "Interp" interp_param { height: 3 width: 5 }', "interp_param"),
    "the type of the layer tells (BVLC's Input)": (
        "BVLC/caffe", 'name: "i" type: "Input" input_param { shape { dim: 1 } }', "input_param"),
    "LSTM's parameters have another name": (
        "BVLC/caffe", 'name: "i" type: "LSTM" recurrent_param { num_output: 2 }', "recurrent_param"),
    "the wire type tells (an enum, not a message)": (
        "NVIDIA/caffe", 'name: "i" type: "ReLU" forward_type: FLOAT16', "forward_type"),
    "SSD's": ("weiliu89/caffe", 'name: "p" type: "Permute" permute_param { order: 0 order: 2 }', "permute_param"),
}  # fmt: skip


@pytest.mark.parametrize(("fork", "text", "field"), FORKS.values(), ids=list(FORKS))
def test_what_tells_forks_apart(fork: str, text: str, field: str) -> None:
    wire = Wire(encoded(f"layer {{ {text} }}", fork), "x")
    (item,) = wire.fields()
    found = readings(wire, item.start, item.end, message_type("LayerParameter"))
    assert all(field in way.message for way in found) and found
    assert table()["forks"].index(fork) in frozenset().union(*(way.forks for way in found))


def test_forks_that_differ_are_all_possible() -> None:
    """Pooling's field 13 of value 0: rounding up in BVLC's Caffe, down (ceil_mode: false) in others."""
    data = encoded('layer { type: "Pooling" pooling_param { kernel_size: 3 round_mode: CEIL } }')
    (item,) = Wire(data, "x").fields()
    wire = Wire(data, "x")
    found = readings(wire, item.start, item.end, message_type("LayerParameter"))
    names = {name for way in found for name, _ in way.message.pooling_param.fields()}
    assert {"round_mode", "ceil_mode", "avg_include_pad"} <= names
    kept = Decoder(wire, all_forks(), settle=False).read(message_type("LayerParameter"), item.start, item.end)
    assert kept.message.pooling_param.get("field_13") == 0
    assert kept.unsettled[0].what == "field 13 of PoolingParameter"


def test_half_of_a_pair_is_unlikely() -> None:
    """Convolution's field 18 is BVLC's dilation; a fork's dilation_w would not stand without dilation_h."""
    data = encoded('layer { type: "Convolution" convolution_param { num_output: 1 kernel_size: 3 dilation: 2 } }')
    (item,) = Wire(data, "x").fields()
    for way in readings(Wire(data, "x"), item.start, item.end, message_type("LayerParameter")):
        assert way.message.convolution_param.dilation == [2]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xc8\x9c\x07\x05", 5),
        (b"\xca\x9c\x07\x03abc", "abc"),
        (b"\xcd\x9c\x07" + struct.pack("<f", 1.5), 1.5),
        (b"\xca\x9c\x07\x88\x27" + b"\0" * 5000, "5000 bytes"),
        (b"\xca\x9c\x07\x02\x80\x80", "\udc80\udc80"),
    ],
)
def test_fields_that_no_caffe_has_are_kept(data: bytes, value: object) -> None:
    (way,) = ways(data)
    assert way.message.get("field_14793") == value
    assert way.unlikely == 1 and not way.unsettled[0].meanings


def test_nested_fields_that_no_caffe_has() -> None:
    inner = only(b"\xca\x9c\x07\x04\x08\x07\x10\x01").get("field_14793")
    assert dict(inner.fields()) == {"field_1": [7], "field_2": [1]}
    deep = b"\x08\x01"
    for _ in range(50):
        deep = b"\x0a" + bytes([len(deep)]) + deep if len(deep) < 120 else deep
    only(b"\xca\x9c\x07" + bytes([len(deep)]) + deep)


def test_a_value_of_another_wire_type_is_kept_like_an_unknown_field() -> None:
    """As protobuf does; so converting refuses the layer rather than to go by a default."""
    pooling = only(b"\xca\x07\x03" + b"\x12\x01\x02").pooling_param  # kernel_size as a string
    assert "kernel_size" not in pooling and "field_2" in pooling


def test_an_enum_value_that_no_caffe_has_is_no_default() -> None:
    pooling = only(b"\xca\x07\x02\x08\x63").pooling_param
    assert "pool" not in pooling and pooling.get("field_1") == 99


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\xca\x07\x7f\x08", b"\x0b", b"\xca\x07\x01\x08", b"\x2a\x03abc"])
def test_damage(data: bytes) -> None:
    with pytest.raises(WeightsError, match="x: byte"):
        ways(data)
