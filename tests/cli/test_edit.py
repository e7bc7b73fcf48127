"""`protogen edit`: the new files, in every phase, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import protogen
from tests.cli.nets import TRAINED
from tests.commands import Run

TRAIN_VAL = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        transform_param { crop_size: 8 } data_param { source: "a" batch_size: 4 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { crop_size: 8 } data_param { source: "b" batch_size: 2 } }
layer { name: "fc7" type: "InnerProduct" bottom: "data" top: "fc7" inner_product_param { num_output: 6 } }
layer { name: "drop7" type: "Dropout" bottom: "fc7" top: "fc7" }
layer { name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc8" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


def test_a_file_to_fine_tune(run: Run, tmp_path: Path) -> None:
    path, new = tmp_path / "tv.prototxt", tmp_path / "new.prototxt"
    path.write_text(TRAIN_VAL)
    result = run("edit", path, "--classes", 3, "--rename", "fc8=fc3", "--remove", "drop7", "-o", new)
    assert result.code == 0
    assert "Note: other numbers of classes in 'fc8'" in result.err
    expected = TRAIN_VAL.replace('"fc8"', '"fc3"').replace("num_output: 10", "num_output: 3")
    expected = expected.replace('layer { name: "drop7" type: "Dropout" bottom: "fc7" top: "fc7" }\n', "")
    assert new.read_text() == protogen.loads(expected).to_prototxt()  # the layers of both phases


def test_weights_follow_into_a_new_pair(run: Run, files: Path) -> None:
    change = ("--classes", 4, "--rename", "fc=last")
    result = run("edit", files / "net.prototxt", files / "net.caffemodel", *change, "-o", files / "new.prototxt")
    assert result.code == 0
    assert result.err.splitlines()[-1].endswith("new.caffemodel: 6 layers")
    old = protogen.load(files / "net.prototxt", files / "net.caffemodel")
    new = protogen.load(files / "new.prototxt", files / "new.caffemodel")
    np.testing.assert_array_equal(new.weights["conv"][0], old.weights["conv"][0])
    assert new.shapes["last"] == (1, 4)
    assert np.abs(new.weights["last"][0]).max() > 0


def test_grey_images(run: Run, files: Path) -> None:
    arguments = ("--input-channels", 1, "-o", files / "a.prototxt", "--weights-out", files / "b.caffemodel.h5")
    assert run("edit", files / "net.prototxt", files / "net.caffemodel", *arguments).code == 0
    assert protogen.load(files / "a.prototxt", files / "b.caffemodel.h5").param_shapes["conv"][0] == (4, 1, 3, 3)


def test_layers_that_get_no_weights_by_themselves_are_filled_and_named(run: Run, files: Path) -> None:
    pool = 'layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }'
    text = TRAINED.replace('bottom: "conv" top: "fc"', 'bottom: "pool" top: "fc"')
    text = text.replace('layer { name: "fc"', f'{pool}\nlayer {{ name: "fc"')
    (files / "pooled.prototxt").write_text(text)
    protogen.loads(text).fill().save_caffemodel(files / "pooled.caffemodel")
    result = run("edit", files / "pooled.prototxt", files / "pooled.caffemodel", "--remove", "pool", "-o", files / "whole")
    assert result.code == 0
    assert result.err.splitlines()[-1].endswith("6 layers; filled by their fillers: 'fc'")


def test_numbers_of_single_layers(run: Run, files: Path) -> None:
    result = run("edit", files / "net.prototxt", "--classes", "conv=3", "--classes", "fc=2", "-o", "-")
    assert result.code == 0
    assert [protogen.loads(result.out).param_shapes[layer][0][0] for layer in ("conv", "fc")] == [3, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "say what to change"),
        (("--classes", "3"), 2, "say which file to write with -o, such as -o net_edited.prototxt"),
        (("--classes", "x", "-o", "-"), 2, "--classes takes a number, or LAYER=N, not 'x'"),
        (("--classes", "3", "--classes", "fc=3", "-o", "-"), 2, "not both"),
        (("--rename", "fc", "-o", "-"), 2, "--rename takes OLD=NEW"),
        (("--remove", "cnv", "-o", "-"), 1, "no layer 'cnv' in this net; did you mean 'conv'"),
        (("--classes", "3", "-o", "net.prototxt"), 2, "would overwrite the input"),
    ],
)
def test_mistakes(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(files)
    result = run("edit", "net.prototxt", *arguments)
    assert (result.code, message in result.err) == (code, True)
    assert run("edit", "net.prototxt", "net.caffemodel", "--classes", "3", "-o", "-").code == 2


def test_force_overwrites(run: Run, files: Path) -> None:
    pair = (files / "net.prototxt", files / "net.caffemodel")
    assert run("edit", *pair, "--classes", 3, "-o", files / "net.prototxt").code == 2
    assert run("edit", *pair, "--classes", 3, "-o", files / "net.prototxt", "--force").code == 0
    assert protogen.load(*pair).shapes["fc"] == (1, 3)
