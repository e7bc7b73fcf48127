"""Crop: what Caffe refuses, every form, and where it begins when nothing states it: by the rules of HED's Caffe and of BVLC's."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import protogen
from protogen import NetBuilder, NetError, ProtogenError, ProtogenWarning
from protogen.errors import LayerError
from protogen.graph.cut import without_measures
from protogen.layers.registry import unregister
from protogen.prototxt.reader import read_definition, read_source
from tests.corpus import CORPUS, fill_as_seeded, needs_corpus, needs_oracle, samples, seeded
from tests.corpus_shapes import assumed_shapes
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import assert_same, by_onnx, by_torch

X = (2, 6, 4, 4)
REFUSED = [
    ('bottom: "b" crop_param { offset: 3 }', [X, (2, 6, 2, 2)], "do not fit"),
    ('bottom: "b" crop_param { offset: 1 offset: 1 offset: 1 }', [X, (2, 6, 2, 2)], "3 offsets"),
    ('bottom: "b"', [X, (2, 6)], "fewer axes"),
    ('bottom: "b"', [X, (2, 6, 5, 4)], "do not fit"),
    ("", [X], "needs 2 bottoms"),
]


@pytest.mark.parametrize(("rest", "shapes", "message"), REFUSED)
def test_what_caffe_refuses_names_the_layer(rest: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match=r"layer 'op' \(Crop\)") as error:
        net_of(f'type: "Crop" bottom: "a" top: "y" {rest}', *shapes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("rest", "like"), [("crop_param { axis: 2 offset: 1 offset: 0 }", (2, 1, 3, 4)), ("crop_param { axis: 0 }", (2, 3, 4, 2))]
)
def test_every_form_agrees(rest: str, like: tuple[int, ...]) -> None:
    check_every_form(net_of(f'type: "Crop" bottom: "a" bottom: "b" top: "y" {rest}', X, like))


# ---- without crop_param

# c1 has img's pixel x at x - (3 - 1) / 2 + 6 = x + 5; p1 that at (x + 5 - 1/2) / 2; up at 2 (x + 9/2) / 2 + 3/2 = x + 6.
CASE = """
input: "img" input_shape { dim: 1 dim: 1 dim: 12 dim: 12 }
layer { name: "c1" type: "Convolution" bottom: "img" top: "c1"
        convolution_param { num_output: 1 kernel_size: 3 pad: 6 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "p1" type: "Pooling" bottom: "c1" top: "p1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "p1" top: "up"
        convolution_param { num_output: 1 kernel_size: 4 stride: 2 bias_term: false weight_filler { type: "bilinear" } } }
layer { name: "cut1" type: "Crop" bottom: "c1" bottom: "img" top: "side1" }
layer { name: "cut2" type: "Crop" bottom: "up" bottom: "img" top: "side2" }
"""


def aligned(text: str, **options: object) -> protogen.Net:
    """The net of a text whose Crops warn."""
    with pytest.warns(ProtogenWarning):
        return protogen.loads(text, **options)  # type: ignore[arg-type]


def offsets(net: protogen.Net) -> list[list[int]]:
    return [op.offsets for op in net.ops if op.layer.type == "Crop"]  # type: ignore[attr-defined]


def test_offsets_follow_from_the_layers_between_and_a_warning_says_so() -> None:
    with pytest.warns(ProtogenWarning) as warned:
        net = protogen.loads(CASE, source="case.prototxt")
    assert offsets(net) == [[5, 5], [6, 6]]
    first, second = (str(warning.message) for warning in warned)
    assert first.startswith("case.prototxt:8:7: layer 'cut1' (Crop): has no crop_param, so it crops at offset 5, ")
    assert second.startswith("case.prototxt:9:7: layer 'cut2' (Crop): has no crop_param, so it crops at offset 6, ")
    assert first.endswith('BVLC\'s Caffe uses 0 (--crop bvlc, or crop="bvlc")')


def test_the_values_are_those_of_the_offsets() -> None:
    net = aligned(CASE).fill()
    with torch.no_grad():
        blobs = {name: value.numpy() for name, value in net.to_torch().blobs(torch.randn(1, 1, 12, 12)).items()}
    np.testing.assert_array_equal(blobs["side1"], blobs["c1"][:, :, 5:17, 5:17])
    np.testing.assert_array_equal(blobs["side2"], blobs["up"][:, :, 6:18, 6:18])


def test_bvlcs_rule_is_0_without_a_word() -> None:
    net = protogen.loads(CASE, crop="bvlc")
    assert (net.rules.crop, offsets(net)) == ("bvlc", [[0, 0], [0, 0]])


@pytest.mark.parametrize("param", ["crop_param { }", "crop_param { axis: 2 }", "crop_param { offset: 0 }"])
@pytest.mark.parametrize("rule", ["aligned", "bvlc"])
def test_a_crop_param_is_bvlcs_be_it_empty(param: str, rule: str) -> None:
    """HED's Caffe has no such message: a file with one was not written for it."""
    text = CASE.replace('top: "side1"', f'top: "side1" {param}').replace('top: "side2"', f'top: "side2" {param}')
    net = protogen.loads(text, crop=rule)
    assert offsets(net) == [[0, 0], [0, 0]]
    assert net.to_prototxt().count("crop_param") == 2


def test_offsets_that_are_0_by_both_rules_need_no_word() -> None:
    net = protogen.loads(CASE.replace("pad: 6", "pad: 1").replace('bottom: "up"', 'bottom: "c1"'))
    assert offsets(net) == [[0, 0], [0, 0]]
    assert "crop_param" not in net.to_prototxt()


def test_height_and_width_of_their_own() -> None:
    with pytest.warns(ProtogenWarning) as warned:
        net = protogen.loads(CASE.replace("kernel_size: 3 pad: 6", "kernel_h: 9 kernel_w: 3 pad_h: 6 pad_w: 6"))
    assert offsets(net) == [[2, 5], [3, 6]]
    assert "it crops at offsets 2, 5, which" in str(warned[0].message)


def test_an_unknown_rule() -> None:
    with pytest.raises(NetError, match=r"unknown value 'alined' of crop; did you mean 'aligned'\? \(known: aligned, bvlc\)"):
        protogen.loads(CASE, crop="alined")


WIDE = (
    CASE[: CASE.index("layer { name: \"p1\"")]
    + 'layer { name: "cut" type: "Crop" bottom: "c1" bottom: "img" top: "cut" crop_param { } }\n'
)  # fmt: skip
CROP = 'layer { name: "last" type: "Crop" bottom: "%s" bottom: "%s" top: "last" }'
HOPELESS = [
    (CASE + 'input: "other" input_shape { dim: 1 dim: 1 dim: 9 dim: 9 }' + CROP % ("c1", "other"), "have no common ancestor"),
    (CASE + 'layer { name: "f" type: "Flip" bottom: "c1" top: "f" }' + CROP % ("f", "img"), r"layer 'f' \(Flip\) has no map"),
    (CASE + CROP % ("c1", "p1"), "one pixel of 'c1' corresponds to 1/2 in 'p1'"),
    (
        CASE + 'layer { name: "p" type: "Pooling" bottom: "c1" top: "p" pooling_param { kernel_size: 2 } }' + CROP % ("p", "img"),
        "'img' begins between the pixels of 'p', at 9/2",
    ),
    # img's pixels are at + 5 in what is cut from c1 at 0
    (WIDE + CROP % ("img", "cut"), "'cut' begins before 'img', at -5"),
    (WIDE + CROP % ("cut", "img"), "12 values from offset 5 on do not fit into the 12 of its bottom"),
]


@pytest.mark.parametrize(("text", "reason"), HOPELESS)
def test_where_no_offsets_follow_it_is_0_with_a_warning_that_says_why(text: str, reason: str) -> None:
    with pytest.warns(ProtogenWarning) as warned:
        net = protogen.loads(text)
    assert offsets(net)[-1] == [0, 0]
    told = str(warned[-1].message)
    assert re.search(reason, told)
    assert "layer 'last' (Crop): has no crop_param, and no offset follows from the layers before it: " in told
    assert "It crops at offset 0, as in BVLC's Caffe; if that is intended, set crop_param { offset: 0 }" in told
    again = protogen.loads(net.to_prototxt())  # says so now
    assert offsets(again) == offsets(net)


def test_a_bright_pixel_comes_back_to_its_place() -> None:
    """Up by 2 and down again: behind kernels that are 1 in their middle, the aligned crop is the image, pixel by pixel."""
    text = """
        input: "img" input_shape { dim: 1 dim: 1 dim: 7 dim: 9 }
        layer { name: "wide" type: "Convolution" bottom: "img" top: "wide"
                convolution_param { num_output: 1 kernel_size: 5 pad: 6 bias_term: false } }
        layer { name: "up" type: "Deconvolution" bottom: "wide" top: "up"
                convolution_param { num_output: 1 kernel_h: 5 kernel_w: 3 stride: 2 bias_term: false } }
        layer { name: "down" type: "Convolution" bottom: "up" top: "down"
                convolution_param { num_output: 1 kernel_size: 3 dilation: 2 stride: 2 pad_h: 6 pad_w: 3 bias_term: false } }
        layer { name: "y" type: "Crop" bottom: "down" bottom: "img" top: "y" }"""
    net = aligned(text)
    for name, (shape,) in net.param_shapes.items():
        weight = np.zeros(shape, np.float32)
        weight[0, 0, shape[2] // 2, shape[3] // 2] = 1
        net.weights[name] = [weight]
    module = net.to_torch()
    for row, column in np.ndindex(7, 9):
        image = torch.zeros(1, 1, 7, 9)
        image[0, 0, row, column] = 1
        assert torch.equal(module(image), image)
    assert offsets(net) == [[7, 5]]  # 4 + (2 + 6 - 2) / 2 and 4 + (1 + 3 - 2) / 2


# ---- HED: a VGG whose first layer pads by 35, a side after each stage


def hed(pad: int = 35) -> str:
    b = NetBuilder("five sides")
    x = b.input("data", (1, 3, 37, 50))
    sides = []
    for stage, convolutions in enumerate((2, 2, 3, 3, 3)):
        if stage:
            x = b.pool(x, "MAX", 2, stride=2)
        for number in range(convolutions):
            x = b.relu(b.conv(x, 2, 3, pad=pad if stage == number == 0 else 1, name=f"conv{stage + 1}_{number + 1}"))
        side = b.conv(x, 1, 1, name=f"score{stage + 1}")
        if stage:
            up = 2**stage
            side = b.deconv(side, 1, 2 * up, stride=up, weight_filler={"type": "bilinear"}, name=f"up{stage + 1}")
        sides.append(b.layer("Crop", side, "data", name=f"side{stage + 1}", crop_param={}))
    b.sigmoid(b.conv(b.concat(*sides), 1, 1, name="fused"))
    return re.sub(r"\s*crop_param \{\s*\}", "", b.build().to_prototxt())


def test_hed() -> None:
    """Stage n has data's x at (x + 34 - (2^n - 1) / 2) / 2^n, its side at x + 34 - (2^n - 1) / 2 + (2^(n + 1) - 1) / 2."""
    text = hed()
    assert "crop_param" not in text
    net = aligned(text)
    assert offsets(net) == [[34, 34], [35, 35], [36, 36], [38, 38], [42, 42]]


def test_hed_at_every_size_in_onnx() -> None:
    net = aligned(hed()).fill()
    for height, width in ((37, 50), (48, 64), (61, 33)):
        twin = net.at(inputs={"data": (1, 3, height, width)})  # warns of nothing again
        assert offsets(twin) == offsets(net)
        values = values_for(twin)
        expected = by_torch(twin, values)
        assert expected[0].shape == (1, 1, height, width)
        assert_same(by_onnx(net, values, dynamic_size=True), expected)
        assert_same(by_onnx(twin, values), expected)


LOSS = """
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1 dim: 37 dim: 50 } } }
layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "fused" bottom: "label" }"""


def test_offsets_outlive_folding_cutting_and_writing() -> None:
    """Every net made of this one states them, so that they stay what they are by BVLC's rule, too."""
    text = hed() + LOSS
    wanted = [[34, 34], [35, 35], [36, 36], [38, 38], [42, 42]]
    net = aligned(text)
    for other in (
        net.folded(),
        net.with_graph(without_measures(net.graph())),
        net.at("TRAIN"),
        protogen.loads(net.to_prototxt()),
    ):
        assert offsets(other) == wanted
        assert offsets(protogen.loads(other.to_prototxt(), crop="bvlc")) == wanted


def test_bvlcs_offsets_outlive_them_too() -> None:
    net = protogen.loads(hed() + LOSS, crop="bvlc")
    for other in (
        net.folded(),
        net.with_graph(without_measures(net.graph())),
        net.at("TRAIN"),
        net.at(inputs={"data": (1, 3, 37, 50)}),
    ):
        assert offsets(other) == [[0, 0]] * 5
        assert offsets(protogen.loads(other.to_prototxt())) == [[0, 0]] * 5


@needs_corpus
def test_hed_from_its_own_file() -> None:
    path = CORPUS / "s9xie+hed/examples/hed/deploy.prototxt"
    with pytest.warns(ProtogenWarning) as warned:
        net = protogen.load(path)
    assert offsets(net) == [[34, 34], [35, 35], [36, 36], [38, 38], [42, 42]]
    assert [str(warning.message).split(":")[1] for warning in warned] == ["78", "88", "98", "108", "118"]  # lines of the file


@needs_oracle
@pytest.mark.parametrize("path", ["s9xie+hed/examples/hed/deploy.prototxt", "ethereon+netscope/presets/fcn-8s-pascal.prototxt"])
def test_bvlcs_caffe_computes_what_its_rule_says(path: str) -> None:
    net = protogen.load(CORPUS / path, crop="bvlc")
    feed = fill_as_seeded(net)
    with torch.no_grad():
        blobs = net.to_torch().blobs(*[torch.tensor(feed[name]) for name in net.inputs])
    stated = samples(path)
    assert set(net.outputs) <= set(stated)
    for blob, value in stated.items():
        ours = seeded().sample(blob, blobs[blob].numpy())
        assert np.max(np.abs(ours - value)) <= 1e-3 * np.max(np.abs(value)), blob


@needs_corpus
def test_the_offsets_that_the_fcns_authors_worked_out() -> None:
    """Their later files state what coord_map.py found: left out, it is found again."""
    found = 0
    for path in sorted((CORPUS / "shelhamer+fcn.berkeleyvision.org").rglob("*.prototxt")):
        text, source = read_source(path)
        if "Crop" not in text:
            continue
        phase = "TRAIN" if "train" in path.name else "TEST"
        for shapes in [None, *assumed_shapes(read_definition(text, source))]:
            try:
                stated = offsets(protogen.loads(text, phase=phase, inputs=shapes, source=source))
                break
            except ProtogenError:
                continue
        else:
            continue
        without = read_definition(text, source)
        for message in without.layer:
            message.remove("crop_param")
        with pytest.warns(ProtogenWarning):
            derived = protogen.Net(without, phase=phase, inputs=shapes, source=source)
        assert offsets(derived) == stated, path
        found += len(stated)
    assert found > 50


# ---- built nets, AutoCrop


def test_the_builder_warns_when_the_layer_is_added_and_only_then() -> None:
    b = NetBuilder()
    x = b.conv(b.input("data", (1, 3, 8, 8)), 2, 3, pad=3)
    label = b.input("label", (1, 2, 8, 8))
    with pytest.warns(ProtogenWarning, match=r"^layer 'cut' \(Crop\): has no crop_param, so it crops at offset 2, "):
        y = b.layer("Crop", x, "data", name="cut")
    with pytest.warns(ProtogenWarning, match=r"'cut2' .* 2, "):  # like the one before, but of its own
        b.layer("Crop", x, "data", name="cut2")
    b.layer("EuclideanLoss", y, label, include={"phase": "TRAIN"})
    net = b.build()
    assert offsets(net) == [[2, 2], [2, 2]]
    assert offsets(protogen.loads(net.to_prototxt(), crop="bvlc")) == [[2, 2], [2, 2]]


def test_equal_layers_of_the_builder_have_offsets_of_their_own() -> None:
    """Layers of equal parameters and bottoms are set up once; these stand in different places."""
    b = NetBuilder()
    data = b.input("data", (1, 3, 8, 8))
    near, far = b.conv(data, 2, 5, pad=4, name="near"), b.conv(data, 2, 1, pad=2, name="far")
    small = b.conv(data, 3, 3, pad=1, name="small")
    shifted = b.layer("Crop", near, data, name="shifted", offset=1)
    assert b.shape(near) == b.shape(far)
    with pytest.warns(ProtogenWarning, match="offset 2"):
        b.layer("Crop", near, data)
    with pytest.warns(ProtogenWarning, match="offset 1"):
        b.layer("Crop", far, shifted)
    with pytest.warns(ProtogenWarning, match="offset 2"):
        b.layer("Crop", far, small)
    assert offsets(b.build()) == [[1, 1], [2, 2], [1, 1], [2, 2]]


@pytest.mark.parametrize("param", ["", "crop_param { offset: 1 }"])
@pytest.mark.parametrize("rule", ["aligned", "bvlc"])
def test_autocrop_is_aligned_by_any_rule_and_written_as_a_crop(param: str, rule: str) -> None:
    """RCF's Caffe has both types; this one reads no parameters."""
    net = protogen.loads(CASE.replace('type: "Crop"', f'type: "AutoCrop" {param}'), crop=rule)
    assert [op.offsets for op in net.ops if op.layer.type == "AutoCrop"] == [[5, 5], [6, 6]]  # type: ignore[attr-defined]
    assert offsets(protogen.loads(net.to_prototxt(), crop="bvlc")) == [[5, 5], [6, 6]]
    assert offsets(net.folded()) == [[5, 5], [6, 6]]


def test_autocrop_in_every_form() -> None:
    check_every_form(protogen.loads(CASE.replace("Crop", "AutoCrop")))


def test_autocrop_without_offsets_is_refused() -> None:
    text = CASE + 'layer { name: "last" type: "AutoCrop" bottom: "c1" bottom: "p1" top: "last" }'
    with (
        pytest.warns(ProtogenWarning),
        pytest.raises(LayerError, match=r"'last' \(AutoCrop\): no offsets follow .* corresponds to 1/2"),
    ):
        protogen.loads(text)


@pytest.mark.parametrize(("stays", "expected"), [(True, "at offset 5, "), (False, r"layer 'own' \(Own\) has no map")])
def test_a_type_of_ones_own_says_whether_pixels_stay(stays: bool, expected: str) -> None:
    class Own(protogen.LayerType):
        keeps_place = stays

        def setup(self) -> None:
            self.tops = [self.bottoms[0]]

    protogen.register("Own")(Own)
    own = 'layer { name: "own" type: "Own" bottom: "c1" top: "own" }'
    with pytest.warns(ProtogenWarning) as warned:
        protogen.loads(CASE + own + CROP % ("own", "img"))
    unregister("Own")
    assert re.search(expected, str(warned[-1].message))


def test_diff_takes_offsets_that_follow_for_stated_ones() -> None:
    from protogen.report.diff import diff

    net = aligned(CASE)
    assert diff(net, protogen.loads(net.to_prototxt())).equal
    changed = diff(protogen.loads(CASE, crop="bvlc"), net).changed
    assert [(layer.name, [str(change) for change in layer.parameters]) for layer in changed] == [
        ("cut1", ["crop_param.offset: [0, 0] -> [5, 5]"]),
        ("cut2", ["crop_param.offset: [0, 0] -> [6, 6]"]),
    ]
