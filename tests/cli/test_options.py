"""Options that commands share: inputs, phases, stages and levels, strictness, the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

import protogen
from protogen.cli.options import finite
from tests.cli.nets import SMALL, STAGED
from tests.commands import Run, exit_code, process


def test_stages_and_levels(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(STAGED)
    assert "15 parameters" in run("summary", path, "--stage", "val").out
    assert "20 parameters" in run("summary", path, "--phase", "train", "--level", 2).out
    result = run("summary", path)
    assert result.code == 1
    assert "makes its bottom 'x' in phase TEST; layer 'b' does in phase TRAIN with level 2 or more" in result.err
    assert run("verify", path, "--stage", "val").code == 0
    made = tmp_path / "net.onnx"
    assert run("convert", path, "-o", made, "--stage", "val").code == 0
    assert run("diff", path, path, "--stage", "val").code == 0


@pytest.mark.parametrize(
    "value", ["data", "=1,2", "data=", "data=1,a", "data=1,-2", "data=0,3,8,8", "data=1,,2", "data=99999999999"]
)
def test_inputs_that_are_no_shapes(run: Run, small: Path, value: str) -> None:
    result = run("summary", small, "--input", value)
    assert result.code == 2
    assert "--input" in result.err


def test_an_input_the_net_lacks(run: Run, small: Path) -> None:
    result = run("summary", small, "--input", "dat=1,3,8,8")
    assert (result.code, "did you mean 'data'" in result.err) == (1, True)


def test_unknown_fields(run: Run, small: Path) -> None:
    """A slip of a known name is refused; another framework's field is kept with a warning, unless --strict."""
    small.write_text(SMALL.replace("num_output: 5", "num_output: 5 bias_trem: false"))
    slip = run("summary", small)
    assert slip.code == 1
    assert f"{small}:8:" in slip.err
    assert "unknown field 'bias_trem' in InnerProductParameter; did you mean 'bias_term'" in slip.err
    small.write_text(SMALL.replace("num_output: 5", "num_output: 5 quantum_flux: 7"))
    foreign = run("summary", small)
    assert foreign.code == 0
    assert foreign.err.startswith(f"Warning: {small}:8:")
    assert "unknown field 'quantum_flux'" in foreign.err
    assert run("summary", small, "--strict").code == 1


def test_reshaping_is_one_flag(files: Path) -> None:
    assert exit_code("convert", files / "net.prototxt", "--input", "data=2,3,8,8", "-o", files / "b.prototxt") == 0
    assert protogen.load(files / "b.prototxt").shapes["fc"] == (2, 5)


TRAIN_ONLY = """
    layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN }
            transform_param { crop_size: 4 } data_param { batch_size: 2 } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" %s inner_product_param { num_output: 3 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" %s }
"""


@pytest.mark.parametrize("rule", ["", "include { phase: TRAIN }"], ids=["some layers", "all layers"])
def test_a_file_for_training_only_is_read_as_such_and_says_so(run: Run, tmp_path: Path, rule: str) -> None:
    path = tmp_path / "train.prototxt"
    path.write_text(TRAIN_ONLY % (rule, rule))
    result = run("summary", path)
    assert result.code == 0
    assert "Warning: this file is a net in phase TRAIN only, and read as such (--phase train)" in result.err
    assert "147 parameters" in result.out


def test_a_file_that_is_wrong_in_both_phases_gets_the_error_of_test(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.prototxt"
    path.write_text('layer { name: "r" type: "ReLU" bottom: "x" top: "y" }')
    result = run("summary", path)
    assert (result.code, "in phase TRAIN only" in result.err) == (1, False)
    assert "no layer before it makes its bottom 'x'" in result.err


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "x", "1/0"])
def test_a_tolerance_that_is_none_is_wrong_use(run: Run, small: Path, text: str) -> None:
    result = run("verify", small, f"--tolerance={text}")
    assert result.code == 2
    assert "is not a tolerance such as 1e-5" in result.err


@pytest.mark.parametrize("option", ["--mean", "--scale"])
@pytest.mark.parametrize("text", ["nan", "inf", "1/0", "104,nan,123"])
def test_numbers_of_preprocessing_are_finite(run: Run, small: Path, option: str, text: str) -> None:
    result = run("convert", small, "-o", "x.onnx", option, text)
    assert result.code == 2
    assert "is neither a finite number" in result.err


@pytest.mark.parametrize(("text", "number"), [("1/255", 1 / 255), ("-3", -3.0), ("1e-3", 1e-3), ("2/-4", -0.5)])
def test_a_number_may_be_a_fraction(text: str, number: float) -> None:
    assert finite(text) == number


# ---- what all commands share


COMMANDS_THAT_READ_NETS = ("summary", "convert", "verify", "deploy", "fold", "edit", "upgrade", "diff")


