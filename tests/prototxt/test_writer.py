"""Writing through templates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protogen.errors import ProtogenError
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_solver
from protogen.prototxt.writer import write

NET = """name: "net"

layer {
  name: "data"
  type: "Input"
  top: "data"
  input_param {
    shape {
      dim: 1
      dim: 3
    }
  }
}

layer {
  name: "relu"
  type: "ReLU"
  bottom: "data"
  top: "data"
  param {
    lr_mult: 0
  }
  include {
    phase: TEST
  }
  relu_param {
    negative_slope: 0.1
  }
}
"""


def test_layout() -> None:
    assert write(parse(NET)).split() == NET.split()
    assert [line for line in write(parse(NET)).splitlines() if line] == [line for line in NET.splitlines() if line]
    assert write(parse(NET)).endswith("}\n")


def test_old_dialects_are_written_as_they_are() -> None:
    old = parse('input: "x" input_dim: 1 layers { name: "r" type: RELU bottom: "x" top: "x" blobs_lr: 1 }')
    assert parse(write(old)) == old


def test_solver() -> None:
    solver = read_solver('net: "n.prototxt" base_lr: 0.01 solver_mode: GPU weight_decay: 4e-5')
    assert sorted(write(solver).split("\n")) == sorted(
        ['net: "n.prototxt"', "base_lr: 0.01", "weight_decay: 4e-5", "solver_mode: GPU", ""]
    )


@pytest.mark.parametrize("name", ["{{ 1 + 1 }}", "{% raw %}", "a\nb", '"', "\\", "</script>", "../../x"])
def test_names_are_data_never_templates(name: str) -> None:
    net = Message.of("NetParameter", name=name, layer={"name": name, "type": name, "top": name})
    assert parse(write(net)) == net


def test_own_templates_go_before_the_built_in_ones(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "ReLU.prototxt.j2").write_text(
        '# a ReLU\nlayer { name: {{ layer.name | quote }} type: "ReLU" bottom: {{ layer.bottom[0] | quote }} top: "data" }\n'
    )
    text = write(parse(NET), templates=tmp_path)
    assert '# a ReLU\nlayer { name: "relu" type: "ReLU" bottom: "data" top: "data" }' in text
    assert '  type: "Input"\n' in text

    (tmp_path / "net.prototxt.j2").write_text("# {{ net.name }}: {{ net.layer | length }} layers\n")
    assert write(parse(NET), templates=_renamed(tmp_path)) == "# net: 2 layers\n"


def _renamed(folder: Path) -> Path:
    return folder.rename(folder.with_name("changed"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ net.nmae }}", "'nmae'"),
        ("{% for %}", "Expected an expression"),
        ("{{ net.name / 2 }}", "unsupported operand"),
        ("{% include 'none.j2' %}", "template none.j2 not found"),
        ("{% include '../secret' %}", "template ../secret not found"),
        ("{{ net | fields(skip=3) }}", "not iterable"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "recursion"),
        ("{{ range(1000000000) | list }}", "Range too big"),
    ],
)
def test_faults_of_a_template_are_the_users(tmp_path: Path, text: str, message: str) -> None:
    """One line that names file and line, whether the fault shows when the template is read or when it runs."""
    path = tmp_path / "net.prototxt.j2"
    path.write_text("# mine\n\n" + text)
    with pytest.raises(ProtogenError, match=rf"^{re.escape(str(path))}:3: the template fails: .*{re.escape(message)}") as error:
        write(parse(NET), templates=tmp_path)
    assert len(error.value.lines) == 1


def test_the_innermost_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    path = tmp_path / "layers" / "ReLU.prototxt.j2"
    path.write_text("layer {\n{{ layer.nmae }}\n}")
    with pytest.raises(ProtogenError, match=rf"^{re.escape(str(path))}:2: .*'nmae'"):
        write(parse(NET), templates=tmp_path)


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt.j2").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProtogenError, match=r"net\.prototxt\.j2: the template fails: .*utf-8"):
        write(parse(NET), templates=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{{ cycler.__init__.__globals__.os.popen('touch pwned').read() }}",
        "{{ net.fields.__globals__ }}",
        "{{ net.__class__.__mro__ }}",
        "{{ net | attr('__class__') }}",
        "{{ ''['__class__'].__mro__ }}",
        "{{ '{0.__class__}'.format(net) }}",
        "{% set f = '{0.__init__.__globals__}'.format %}{{ f(net) }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ self.__init__ }}",
        "{% for f in [net.__reduce__] %}{{ f() }}{% endfor %}",
    ],
)
def test_templates_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "net.prototxt.j2").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProtogenError, match=r"net\.prototxt\.j2:1: the template fails: access to attribute .* is unsafe"):
        write(parse(NET), templates=folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "change",
    ["net.set('name', 'x')", "net.layer.append(1)", "net.layer[0].remove('name')", "net.update({'name': 'x'})",
     "net.layer[1].store('name', 'x')", "net.append('layer', {})", "net.layer[0].top.clear()", "net.descriptor.fields.clear()"],
)  # fmt: skip
def test_templates_change_nothing(tmp_path: Path, change: str) -> None:
    (tmp_path / "net.prototxt.j2").write_text(f"{{{{ {change} }}}}")
    net = parse(NET)
    with pytest.raises(ProtogenError, match="is unsafe"):
        write(net, templates=tmp_path)
    assert net == parse(NET)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ProtogenError, match="no such template folder"):
        write(parse(NET), templates=tmp_path / "none")
