"""Offsets of Crop layers in what is written: those that follow from the net, in whichever phase a layer takes part."""

from __future__ import annotations

import pytest

import protogen
from protogen import ProtogenWarning

INPUT = 'layer { name: "data" type: "Input" top: "data" %s input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }\n'
CONV = """layer { name: "%s" type: "Convolution" bottom: "data" top: "a" %s
    convolution_param { num_output: 1 kernel_size: 3 pad: %d } }\n"""
CROP = 'layer { name: "%s" type: "Crop" bottom: "a" bottom: "data" top: "%s" %s }\n'


def test_what_was_not_placed_stays_as_it_was_written() -> None:
    net = protogen.loads(INPUT % "" + CONV % ("a", "", 3) + CROP % ("c", "c", "crop_param { offset: 1 }"))
    assert "crop_param {\n    offset: 1\n  }" in net.to_prototxt()


def test_the_nets_own_definition_is_not_changed() -> None:
    with pytest.warns(ProtogenWarning):
        net = protogen.loads(INPUT % "" + CONV % ("a", "", 3) + CROP % ("c", "c", ""), inputs={"data": (1, 1, 6, 7)})
    text = net.to_prototxt()
    assert "crop_param {\n    axis: 2\n    offset: 2\n    offset: 2\n  }" in text
    assert "dim: 6\n      dim: 7" in text
    assert "crop_param" not in net.definition.layer[-1]
    assert net.to_prototxt() == text


def test_layers_of_the_other_phase_get_theirs_too() -> None:
    text = INPUT % "" + CONV % ("a", "", 3) + CROP % ("c", "c", "") + CROP % ("d", "d", "include { phase: TRAIN }")
    with pytest.warns(ProtogenWarning, match="'c'"):
        net = protogen.loads(text)
    with pytest.warns(ProtogenWarning, match="'d'") as warned:
        written = net.to_prototxt()
    assert len(warned) == 1  # of c, it was said before
    for phase, number in (("TEST", 1), ("TRAIN", 2)):
        crops = [op for op in protogen.loads(written, phase=phase, crop="bvlc").ops if op.layer.type == "Crop"]
        assert [op.offsets for op in crops] == [[2, 2]] * number  # type: ignore[attr-defined]


def test_a_definition_for_one_phase_alone() -> None:
    text = INPUT % "include { phase: TEST }" + CONV % ("a", "include { phase: TEST }", 3) + CROP % ("c", "c", "")
    with pytest.warns(ProtogenWarning):
        net = protogen.loads(text)  # in TRAIN, nothing makes "a"
    assert "offset: 2\n    offset: 2" in net.to_prototxt()


def test_offsets_that_differ_between_the_phases_are_not_written() -> None:
    text = INPUT % "" + CONV % ("a", "include { phase: TEST }", 3) + CONV % ("b", "include { phase: TRAIN }", 5)
    text += CROP % ("c", "c", "")
    with pytest.warns(ProtogenWarning, match="at offset 2"):
        net = protogen.loads(text, source="both.prototxt")
    with pytest.warns(ProtogenWarning) as warned:
        written = net.to_prototxt()
    assert [str(warning.message) for warning in warned][1:] == [
        "written as read, because what they compute is unknown or differs between the phases: both.prototxt:6:7: layer 'c' (Crop)"
    ]
    assert "at offset 4" in str(warned[0].message)
    assert "crop_param" not in written


def test_offsets_behind_an_unknown_shape_are_not_written() -> None:
    net = protogen.loads(
        (INPUT % "").replace("input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } }", "")
        + CROP.replace('"a"', '"data"') % ("c", "c", "")
    )
    with pytest.warns(ProtogenWarning, match=r"written as read, .* layer 'c' \(Crop\)"):
        assert "crop_param" not in net.to_prototxt()
