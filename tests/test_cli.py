"""The command line as people meet it: output, exit codes, one-line errors, pipes, and what it does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.cli import main

SMALL = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""
BROKEN = SMALL.replace("kernel_size", "kernal_size")


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.prototxt"
    path.write_text(SMALL)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run the command line in this process."""

    def call(*arguments: str | Path) -> Result:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Result(int(end.value.code or 0), out, err)

    return call


def process(*arguments: str | Path, stdin: bytes | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run it as a process of its own, as a shell would."""
    command = [sys.executable, "-m", "protogen", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, **options)  # type: ignore[call-overload]


# ---- help


def test_help_lists_the_commands_with_examples(run) -> None:
    result = run("--help")
    assert result.code == 0
    for word in (
        "build",
        "peleenet",
        "models",
        "summary",
        "convert",
        "verify",
        "completion",
        "--version",
        "protogen convert deploy.prototxt",
    ):
        assert word in result.out


@pytest.mark.parametrize("command", ["build", "peleenet", "models", "summary", "convert", "verify", "completion"])
def test_every_command_has_help(run, command: str) -> None:
    for flag in ("--help", "-h"):
        result = run(command, flag)
        assert result.code == 0
        assert result.out.startswith(f"Usage: protogen {command}")
    assert result.out.count(f"protogen {command}") > 1, "help shows an example"


def test_version(run) -> None:
    assert run("--version").out == f"protogen {protogen.__version__}\n"


def test_without_arguments_help_is_shown(run) -> None:
    result = run()
    assert "Usage: protogen" in result.out + result.err


# ---- peleenet and models


def test_peleenet_to_stdout_and_to_a_file(run, tmp_path: Path) -> None:
    printed = run("peleenet")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == protogen.models.peleenet().to_prototxt()
    path = tmp_path / "net.prototxt"
    result = run("peleenet", "--size", "224", "-o", path)
    assert (result.code, result.out) == (0, "")
    assert path.read_text() == printed.out


def test_peleenet_options(run) -> None:
    result = run(
        "peleenet",
        "--size",
        "96x64",
        "--batch",
        "2",
        "--classes",
        "7",
        "--growth-rate",
        "16",
        "--blocks",
        "2,1",
        "--bottleneck",
        "1,2",
        "--stem",
        "8",
        "--transition-pool",
        "ave",
        "--name",
        "Tiny",
        "--preset",
        "official",
    )
    expected = protogen.models.peleenet(
        (96, 64),
        batch=2,
        classes=7,
        growth_rate=16,
        blocks=(2, 1),
        bottleneck=(1, 2),
        stem_channels=8,
        transition_pool="AVE",
        name="Tiny",
        preset="official",
    )
    assert result.out == expected.to_prototxt()


def test_peleenet_for_training_with_a_solver(run, tmp_path: Path) -> None:
    net, solver = tmp_path / "train_val.prototxt", tmp_path / "solver.prototxt"
    assert run("peleenet", "--phase", "train", "-o", net, "--solver", solver).code == 0
    assert protogen.load(net, phase="TRAIN").outputs == ["loss"]
    assert f'net: "{net}"' in solver.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "0"], "positive"),
        (["--size", "big"], "'big' is not a size"),
        (["--size", "224x"], "not a size"),
        (["--size", "1x2x3"], "not a size"),
        (["--batch", "-1"], "positive"),
        (["--batch", "x"], "not a valid integer"),
        (["--classes", "0"], "positive"),
        (["--growth-rate", "3"], "even"),
        (["--blocks", "3,4"], "do not match"),
        (["--blocks", "3,a"], "not a list of whole numbers"),
        (["--blocks", ""], "not a list of whole numbers"),
        (["--bottleneck", "0,0,0,0"], "positive"),
        (["--stem", "7"], "even"),
        (["--transition-pool", "min"], "'min' is not one of"),
        (["--preset", "other"], "'other' is not one of"),
        (["--phase", "val"], "'val' is not one of"),
        (["--phase", "train", "--size", "10x20"], "squares"),
        (["--solver", "s.prototxt"], "--solver needs --phase train"),
        (["--nonsense"], "--nonsense"),
        (["extra"], "extra"),
    ],
)
def test_peleenet_with_bad_values(
    run, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("peleenet", "-o", "net.prototxt", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_models(run) -> None:
    result = run("models")
    assert result.code == 0
    assert "\npeleenet " in f"\n{result.out}"
    assert "NeurIPS 2018" in result.out


def test_templates_of_ones_own(run, tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "templates" / "prototxt"
    own = tmp_path / "own"
    own.mkdir()
    for template in folder.iterdir():
        if template.name.startswith("net"):
            (own / template.name).write_text("# made here\n" + template.read_text())
    assert run("peleenet", "--templates", own).out.startswith("# made here\n")
    assert run("peleenet", "--templates", tmp_path / "missing").code in (1, 2)


# ---- summary


def test_summary_table(run, small: Path) -> None:
    result = run("summary", small)
    assert result.code == 0
    lines = result.out.splitlines()
    (conv,) = [line for line in lines if line.split()[:1] == ["conv"]]
    assert conv.split() == ["conv", "Convolution", "1x4x6x6", "112", "3,888"]
    assert lines[-1] == "5 layers, 837 parameters, 4,608 multiply-accumulates"
    assert "\x1b" not in result.out, "no colours into a pipe"


def test_summary_for_machines(run, small: Path) -> None:
    found = json.loads(run("summary", small, "--json").out)
    assert (found["name"], found["phase"], found["inputs"], found["outputs"]) == ("small", "TEST", ["data"], ["fc"])
    assert (found["params"], found["macs"], found["complete"]) == (837, 4608, True)
    assert [row["name"] for row in found["rows"]] == ["data", "conv", "bn", "relu", "fc"]
    assert found["rows"][1]["shapes"] == [[1, 4, 6, 6]]


def test_verify_takes_weights_as_convert_does(run, small: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.caffemodel"
    protogen.load(small).fill(1).save_caffemodel(weights)
    assert run("verify", small, weights).code == run("verify", small, "--weights", weights).code == 0
    result = run("verify", small, weights, "--weights", weights)
    assert (result.code, "give WEIGHTS only once" in result.err) == (2, True)


def test_values_that_are_no_numbers_or_lie_about_their_number(run, small: Path, tmp_path: Path) -> None:
    text, lie = tmp_path / "text.npy", tmp_path / "lie.npy"
    np.save(text, np.array(["a"]))
    np.save(lie, np.zeros((1, 3)))
    sound = lie.read_bytes()
    assert "text.npy: contains <U1 values, not real numbers" in run("verify", small, "--input", f"data={text}").err
    for header in (b"(1, 999999999), }", b"(1, 3             "):
        lie.write_bytes(sound.replace(b"(1, 3), }" + b" " * (len(header) - 9), header))
        assert lie.read_bytes() != sound
        assert "lie.npy: not a readable .npy file" in run("verify", small, "--input", f"data={lie}").err


STAGED = """
layer { name: "a" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } include { phase: TEST stage: "val" } }
layer { name: "b" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } include { phase: TRAIN min_level: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 5 } }
"""


def test_stages_and_levels(run, tmp_path: Path) -> None:
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


def test_summary_with_input_shape_and_phase(run, small: Path, tmp_path: Path) -> None:
    assert "2x4x14x22" in run("summary", small, "--input", "data=2,3,16,24").out
    assert "2x4x14x22" in run("summary", small, "--input", "data=2x3x16x24").out
    path = tmp_path / "train.prototxt"
    path.write_text(protogen.models.peleenet(phase="TRAIN").to_prototxt())
    assert "SoftmaxWithLoss" in run("summary", path, "--phase", "train").out


def test_summary_without_shapes(run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('input: "x" layer { name: "r" type: "ReLU" bottom: "x" top: "y" }')
    result = run("summary", path)
    assert result.code == 0
    assert "?" in result.out
    assert "are unknown" in result.out


@pytest.mark.parametrize(
    "value", ["data", "=1,2", "data=", "data=1,a", "data=1,-2", "data=0,3,8,8", "data=1,,2", "data=99999999999"]
)
def test_inputs_that_are_no_shapes(run, small: Path, value: str) -> None:
    result = run("summary", small, "--input", value)
    assert result.code == 2
    assert "--input" in result.err


def test_an_input_the_net_lacks(run, small: Path) -> None:
    result = run("summary", small, "--input", "dat=1,3,8,8")
    assert (result.code, "did you mean 'data'" in result.err) == (1, True)


def test_names_cannot_drive_the_terminal(run, small: Path) -> None:
    small.write_text(SMALL.replace('"relu"', '"re\\033[31mlu [bold]x[/bold]"'))
    out = run("summary", small).out
    assert "\x1b" not in out
    assert "re\\x1b[31mlu [bold]x[/bold]" in out


# ---- convert


def test_convert_to_every_format(run, small: Path, tmp_path: Path) -> None:
    import onnx
    import torch

    x = torch.randn(1, 3, 8, 8)
    expected = protogen.load(small).to_torch()(x)
    for ending in ("onnx", "pth", "pt2", "prototxt"):
        result = run("convert", small, "-o", tmp_path / f"net.{ending}")
        assert (result.code, result.out) == (0, ""), result.err
        assert ("random ones" in result.err) is (ending != "prototxt")
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    module = protogen.load(small).to_torch(seed=3)
    module.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True))
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(x), expected, rtol=1e-4, atol=1e-5)
    assert protogen.load(tmp_path / "net.prototxt").definition == protogen.load(small).definition


def test_convert_with_weights(run, small: Path, tmp_path: Path) -> None:
    import onnxruntime

    net = protogen.load(small).fill(seed=4)
    net.save_caffemodel(tmp_path / "small.caffemodel")
    result = run("convert", small, tmp_path / "small.caffemodel", "-o", tmp_path / "net.onnx", "--dynamic-batch", "--opset", "13")
    assert (result.code, result.err) == (0, "")
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8), dtype=np.float32)
    (made,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"data": x})
    import torch

    np.testing.assert_allclose(made, net.to_torch()(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_convert_pt2_with_an_open_batch(run, small: Path, tmp_path: Path) -> None:
    import torch

    assert run("convert", small, "-o", tmp_path / "net.pt2", "--dynamic-batch").code == 0
    assert torch.export.load(tmp_path / "net.pt2").module()(torch.zeros(5, 3, 8, 8)).shape == (5, 5)


def test_a_batch_that_cannot_be_open(run, small: Path, tmp_path: Path) -> None:
    small.write_text(
        SMALL + 'layer { name: "merge" type: "Reshape" bottom: "fc" top: "merge" reshape_param { shape { dim: 5 } } }'
    )
    for ending in ("onnx", "pt2"):
        result = run("convert", small, "-o", tmp_path / f"net.{ending}", "--dynamic-batch")
        assert result.code == 1
        assert "the batch cannot be dynamic (--dynamic-batch)" in result.err
        assert not (tmp_path / f"net.{ending}").exists()


def test_devices_are_written_to_not_replaced(run, small: Path) -> None:
    for ending in ("onnx", "pt2", "pth", "prototxt"):
        assert run("convert", small, "-o", os.devnull, "--to", ending).code == 0
        assert Path(os.devnull).is_char_device()


def test_fold_or_not(run, small: Path, tmp_path: Path) -> None:
    import onnx

    for flag, kinds in (("--fold", {"Conv", "Relu", "Flatten", "Gemm"}), ("--no-fold", None)):
        assert run("convert", small, "-o", tmp_path / "net.onnx", flag).code == 0
        made = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
        assert (made == kinds) is (flag == "--fold")
    assert run("convert", small, "-o", tmp_path / "folded.prototxt", "--fold").code == 0
    assert "BatchNorm" not in (tmp_path / "folded.prototxt").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "net.tflite"], 2, "no format for the ending '.tflite'"),
        (["-o", "net"], 2, "no format for the ending ''"),
        (["-o", "-"], 2, "--to"),
        ([], 2, "-o"),
        (["-o", "net.onnx", "--opset", "5"], 2, "--opset"),
        (["-o", "missing/net.onnx"], 1, "missing/net.onnx: cannot write"),
        (["none.caffemodel", "-o", "net.onnx"], 1, "none.caffemodel"),
        (["small.prototxt", "-o", "net.onnx"], 1, "small.prototxt"),
        (["-o", "net.onnx", "--phase", "both"], 2, "--phase"),
    ],
)
def test_convert_with_bad_requests(
    run, small: Path, arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("convert", "small.prototxt", *arguments)
    assert result.code == code
    assert message in result.err
    assert result.err.splitlines()[-1].startswith("Error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["small.prototxt"]


def test_what_stood_there_survives_a_failed_conversion(run, small: Path, tmp_path: Path) -> None:
    small.write_text(BROKEN)
    target = tmp_path / "net.onnx"
    target.write_bytes(b"precious")
    assert run("convert", small, "-o", target, "--strict").code == 1
    assert target.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "small.prototxt"]


# ---- verify


def test_verify_agrees(run, small: Path) -> None:
    result = run("verify", small)
    assert (result.code, result.err) == (0, "")
    assert "all 4 comparisons agree within 1e-05" in result.out
    assert [line.split()[3] for line in result.out.splitlines() if line.startswith(" onnxruntime / torch")] == ["fc"], (
        "outputs only"
    )
    assert "conv" in run("verify", small, "--all").out


def test_verify_names_the_first_difference(run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from protogen import verification

    right = verification.BACKENDS["onnxruntime"]

    def shifted(*args, **options):  # type: ignore[no-untyped-def]
        return {name: blob + 1 for name, blob in right(*args, **options).items()}

    monkeypatch.setitem(verification.BACKENDS, "onnxruntime", shifted)
    result = run("verify", small)
    assert result.code == 1
    assert result.out.splitlines()[-1].startswith("onnxruntime / torch: blob 'conv' (1, 4, 6, 6) is the first that differs")
    assert "differs" in result.out
    assert run("verify", small, "--tolerance", "1000").code == 0


def test_verify_with_values(run, small: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3, 8, 8)))
    result = run("verify", small, "--input", f"data={tmp_path / 'x.npy'}", "--all")
    assert result.code == 0, result.err
    assert "2x4x6x6" in result.out, "the array tells the shape"
    (tmp_path / "bad.npy").write_bytes(b"no array")
    result = run("verify", small, "--input", f"data={tmp_path / 'bad.npy'}")
    assert (result.code, "not a readable .npy file" in result.err) == (1, True)


def test_verify_half_precision(run, small: Path) -> None:
    result = run("verify", small, "--dtype", "bfloat16")
    assert result.code == 0, result.err
    assert "torch bfloat16 / torch" in result.out


def test_verify_on_a_device_that_is_not_there(run, small: Path) -> None:
    result = run("verify", small, "--device", "gpu7")
    assert (result.code, "unknown device 'gpu7'" in result.err) == (1, True)


# ---- errors


@pytest.mark.parametrize("command", ["summary", "convert", "verify"])
def test_a_mistake_is_one_line_without_a_traceback(run, small: Path, tmp_path: Path, command: str) -> None:
    small.write_text(SMALL.replace('bottom: "data"', 'bottom: "dota"'))
    arguments = [command, small, *(["-o", tmp_path / "net.onnx"] if command == "convert" else [])]
    result = run(*arguments)
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith(f"Error: {small}:3:")
    assert "did you mean 'data'" in line


def test_debug_shows_the_traceback(small: Path) -> None:
    small.write_text("layer {")
    for arguments in (["--debug", "summary", small], ["summary", small]):
        result = process(*arguments)
        assert result.returncode == 1
        assert (b"Traceback" in result.stderr) is ("--debug" in arguments)


def test_unknown_fields(run, small: Path) -> None:
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


@pytest.mark.parametrize("path", ["missing.prototxt", "."])
def test_files_that_cannot_be_read(run, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("summary", path)
    assert result.code in (1, 2)
    assert len(result.err.splitlines()) == 1
    assert path in result.err


def test_an_unknown_command(run) -> None:
    result = run("sumary", "x")
    assert result.code == 2
    assert "sumary" in result.err


# ---- pipes


def test_stdin_and_stdout(small: Path) -> None:
    made = process("peleenet", "--size", "64", "--classes", "5")
    assert made.returncode == 0
    summary = process("summary", "-", stdin=made.stdout)
    assert summary.returncode == 0
    assert summary.stdout.decode().splitlines()[-1].startswith("482 layers")
    converted = process("convert", "-", "-o", "-", "--to", "onnx", stdin=SMALL.encode())
    import onnx

    onnx.checker.check_model(onnx.load_from_string(converted.stdout), full_check=True)
    text = process("convert", "-", "-o", "-", "--to", "prototxt", stdin=SMALL.encode())
    assert protogen.loads(text.stdout.decode()).definition == protogen.loads(SMALL).definition


def test_an_error_on_stdin_names_it() -> None:
    result = process("summary", "-", stdin=b"layer {")
    assert result.returncode == 1
    assert result.stderr.startswith(b"Error: <stdin>:1:")


def test_a_reader_that_has_seen_enough() -> None:
    """`protogen peleenet | head -1` ends quietly."""
    command = f"{sys.executable} -m protogen peleenet | head -n 1"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=60)
    assert result.stderr == b""
    assert result.stdout == b'name: "PeleeNet"\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["peleenet"], ["peleenet", "-o", "/dev/full"]])
def test_a_full_disk(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run([sys.executable, "-m", "protogen", *arguments], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    assert b"space" in result.stderr


# ---- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run, shell: str) -> None:
    result = run("completion", shell)
    assert result.code == 0
    assert "_PROTOGEN_COMPLETE" in result.out


def test_completion_completes() -> None:
    environment = {**os.environ, "_PROTOGEN_COMPLETE": "bash_complete", "COMP_WORDS": "protogen su", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'protogen'; from protogen.cli import main; main()"]
    result = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert b"summary" in result.stdout


# ---- what is not imported

HEAVY = {"torch", "onnx", "onnxruntime", "h5py", "safetensors"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["peleenet", "-o", os.devnull],
        ["peleenet", "--help"],
        ["build", "lenet", "--phase", "train"],
        ["models"],
        ["summary", "{net}"],
        ["summary", "--json", "{net}"],
        ["convert", "{net}", "-o", "{out}.prototxt"],
        ["--version"],
    ],
)
def test_neither_torch_nor_onnx_is_imported(arguments: list[str], small: Path, tmp_path: Path) -> None:
    assert not imported_by([argument.format(net=small, out=tmp_path / "out") for argument in arguments]) & HEAVY


def test_peleenet_does_not_even_import_numpy_or_rich() -> None:
    assert not imported_by(["peleenet", "-o", os.devnull]) & (HEAVY | {"numpy", "rich", "importlib.metadata"})


def test_onnx_conversion_does_without_torch(small: Path, tmp_path: Path) -> None:
    loaded = imported_by(["convert", str(small), "-o", str(tmp_path / "net.onnx")])
    assert "torch" not in loaded
    assert "onnx" in loaded


def imported_by(arguments: list[str]) -> set[str]:
    """Modules that a run of the command line has loaded at its end."""
    program = (
        "import sys\n"
        "from protogen.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(result.stderr.split("\n"))


def test_import_protogen_is_light() -> None:
    program = "import sys, protogen; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert not set(result.stdout.split()) & (HEAVY | {"numpy", "google.protobuf", "jinja2", "click", "rich"})


def test_the_script_is_the_module(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("protogen")
    if not script.exists():
        pytest.skip("protogen is not installed in this environment")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.stdout == f"protogen {protogen.__version__}\n"


def test_verify_takes_further_backends(run, small: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    result = run("verify", small, "--backend", "opencv")
    assert (result.code, "opencv / torch" in result.out) == (0, True), result.err
    assert "did you mean 'opencv'" in run("verify", small, "--backend", "openvc").err