@pytest.mark.parametrize("command", COMMANDS_THAT_READ_NETS)
def test_every_command_that_reads_a_net_takes_the_same_options(run: Run, command: str) -> None:
    text = run(command, "--help").out
    options = ("--phase", "--level", "--stage", "--input", "--outputs", "--strict", "--define", "--crop", "--plugin")
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("convert", ("-o", "{net}")), ("fold", ("{weights}", "-o", "{net}")), ("deploy", ("-o", "{net}")),
        ("upgrade", ("-o", "{net}")), ("convert", ("{weights}", "-o", "{weights}")),
    ],
)  # fmt: skip
def test_what_is_read_is_overwritten_by_force_only(run: Run, files: Path, command: str, more: tuple[str, ...]) -> None:
    names = {"net": files / "net.prototxt", "weights": files / "net.caffemodel"}
    words = [word.format(**names) for word in ("{net}", *more)]
    before = {path: path.read_bytes() for path in names.values()}
    result = run(command, *words)
    assert (result.code, "choose another output file, or give --force" in result.err) == (2, True)
    assert before == {path: path.read_bytes() for path in names.values()}
    assert run(command, *words, "--force").code == 0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("convert", "net.prototxt"), "net.onnx"),
        (("convert", "net.prototxt", "net.caffemodel", "--to", "pth"), "net.pth"),
        (("convert", "nets"), "nets_converted"),
        (("fold", "net.prototxt", "net.caffemodel"), "net_folded.prototxt"),
    ],
)
def test_without_an_output_a_name_is_suggested(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], name: str
) -> None:
    monkeypatch.chdir(files)
    (files / "nets").mkdir()
    result = run(*words)
    assert (result.code, f"such as -o {name} " in result.err) == (2, True)


def test_templates_of_ones_own_for_every_prototxt_that_is_written(run: Run, files: Path) -> None:
    own = files / "own"
    own.mkdir()
    (own / "net.prototxt.j2").write_text("# mine: {{ net.layer | length }}\n")
    net, out = files / "net.prototxt", files / "out.prototxt"
    for words in (
        ("convert", net), ("upgrade", net), ("deploy", net), ("fold", net, files / "net.caffemodel"),
        ("edit", net, "--rename", "fc=x"), ("convert", net, files / "net.caffemodel", "--fold"),
    ):  # fmt: skip
        assert run(*words, "-o", out, "--templates", own).code == 0
        assert out.read_text().startswith("# mine: ")
    result = run("convert", net, "-o", files / "a.onnx", "--templates", own)
    assert (result.code, "--templates is only for .prototxt files" in result.err) == (2, True)


def test_weights_from_standard_input(files: Path) -> None:
    data = (files / "net.caffemodel").read_bytes()
    assert process("convert", files / "net.prototxt", "-", "-o", files / "again.caffemodel", stdin=data).returncode == 0
    assert (files / "again.caffemodel").read_bytes() == data
    result = process("summary", files / "net.prototxt", "-", stdin=data)
    assert b"6 layers" in result.stdout and b"9 blobs of 4 layers" in result.stdout
    damaged = process("summary", files / "net.prototxt", "-", stdin=data[:40])
    assert b"<stdin>: " in damaged.stderr
    both = process("convert", "-", "-", "-o", files / "x.onnx", stdin=data)
    assert both.returncode == 1 and b"the net or its weights, not both" in both.stderr


def test_upgrade_reads_as_convert_does(run: Run, files: Path) -> None:
    net = files / "net.prototxt"
    options = ("--outputs", "conv", "--input", "data=2,3,10,10")
    assert run("convert", net, *options, "-o", files / "one.prototxt").code == 0
    assert run("upgrade", net, *options, "-o", files / "two.prototxt").code == 0
    assert (files / "one.prototxt").read_text() == (files / "two.prototxt").read_text()
    (files / "template.prototxt").write_text(SMALL.replace("num_output: 5", "num_output: $N$"))
    assert "num_output: 7" in run("upgrade", files / "template.prototxt", "--define", "N=7").out
    (files / "solver.prototxt").write_text('net: "a" base_lr: 1')
    result = run("upgrade", files / "solver.prototxt", "--phase", "train")
    assert (result.code, "this is a solver" in result.err) == (1, True)


def test_deploy_of_the_phase_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "two.prototxt"
    path.write_text(
        SMALL + 'layer { name: "p" type: "Softmax" bottom: "fc" top: "p" include { phase: TEST } }'
        'layer { name: "s" type: "Sigmoid" bottom: "fc" top: "s" include { phase: TRAIN } }'
    )
    assert '"Softmax"' in run("deploy", path).out
    assert '"Sigmoid"' in run("deploy", path, "--phase", "train").out
