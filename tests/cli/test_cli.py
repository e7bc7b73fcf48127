"""The command line as a whole: help, one-line errors, pipes, and what it does not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import protogen
from protogen.cli import COMMANDS
from tests.cli.nets import SMALL
from tests.commands import Run, exit_code, fresh_python, modules_after, process


def test_help_lists_the_commands_with_examples(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for word in (*COMMANDS, "--version", "protogen convert deploy.prototxt"):
        assert word in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    for flag in ("--help", "-h"):
        result = run(command, flag)
        assert result.code == 0
        assert result.out.startswith(f"Usage: protogen {command}")
    assert result.out.count(f"protogen {command}") > 1, "help shows an example"


def test_version(run: Run) -> None:
    assert run("--version").out == f"protogen {protogen.__version__}\n"


def test_without_arguments_help_is_shown(run: Run) -> None:
    result = run()
    assert "Usage: protogen" in result.out + result.err


@pytest.mark.parametrize("command", ["summary", "convert", "verify"])
def test_a_mistake_is_one_line_without_a_traceback(run: Run, small: Path, tmp_path: Path, command: str) -> None:
    small.write_text(SMALL.replace('bottom: "data"', 'bottom: "dota"'))
    arguments = [command, small, *(["-o", tmp_path / "net.onnx"] if command == "convert" else [])]
    result = run(*arguments)
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith(f"Error: {small}:3:")
    assert "did you mean 'data'" in line


def test_debug_shows_the_traceback(small: Path) -> None:
    small.write_text("layer {")
    for arguments in (["--debug", "summary", small], ["summary", small, "--debug"], ["summary", small]):
        result = process(*arguments)
        assert result.returncode == 1
        assert (b"Traceback" in result.stderr) is ("--debug" in arguments)
    after = process("summary", "--", "--debug")  # a file of this name
    assert b"Traceback" not in after.stderr and b"--debug" in after.stderr


@pytest.mark.parametrize("path", ["missing.prototxt", "."])
def test_files_that_cannot_be_read(run: Run, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("summary", path)
    assert result.code in (1, 2)
    assert len(result.err.splitlines()) == 1
    assert path in result.err


def test_an_unknown_command(run: Run) -> None:
    result = run("sumary", "x")
    assert result.code == 2
    assert "sumary" in result.err


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
        ["deploy", "{net}", "-o", "{out}.prototxt"],
        ["edit", "{net}", "--rename", "fc=x", "-o", "{out}.prototxt"],
        ["--version"],
    ],
)
def test_neither_torch_nor_onnx_is_imported(arguments: list[str], small: Path, tmp_path: Path) -> None:
    assert not modules_after(*[argument.format(net=small, out=tmp_path / "out") for argument in arguments]) & HEAVY


def test_peleenet_does_not_even_import_numpy_or_rich() -> None:
    assert not modules_after("peleenet", "-o", os.devnull) & (HEAVY | {"numpy", "rich", "importlib.metadata"})


def test_onnx_conversion_does_without_torch(small: Path, tmp_path: Path) -> None:
    loaded = modules_after("convert", small, "-o", tmp_path / "net.onnx")
    assert "torch" not in loaded
    assert "onnx" in loaded


def test_import_protogen_is_light() -> None:
    loaded = set(fresh_python("import sys, protogen; print(*sys.modules)").split())
    assert not loaded & (HEAVY | {"numpy", "google.protobuf", "jinja2", "click", "rich"})


def test_the_script_is_the_module(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("protogen")
    if not script.exists():
        pytest.skip("protogen is not installed in this environment")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.stdout == f"protogen {protogen.__version__}\n"


def test_only_the_used_command_is_imported() -> None:
    code = (
        "import sys, protogen.cli\n"
        "try: protogen.cli.main(['models'])\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('protogen.cli.')))\n"
        "print([name for name in ('torch', 'onnx', 'numpy', 'h5py') if name in sys.modules])"
    )
    lines = fresh_python(code).splitlines()
    assert lines[-2:] == ["['protogen.cli.models', 'protogen.cli.output', 'protogen.cli.plugin']", "[]"]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from protogen.cli import COMMANDS

    assert exit_code("--help") == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in listed
        assert exit_code(name, "--help") == 0


def test_a_build_imports_that_model_and_nothing_heavy(tmp_path: Path) -> None:
    loaded = modules_after("build", "lenet", "--phase", "train", "-o", tmp_path / "net.prototxt")
    assert "protogen.models.lenet" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "numpy", "rich", "importlib.metadata", "protogen.models.peleenet"}
