"""A layer as its prototxt states it: names, what tells types apart, and its place in the file."""

from __future__ import annotations

import pytest

from protogen.prototxt.layer import Layer
from protogen.prototxt.parser import parse


def layer(text: str, **options: object) -> Layer:
    return Layer(parse(f"layer {{ {text} }}").layer[0], **options)


def test_what_is_not_stated_is_empty() -> None:
    bare = layer("")
    assert (bare.name, bare.type, bare.bottoms, bare.tops, bare.group, bare.blob_count) == ("", "", [], [], "", None)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ('type: "Pooling"', "Pooling"),
        ('type: "Pooling" pooling_param { pool: AVE }', "Pooling"),
        ('type: "Pooling" pooling_param { pool: LOWRES }', "Pooling (LOWRES)"),
        ('type: "Python" python_param { module: "rpn.targets" layer: "Anchors" }', "Python (rpn.targets.Anchors)"),
        ('type: "ReLU" pooling_param { pool: LOWRES }', "ReLU"),
    ],
)  # fmt: skip
def test_what_tells_layers_of_one_type_apart(text: str, full: str) -> None:
    assert layer(text).full_type == full


def test_a_label_has_the_place_if_there_is_a_file() -> None:
    text = 'name: "a" type: "ReLU"'
    assert layer(text).label == "layer 'a' (ReLU)"
    assert layer(text, source="net.prototxt").label == "net.prototxt:1:7: layer 'a' (ReLU)"
    assert layer('name: "a\\033[31m" type: "ReLU"').label == "layer 'a\\x1b[31m' (ReLU)", "it is fit to be shown"


def test_a_weights_file_tells_how_many_blobs_before_the_text_does() -> None:
    text = 'type: "Scale" blobs { shape { dim: 1 } data: 1 }'
    assert layer(text).blob_count == 1
    assert layer(text, blob_count=2).blob_count == 2
    assert layer(text, blob_count=0).blob_count == 0
