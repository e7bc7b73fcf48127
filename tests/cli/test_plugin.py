"""--plugin: layer types and models of a user's own file, for every command, and files that fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protogen import plugins
from protogen.layers.registry import unregister
from tests.cli.nets import SMALL
from tests.commands import Run, process

PLUGIN = '''
import protogen

@protogen.register("PlugIn")
class PlugIn(protogen.LayerType):
    """Twice its bottom."""

    def setup(self):
        self.tops = [self.bottoms[0]]

    def forward(self, x, *, blobs, training):
        return 2 * x

    def onnx(self, graph, bottoms, blobs):
        return graph.add("Add", bottoms[0], bottoms[0])
'''
MODEL = '''
import protogen

@protogen.models.model(paper="Nobody", year=2031)
def plugged() -> protogen.Net:
    """A net of one layer."""
    b = protogen.NetBuilder("plugged")
    b.relu(b.input("data", (1, 1, 2, 2)))
    return b.build()
'''
NET = SMALL.replace('type: "ReLU"', 'type: "PlugIn"')


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    plugins._files.clear()
    unregister("PlugIn")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "net.prototxt").write_text(NET)
    return tmp_path


def test_commands_know_its_layers(run: Run, folder: Path) -> None:
    net, option = folder / "nets" / "net.prototxt", ("--plugin", folder / "mine.py")
    assert "?" in run("summary", net).out
    assert "?" not in run("summary", net, *option).out
    assert run("verify", net, *option).code == 0
    assert "of plugin_mine" in next(line for line in run("layers", *option).out.splitlines() if "PlugIn" in line)


def test_a_folder_is_converted_with_it_by_other_processes(folder: Path) -> None:
    result = process("convert", folder / "nets", "-o", folder / "out", "--plugin", folder / "mine.py", "-j", 1)
    assert result.returncode == 0, result.stdout
    assert (folder / "out" / "net.onnx").exists()


def test_its_models_are_built(folder: Path) -> None:
    (folder / "model.py").write_text(MODEL)
    assert b"plugged" in process("models", "--plugin", folder / "model.py").stdout
    assert b'name: "plugged"' in process("build", "--plugin", folder / "model.py", "plugged").stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import protogen\n1 / 0", r"mine.py:2: the plug-in fails: ZeroDivisionError"),
        ("def x(:", "mine.py:1: the plug-in fails: SyntaxError"),
        ("import protogen\n@protogen.register\nclass A(protogen.LayerType): pass", '@register("A")'),
        (None, "mine.py: no such file"),
    ],
)
def test_files_that_fail(run: Run, folder: Path, text: str | None, message: str) -> None:
    path = folder / "mine.py"
    path.unlink() if text is None else path.write_text(text)
    result = run("layers", "--plugin", path)
    assert (result.code, message in result.err, len(result.err.splitlines())) == (1, True, 1)
    assert "plugin_mine" not in sys.modules
