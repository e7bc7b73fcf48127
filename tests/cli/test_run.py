"""`protogen run`: classes, detections, maps and numbers of a picture; `verify` on a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import protogen
from tests.commands import Run
from tests.pictures.files import colours

NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "edge" type: "Convolution" bottom: "conv" top: "edge"
        convolution_param { num_output: 1 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "edge" top: "edge" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    protogen.loads(NET).fill(3).save_caffemodel("net.caffemodel")
    Image.fromarray(colours()).save("photo.png")
    Path("names.txt").write_text("".join(f"n0{i} thing {i}, object\n" for i in range(6)))
    Path("two.txt").write_text("a\nb\n")
    return tmp_path


STEPS = ("--mean", "104,117,123", "--scale", "0.017", "--swap-rb")


def test_classes_with_labels(run: Run, folder: Path) -> None:
    result = run("run", "net.prototxt", "net.caffemodel", "photo.png", *STEPS, "--labels", "names.txt", "--top", "2")
    assert (result.code, result.err) == (0, "")
    steps = protogen.Preprocess(mean=(104, 117, 123), scale=0.017, swap_rb=True)
    expected = protogen.run(protogen.load("net.prototxt", "net.caffemodel"), "photo.png", steps).classes(2)
    lines = [line.split(maxsplit=2) for line in result.out.splitlines()]
    for row in expected:
        assert [f"{row.score:.4f}", str(row.number), f"n0{row.number} thing {row.number}, object"] in lines


def test_machines_files_and_pycaffes_names(run: Run, folder: Path) -> None:
    words = ("run", "net.prototxt", "net.caffemodel", "photo.png")
    ours = run(*words, *STEPS, "--size", "12x10", "--json", "-o", "out.npz", "-o", "edge.png")
    theirs = run(*words, "--mean", "104,117,123", "--input-scale", "0.017", "--channel-swap", "2,1,0", "--raw-scale", "255",
                 "--size", "12x10", "--json")  # fmt: skip
    assert json.loads(ours.out) == json.loads(theirs.out)
    assert list(json.loads(ours.out)["outputs"]) == ["edge", "prob"]
    with np.load("out.npz") as values:
        edge = values["edge"]
    assert np.asarray(Image.open("edge.png")).tolist() == np.rint(edge[0, 0] * 255).astype(int).tolist()


def test_what_goes_without_saying_is_said(run: Run, folder: Path) -> None:
    result = run("run", "net.prototxt", "photo.png")
    assert result.code == 0
    assert "random ones from the layers' fillers" in result.err and "take blue, green, red (--swap-rb)" in result.err
    assert "blue" not in run("run", "net.caffemodel", "photo.png", "--channel-swap", "0,1,2").err


def test_a_picture_as_the_value_of_an_input(run: Run, folder: Path) -> None:
    one = run("run", "net.prototxt", "net.caffemodel", "photo.png", "--swap-rb")
    other = run("run", "net.prototxt", "net.caffemodel", "--input", "data=photo.png", "--swap-rb")
    assert one.out == other.out and one.code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("net.prototxt",), 2, "the PICTURE is missing"),
        (("net.prototxt", "net.caffemodel", "photo.png", "photo.png"), 2, "too many files"),
        (("net.prototxt", "photo.png", "-o", "out.jpg"), 2, "-o takes a .png or a .npz"),
        (("net.prototxt", "photo.png", "--swap-rb", "--channel-swap", "2,1,0"), 2, "either --swap-rb or"),
        (("net.prototxt", "photo.png", "--preprocess-from-data", "--mean", "1"), 2, "does what the data layer states"),
        (("net.prototxt", "photo.png", "-o", "photo.png"), 2, "would overwrite the input photo.png"),
        (("net.prototxt", "names.txt"), 1, "names.txt: not a picture"),
        (("net.prototxt", "photo.png", "--labels", "two.txt"), 1, "labels name 2 classes"),
        (("net.prototxt", "photo.png", "--raw-scale", "nan"), 2, "'nan' is not a finite number"),
        (("net.prototxt", "photo.png", "--raw-scale", "inf"), 2, "'inf' is not a finite number"),
        (("net.prototxt", "photo.png", "--threshold", "nan"), 2, "'nan' is not a finite number"),
        (("net.prototxt", "photo.png", "--threshold", "inf"), 2, "is not in the range"),
        (("net.prototxt", "photo.png", "--device", "tpu"), 1, "device 'tpu'"),
    ],
)
def test_mistakes(run: Run, folder: Path, words: tuple[str, ...], code: int, message: str) -> None:
    result = run("run", *words, "-o", "never.npz") if "-o" not in words else run("run", *words)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert not Path("never.npz").exists()


def test_detections_are_drawn(run: Run, folder: Path) -> None:
    """A net that finds the same boxes in every picture."""
    loc, conf, prior = "0 0 0 0 0 0 0 0", "0.1 0.9 0.95 0.05", "0.25 0.25 0.75 0.75 0 0 1 1"
    boxes = "".join(
        f'''layer {{ name: "{name}" type: "Parameter" top: "{name}" parameter_param {{ shape {{ {dims} }} }}
            blobs {{ shape {{ {dims} }} {" ".join(f"data: {value}" for value in values.split())} }} }}\n'''
        for name, dims, values in (
            ("loc", "dim: 1 dim: 8", loc),
            ("conf", "dim: 1 dim: 4", conf),
            ("prior", "dim: 1 dim: 2 dim: 8", f"{prior} 0.1 0.1 0.2 0.2 0.1 0.1 0.2 0.2"),
        )
    )
    Path("ssd.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
        'layer { name: "s" type: "Silence" bottom: "data" }\n'
        + boxes
        + """
        layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
                detection_output_param { num_classes: 2 code_type: CENTER_SIZE keep_top_k: 5 confidence_threshold: 0.5
                                         nms_param { nms_threshold: 0.5 } } }"""
    )
    Path("map.prototxt").write_text('item { name: "a" label: 1 display_name: "cat" }')
    result = run("run", "ssd.prototxt", "photo.png", "--swap-rb", "--labels", "map.prototxt", "-o", "boxes.png")
    assert result.code == 0, result.err
    assert ["0.9000", "1", "cat", "8", "6", "24", "18"] in [line.split() for line in result.out.splitlines()]
    drawn = np.asarray(Image.open("boxes.png"))
    assert drawn.shape == (24, 32, 3) and (drawn[18, 8:25] == (128, 0, 0)).all()


def test_verify_on_a_picture(run: Run, folder: Path) -> None:
    for more in ((), STEPS, (*STEPS, "--nhwc")):
        result = run("verify", "net.prototxt", "net.caffemodel", "--input", "data=photo.png", *more)
        assert result.code == 0, result.err
    np.savez("all.npz", data=np.ones((2, 3, 8, 8), np.float32))
    assert run("verify", "net.prototxt", "net.caffemodel", "--input", "all.npz").code == 0
    result = run("verify", "net.prototxt", "--input", "dat=photo.png")
    assert result.code == 1 and "no input 'dat'" in result.err
