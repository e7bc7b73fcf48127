"""Text of files on its way to the terminal: whatever names a stranger's files hold, they cannot drive it or forge a line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import protogen
from protogen.cli import COMMANDS
from protogen.prototxt.format import quote
from tests.commands import Result, process, run_command

# Colour, a window's title, the one-byte form of ESC [, marks that turn writing round, ends of lines, NUL, rich's markup.
EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e\u2066\r\nError: forged\n\u2028\x7f\x00\x08[red]x[/red]"
FILE = EVIL.replace("\x00", "").replace("/", "|")
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

Run = Callable[..., Result]


def net(evil: str, more: str = "") -> str:
    """A net that works, all names hostile, and perhaps a layer more."""
    names = {name: quote(evil + name) for name in ("net", "data", "conv", "bn", "fc")}
    return f"""name: {names["net"]}
        layer {{ name: {names["data"]} type: "Input" top: {names["data"]}
                input_param {{ shape {{ dim: 1 dim: 2 dim: 6 dim: 6 }} }} }}
        layer {{ name: {names["conv"]} type: "Convolution" bottom: {names["data"]} top: {names["conv"]}
                convolution_param {{ num_output: 2 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: {names["bn"]} type: "BatchNorm" bottom: {names["conv"]} top: {names["bn"]} }}
        layer {{ name: {names["fc"]} type: "InnerProduct" bottom: {names["bn"]} top: {names["fc"]}
                inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}
        {more}"""


def odd(type: str, parameters: str = "", bottom: str = EVIL + "fc") -> str:
    return f"layer {{ name: {quote(EVIL)} type: {quote(type)} bottom: {quote(bottom)} top: {quote(EVIL)} {parameters} }}"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder; what libraries print past Python's streams counts, too."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        result = run_command(capfd, *arguments)
        for stream in (result.out, result.err):
            assert not UNSAFE.search(stream), repr(stream)
            assert not re.search("^Error: forged", stream, re.MULTILINE)
        return result

    return call


def files() -> None:
    """Good nets with weights, under hostile names."""
    Path(f"{FILE}.prototxt").write_text(net(EVIL))
    data = f"""layer {{ name: {quote(EVIL)} type: "Data" top: {quote(EVIL + "data")} top: {quote(EVIL + "label")}
        transform_param {{ crop_size: 6 mean_file: {quote(EVIL)} }} data_param {{ batch_size: 2 }} }}"""
    loss = f"""layer {{ name: {quote(EVIL + "loss")} type: "SoftmaxWithLoss" bottom: {quote(EVIL + "fc")}
        bottom: {quote(EVIL + "label")} top: {quote(EVIL + "loss")} }}"""
    head, rest = net(EVIL, loss).split(f"layer {{ name: {quote(EVIL + 'conv')}")
    Path(f"{FILE}train.prototxt").write_text(f"{head.split('layer')[0]} {data} layer {{ name: {quote(EVIL + 'conv')}{rest}")
    Path("other.prototxt").write_text(net(EVIL + "2", odd("ReLU", bottom=EVIL + "2fc")))
    np.save("x.npy", np.ones((1, 2, 6, 6), np.float32))
    good = protogen.loads(net(EVIL)).fill()
    good.save_caffemodel(f"{FILE}.caffemodel")
    Path(f"{FILE}colours.prototxt").write_text(net(EVIL).replace("dim: 2 dim: 6", "dim: 3 dim: 6"))
    Image.new("RGB", (8, 8)).save(f"{FILE}.png")
    good.to_onnx(f"{FILE}.onnx", rename={f"{EVIL}data": f"{EVIL}renamed"})


GOOD = [
    (0, "summary", f"{FILE}.prototxt"),
    (0, "summary", f"{FILE}.prototxt", "--json"),
    (0, "convert", f"{FILE}.prototxt", "-o", f"{FILE}.onnx", "--dynamic-batch"),
    (0, "convert", f"{FILE}.prototxt", "-o", f"{FILE}.onnx", "--names", "layer"),
    (0, "convert", f"{FILE}.prototxt", "-o", f"{FILE}.pt2"),
    (0, "convert", f"{FILE}.prototxt", f"{FILE}.caffemodel", "-o", f"{FILE}.pth"),
    (0, "convert", f"{FILE}.prototxt", "-o", "-", "--to", "prototxt"),
    (0, "convert", ".", "-o", "out", "--to", "prototxt"),
    (0, "verify", f"{FILE}.prototxt", f"{FILE}.caffemodel", "--all", "--input", f"{EVIL}data=x.npy"),
    (1, "verify", f"{FILE}.prototxt", "--tolerance", "0"),
    (0, "verify", f"{FILE}.prototxt", f"{FILE}.caffemodel", "--all", "--against", f"{FILE}.onnx"),
    (0, "run", f"{FILE}colours.prototxt", f"{FILE}.png"),
    (0, "run", f"{FILE}colours.prototxt", f"{FILE}.png", "-o", "out.npz"),
    (1, "run", f"{FILE}.prototxt", f"{FILE}.caffemodel", f"{FILE}.png", "--labels", f"{FILE}.png"),
    (0, "fold", f"{FILE}.prototxt", f"{FILE}.caffemodel", "-o", f"{FILE}folded"),
    (
        0,
        "edit",
        f"{FILE}.prototxt",
        f"{FILE}.caffemodel",
        "--classes",
        "2",
        "--rename",
        f"{EVIL}fc={EVIL}new",
        "-o",
        f"{FILE}edited",
    ),
    (0, "deploy", f"{FILE}.prototxt"),
    (0, "deploy", f"{FILE}train.prototxt", "-o", f"{FILE}deploy.prototxt"),
    (0, "upgrade", f"{FILE}.prototxt"),
    (1, "diff", f"{FILE}.prototxt", "other.prototxt"),
    (1, "diff", f"{FILE}.prototxt", "other.prototxt", "--json"),
    (0, "peleenet", "--name", EVIL),
    (0, "build"),
    (0, "layers"),
    (0, "layers", "--markdown"),
    (0, "models"),
    (0, "completion", "bash"),
]


@pytest.mark.parametrize("arguments", GOOD, ids=[" ".join(case[1:2]) for case in GOOD])
def test_every_command(run: Run, arguments: tuple[int, str]) -> None:
    files()
    code, *words = arguments
    done, out, err = run(*words)
    assert done == code, err
    shows_names = FILE in " ".join(words) and not {"-o", "--json", "--labels"} & {*words}
    if shows_names:
        assert "red]x[/red]" in out, "names are shown, brackets as they are"


def test_every_command_is_tried() -> None:
    assert {case[1] for case in GOOD} == set(COMMANDS)


# what is in the net -> what the error says
BAD = {
    "unknown type": (net(EVIL, odd(EVIL)), "unknown layer type"),
    "two unknown types": (net(EVIL, odd(EVIL) + odd(EVIL + "2", bottom=EVIL)), "unknown layer type"),
    "unknown Python layer": (net(EVIL, odd("Python", f"python_param {{ module: {quote(EVIL)} layer: 'L' }}")), "Python ("),
    "no such bottom": (net(EVIL, odd("ReLU", bottom=EVIL + "none")), "no layer before it makes its bottom"),
    "a top made twice": (net(EVIL, odd("ReLU") + odd("ReLU", bottom=EVIL + "bn")), "is already made by layer"),
    "bad parameters": (net(EVIL, odd("Softmax", "softmax_param { axis: 9 }")), "axis 9"),
    "unknown filler": (
        net(EVIL, odd("Embed", f"embed_param {{ num_output: 1 input_dim: 1 weight_filler {{ type: {quote(EVIL)} }} }}")),
        "unknown filler type",
    ),
    "an escape outside of strings": (net(EVIL) + "\x1b[31m", "unexpected character"),
    "an override outside of strings": (net(EVIL) + "\u202e", "unexpected character"),
    "a string for a number": (net(EVIL, odd("Softmax", f"softmax_param {{ axis: {quote(EVIL)} }}")), "axis"),
    "no layers": (f"name: {quote(EVIL)}", "no layers"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("command", ["convert", "verify", "diff"])
def test_errors(run: Run, command: str, text: str, message: str) -> None:
    Path(f"{FILE}.prototxt").write_text(text)
    further = {"convert": ["-o", "net.onnx"], "verify": [], "diff": [f"{FILE}.prototxt"]}[command]
    done, out, err = run(command, f"{FILE}.prototxt", *further)
    if command == "diff" and done == 0:
        return  # of layers of unknown types, the text can be compared
    assert (done, out) == (2 if command == "diff" else 1, "")
    assert message in err[err.index("Error: ") :] or "unknown types" in text
    assert err.startswith(("Error: ", "Note: ", "Warning: "))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("summary", f"{EVIL.replace(chr(0), '')}missing"), 1),
        (("summary", EVIL), 1),
        (("summary", f"{FILE}.prototxt", EVIL), 1),
        (("summary", f"{FILE}.prototxt", f"{FILE}.caffemodel", EVIL), 2),
        (("summary", f"{FILE}.prototxt", f"--{EVIL}"), 2),
        (("summary", f"{FILE}.prototxt", "--input", f"{EVIL}=1,3"), 1),
        (("summary", f"{FILE}.prototxt", "--input", f"{EVIL}data={EVIL}"), 2),
        (("convert", f"{FILE}.prototxt", "-o", f"net.{FILE}"), 2),
        (("convert", f"{FILE}.prototxt", "-o", f"{FILE}/net.onnx"), 1),
        (("convert", f"{FILE}.prototxt", f"{FILE}.prototxt", "-o", "net.onnx"), 1),
        (("convert", f"{FILE}.prototxt", "x.npy", "-o", "net.onnx"), 1),
        (("convert", "other.prototxt", f"{FILE}.caffemodel", "-o", "net.onnx"), 1),
        (("convert", f"{FILE}.prototxt", "-o", "net.onnx", "--rename", f"{EVIL}={EVIL}"), 1),
        (("convert", f"{FILE}.prototxt", "-o", "net.onnx", "--dynamic-size"), 1),
        (("fold", f"{FILE}.prototxt", f"{FILE}.caffemodel", "-o", f"{FILE}.prototxt"), 2),
        (("verify", f"{FILE}.prototxt", "--backend", EVIL), 2),
        (("verify", f"{FILE}.prototxt", "--device", EVIL), 1),
        (("verify", f"{FILE}.prototxt", "--input", f"{EVIL}data={FILE}.npy"), 1),
        (("peleenet", "--templates", FILE), 1),
        (("build", EVIL), 2),
        (("build", "peleenet", "--preset", EVIL), 2),
        ((EVIL,), 2),
    ],
)
def test_usage_error(run: Run, words: tuple[str, ...], code: int) -> None:
    files()
    done, out, err = run(*words)
    assert (done, out) == (code, "")
    assert err.splitlines()[-1].startswith(("Error: ", "  layer "))


def test_warnings(run: Run) -> None:
    files()
    Path("more.prototxt").write_text(net(EVIL, odd("Scale", f"scale_param {{ extra_field: {quote(EVIL)} }}")))
    fewer = net(EVIL).replace('"InnerProduct"', '"Flatten"').replace("inner_product_param", "odd_param")
    Path("fewer.prototxt").write_text(fewer)
    done, _, err = run("convert", "more.prototxt", f"{FILE}.caffemodel", "-o", "net.onnx", "--no-strict")
    assert (done, "layers without weights" in err, "extra_field" in err) == (0, True, True)
    done, _, err = run("convert", "fewer.prototxt", f"{FILE}.caffemodel", "-o", "net.onnx", "--no-strict")
    assert (done, "weights of layers that the net does not have" in err) == (0, True)
    assert all(line.startswith("Warning: ") for line in err.splitlines())


def test_a_fault_of_our_own(run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The traceback of an exception that nobody foresaw."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    run("models")  # installs the hook
    error = RuntimeError(EVIL)
    sys.excepthook(RuntimeError, error, None)
    shown = capfd.readouterr().err
    assert shown.startswith("RuntimeError: \\x1b[31mred\\x1b]0;title\\x07\\x9b2J\\u202e")
    assert not UNSAFE.search(shown)


# ---- terminals


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_terminal_lacks(tmp_path: Path, encoding: str) -> None:
    """They are escaped in tables as elsewhere, and columns stay in line; prototxt on stdout is UTF-8 in any case."""
    path, environment = tmp_path / "é名.prototxt", {**os.environ, "PYTHONIOENCODING": encoding}
    text = 'name: "né名"\nlayer { name: "dé名" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }'
    path.write_text(text + '\nlayer { name: "r\\377" type: "ReLU" bottom: "d" top: "r" }', "utf-8")
    shown = "dé名".encode(encoding, "backslashreplace")
    done = process("summary", path, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.splitlines()
    assert any(shown in line for line in lines)
    assert any(b"r\\udcff " in line for line in lines), "a byte that is no UTF-8"
    first, second = (line.decode(encoding) for line in lines if b" Input " in line or b" ReLU " in line)
    width = 1 if encoding == "utf-8" else 0  # a Chinese character takes two columns
    assert first.index("Input") + width == second.index("ReLU")
    done = process("diff", path, path, "--input", "x名=1", env=environment)
    assert done.returncode == 2
    assert "no input 'x名'".encode(encoding, "backslashreplace") in done.stderr
    done = process("upgrade", path, env=environment)
    assert done.stdout.decode("utf-8").startswith('name: "né名"\n')


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
@pytest.mark.parametrize("command", ["summary", "verify"])
def test_tables_on_a_terminal(command: str, tmp_path: Path) -> None:
    import pty

    path = tmp_path / "net.prototxt"
    path.write_text(net(EVIL))
    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-m", "protogen", command, str(path)], stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert child.wait(60) == 0
    text = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", shown.decode().replace("\x1b[31m", "\x00").replace("\r\n", "\n"))
    assert not UNSAFE.search(text.replace("\r", ""))
    assert "\\x1b[31mred" in text


def test_only_one_file_prints() -> None:
    """A command that printed by itself could forget to make names printable."""
    folder = Path(protogen.__file__).parent / "cli"
    prints = re.compile(r"\becho\(|\bprint\(|std(out|err)\.(buffer\.)?write")
    assert [path.name for path in folder.glob("*.py") if prints.search(path.read_text())] == ["output.py"]
