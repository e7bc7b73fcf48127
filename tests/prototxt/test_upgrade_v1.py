"""Nets of 2014: types by enum, settings per blob, transform parameters, and fields of today."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protogen.errors import NetError, ProtogenWarning
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.upgrade_v1 import TYPES, type_by_number
from protogen.schema import message_type
from tests.corpus import REFERENCE
from tests.prototxt.dialects import upgraded


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


def test_v1_types_are_those_of_the_schema() -> None:
    path = REFERENCE / "caffe_schema.json"
    if not path.exists():
        pytest.skip("the shared reference is not here")
    numbers = json.loads(path.read_text())["bvlc"]["enums"]["V1LayerParameter.LayerType"]
    for name, number in numbers.items():
        today = (type_by_number(number) or "").upper()
        if name not in ("NONE", "SOFTMAX_LOSS"):
            assert today == name.replace("_", "")
    assert type_by_number(len(numbers)) is None
