"""Bad input through the API and through `convert`: one clear error or a correct result, and never half a file."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen import ProtogenError
from tests.commands import ROOT, process, run_command

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'


def layer(type: str, parameters: str = "", name: str = "odd") -> str:
    return f'layer {{ name: "{name}" type: "{type}" bottom: "data" top: "{name}" {parameters} }}'


def conv(fields: str, bottom: str = "data", top: str = "conv", name: str = "conv") -> str:
    return f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top}" convolution_param {{ {fields} }} }}\n'


GOOD = DATA + conv("num_output: 4 kernel_size: 3")

# text (or bytes) -> what the error says
BAD: dict[str, tuple[str | bytes, str]] = {
    "empty file": ("", "is empty; a prototxt with at least one layer is needed"),
    "only spaces and comments": ("  \n# nothing here\n", "no layers"),
    "no layers": ('name: "net"', "no layers"),
    "binary garbage": (bytes(range(256)) * 40, "bad.prototxt: this is a binary file"),
    "zeros": (b"\0" * 1000, "bad.prototxt: this is a binary file"),
    "a caffemodel in its place": (b"\n\x05small\xa2\x06\x10\n\x04conv\x12\x0bConvolution", "bad.prototxt"),
    "UTF-16 of half a character": (b"\xff\xfel\0a", "bad.prototxt"),
    "truncated in a message": (GOOD[:-20], "bad.prototxt:2:"),
    "truncated in a string": (GOOD[: GOOD.index("Convolution") + 4], "bad.prototxt:2:"),
    "truncated in a name": (GOOD[:5], "bad.prototxt:1:"),
    "a brace too many": (GOOD + "}", "bad.prototxt:3:1"),
    "unknown field of a layer's parameters": (
        DATA + conv("num_output: 4 kernal_size: 3"),
        "unknown field 'kernal_size' in ConvolutionParameter; did you mean 'kernel_size'",
    ),
    "unknown field of a net": (
        'nmae: "x"\n' + GOOD,
        "bad.prototxt:1:1: unknown field 'nmae' in NetParameter; did you mean 'name'",
    ),
    "wrong type": (DATA + conv('num_output: "four"'), "bad.prototxt:2:"),
    "fraction for a whole number": (DATA + conv("num_output: 4.5"), "4.5"),
    "unknown enum": (DATA + layer("Pooling", "pooling_param { pool: MAXX kernel_size: 2 }"), "did you mean 'MAX'"),
    "unknown layer type": (DATA + layer("Convolutoin"), "'Convolutoin'; did you mean 'Convolution'"),
    "a layer without a type": (DATA + 'layer { name: "c" bottom: "data" top: "c" }', "has no type"),
    "a bottom nobody makes": (
        DATA + conv("num_output: 4 kernel_size: 3", bottom="dota"),
        "no layer before it makes its bottom 'dota'; did you mean 'data'",
    ),
    "a cycle": (
        DATA + conv("num_output: 3 kernel_size: 1", "b", "a", "one") + conv("num_output: 3 kernel_size: 1", "a", "b", "two"),
        "'b' is only made later, by layer 'two'",
    ),
    "a layer that reads itself": (DATA + conv("num_output: 3 kernel_size: 1", "a", "a"), "bottom 'a'"),
    "two layers of one top": (
        GOOD + conv("num_output: 4 kernel_size: 1", name="other"),
        "its top 'conv' is already made by layer 'conv'",
    ),
    "negative num_output": (DATA + conv("num_output: -4 kernel_size: 3"), "-4"),
    "num_output 0": (DATA + conv("num_output: 0 kernel_size: 3"), "layer 'conv'"),
    "no kernel size": (DATA + conv("num_output: 4"), "layer 'conv'"),
    "kernel size 0": (DATA + conv("num_output: 4 kernel_size: 0"), "layer 'conv'"),
    "stride 0": (DATA + conv("num_output: 4 kernel_size: 3 stride: 0"), "layer 'conv'"),
    "group 0": (DATA + conv("num_output: 4 kernel_size: 3 group: 0"), "layer 'conv'"),
    "a kernel larger than the image": (DATA + conv("num_output: 4 kernel_size: 99"), "layer 'conv'"),
    "num_output beyond any memory": (DATA + conv("num_output: 2147483647 kernel_size: 3"), "2^31-1"),
    "num_output beyond 32 bits": (DATA + conv("num_output: 99999999999 kernel_size: 3"), "99999999999"),
    "a kernel beyond any memory": (DATA + conv("num_output: 64 kernel_size: 65535 pad: 65535"), "2^31-1"),
    "padding beyond any memory": (DATA + conv("num_output: 64 kernel_size: 3 pad: 2147483647"), "2^31-1"),
    "negative input": (GOOD.replace("dim: 1 ", "dim: -1 "), "negative"),
    "huge input": (GOOD.replace("dim: 8", "dim: 1000000"), "2^31-1"),
    "an axis out of range": (DATA + layer("Softmax", "softmax_param { axis: 9 }"), "axis 9"),
    "shapes that do not fit": (
        GOOD + 'layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "conv" top: "sum" }',
        "layer 'sum' (Eltwise)",
    ),
    "an unknown filler": (
        DATA + conv('num_output: 4 kernel_size: 3 weight_filler { type: "xavir" }'),
        "unknown filler type 'xavir'; did you mean 'xavier'",
    ),
    "a hundred thousand braces": ("layer { a " + "{ a " * 100_000, "bad.prototxt:1:"),
    "a solver": ('net: "x.prototxt" base_lr: 0.1', "this is a solver, not a net"),
    "a Python layer": (
        DATA + layer("Python", 'python_param { module: "os" layer: "system" param_str: "touch x" }'),
        "Python (os.system)",
    ),
}


@pytest.fixture(autouse=True)
def quiet() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=BAD.values(), ids=list(BAD))
def bad(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Writes a bad file into an empty working folder; gives what the error should say."""
    text, message = request.param
    monkeypatch.chdir(tmp_path)
    Path("bad.prototxt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(message)


def test_load_raises_one_clear_error(bad: str) -> None:
    with pytest.raises(ProtogenError) as error:
        protogen.load("bad.prototxt").fill().to_torch()
    assert bad in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("output", ["net.onnx", "net.pth", "net.prototxt"])
def test_convert_ends_with_one_line_and_no_file(bad: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_command(capsys, "convert", "bad.prototxt", "-o", output)
    kept = [path.name for path in Path().iterdir()]
    if output == "net.prototxt" and code == 0:  # text to text needs neither shapes nor known types
        assert sorted(kept) == ["bad.prototxt", "net.prototxt"]
        assert protogen.load("net.prototxt").definition == protogen.load("bad.prototxt").definition
        return
    assert code in (1, 2)
    assert kept == ["bad.prototxt"]
    assert out == ""
    assert err.splitlines()[-1].startswith("Error: ")
    assert bad in err
    assert "Traceback" not in err


LIMIT = 3 << 30  # bytes of address space: enough for Python and ONNX, far from what 2^31 outputs would take


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits on Windows")
@pytest.mark.parametrize(
    "text",
    [
        DATA + conv("num_output: 2147483647 kernel_size: 3"),
        DATA + conv("num_output: 2147483647 kernel_size: 1 bias_term: false"),
        DATA
        + 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2147483647 } }',
        DATA.replace("dim: 8", "dim: 2000000000"),
        'layer { name: "e" type: "DummyData" top: "e" dummy_data_param { shape { dim: 2147483647 dim: 2147483647 } } }',
        'input: "data" input_dim: 2147483647 input_dim: 2147483647 input_dim: 3 input_dim: 3',
        DATA + layer("Tile", "tile_param { tiles: 2147483647 }"),
        "layer { " * 200_000,
        "#" * 50_000_000,
    ],
    ids=[
        "convolution",
        "convolution without bias",
        "inner product",
        "input",
        "data",
        "old input",
        "tile",
        "nesting",
        "one long comment",
    ],
)
@pytest.mark.parametrize("command", ["summary", "convert"])
def test_absurd_sizes_take_no_memory(text: str, command: str, tmp_path: Path) -> None:
    import resource

    path = tmp_path / "bad.prototxt"
    path.write_text(text)
    arguments = [command, str(path), *(["-o", str(tmp_path / "net.onnx")] if command == "convert" else [])]
    result = process(
        *arguments,
        text=True,
        env={"OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
    )
    lines = result.stderr.splitlines()
    if result.returncode == 0:  # a summary goes on, without the layer
        assert command == "summary"
        assert "?" in result.stdout
        assert any("layer" in line for line in lines)
        lines.append("Error: ")
    *warned, error = lines
    assert error.startswith("Error: ")
    assert all(line.startswith("Warning: ") for line in warned)
    assert "MemoryError" not in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["bad.prototxt"]


# ---- names are data

NAMES = [
    'quo"ted',
    "it's",
    "two\nlines",
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "{# gone #}",
    "__import__('os').system('touch pwned')",
    "'''\nimport os\n'''",
    "<script>alert(1)</script>",
    "back\\slash",
    "../../etc/passwd",
    "tab\tand\x1b[31mescape",
    "naïve 名前",
    " ",
    "a.b",
    "-o",
    "%s%n",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_survives_every_form(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    monkeypatch.chdir(tmp_path)
    b = protogen.NetBuilder(name)
    b.conv(b.input(f"{name} in", (1, 2, 4, 4)), 2, 1, name=name)
    text = b.build().to_prototxt()
    net = protogen.loads(text)
    assert (net.name, net.inputs, net.outputs) == (name, [f"{name} in"], [name])
    assert net.to_prototxt() == text
    assert "7 * 7" in text or "7" not in name
    report = protogen.verify(net)
    assert report.ok
    assert {row.blob for row in report.rows} == {name}
    model = net.to_onnx()
    assert [value.name for value in model.graph.output] == [name]
    onnx.checker.check_model(model, full_check=True)
    net.fill().save_caffemodel("net.caffemodel")
    np.testing.assert_array_equal(protogen.loads(text, "net.caffemodel").weights[name][0], net.weights[name][0])
    assert str(net.summary())
    assert [path.name for path in tmp_path.iterdir()] == ["net.caffemodel"]


@pytest.mark.parametrize("name", NAMES)
def test_errors_about_any_name_stay_on_one_line(name: str) -> None:
    b = protogen.NetBuilder()
    b.input("data", (1, 2, 4, 4))
    with pytest.raises(ProtogenError) as error:
        b.relu(name)
    assert len(str(error.value).splitlines()) == 1
    assert "\x1b" not in str(error.value)


def test_a_python_layer_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("open('pwned', 'w').close()\nclass Layer: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    net = protogen.loads(DATA + layer("Python", 'python_param { module: "evil" layer: "Layer" param_str: "{}" }'))
    assert net.summary()
    with pytest.raises(ProtogenError, match=r"evil\.Layer"):
        net.to_torch()
    assert not Path("pwned").exists()
    assert "evil" not in sys.modules


# ---- weights


@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "prototxt"])
def test_damaged_weights(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = protogen.loads(GOOD).fill()
    path, deploy = tmp_path / "net.caffemodel", tmp_path / "net.prototxt"
    deploy.write_text(GOOD)
    net.save_caffemodel(path)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "garbage": bytes(range(256)), "truncated": whole[: len(whole) // 2], "prototxt": GOOD.encode()}[damage]
    )
    with pytest.raises(ProtogenError, match=r"net\.caffemodel"):
        protogen.load(deploy, path)
    result = run_command(capsys, "convert", deploy, path, "-o", tmp_path / "net.onnx")
    assert (result.code, len(result.err.splitlines())) == (1, 1)
    assert not (tmp_path / "net.onnx").exists()


def test_weights_of_another_net(tmp_path: Path) -> None:
    protogen.loads(GOOD).fill().save_caffemodel(tmp_path / "net.caffemodel")
    with pytest.raises(ProtogenError, match=r"layer 'conv'.*\(4, 3, 5, 5\).*\(4, 3, 3, 3\)"):
        protogen.loads(GOOD.replace("kernel_size: 3", "kernel_size: 5"), tmp_path / "net.caffemodel")
    with pytest.raises(ProtogenError, match="does it belong to another net"):
        protogen.loads(GOOD.replace('name: "conv"', 'name: "other"'), tmp_path / "net.caffemodel")
