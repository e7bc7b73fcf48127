"""Writing through templates."""

from __future__ import annotations

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


@pytest.mark.parametrize("text", ["{{ net.nmae }}", "{% for %}", "{{ net.name / 2 }}", "{% include 'none.j2' %}"])
def test_faults_of_a_template_are_the_users(tmp_path: Path, text: str) -> None:
    (tmp_path / "net.prototxt.j2").write_text(text)
    with pytest.raises(ProtogenError, match="template"):
        write(parse(NET), templates=tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ProtogenError, match="no such folder of templates"):
        write(parse(NET), templates=tmp_path / "none")
