"""`protogen upgrade`: nets and solvers of older dialects in today's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import exit_code
from tests.oracle import LEGACY


@pytest.mark.parametrize("name", ["v0", "v1", "batchnorm_old"])
def test_upgrade(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("upgrade", LEGACY / f"{name}.prototxt", "-o", tmp_path / "new.prototxt") == 0
    assert exit_code("diff", tmp_path / "new.prototxt", LEGACY / f"{name}.upgraded.prototxt") == 0
    assert "layers {" not in (tmp_path / "new.prototxt").read_text()
    capsys.readouterr()
    assert exit_code("upgrade", tmp_path / "new.prototxt") == 0
    assert capsys.readouterr().out == (tmp_path / "new.prototxt").read_text()


def test_upgrade_of_solvers_and_unknown_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "solver.prototxt").write_text('net: "a.prototxt" base_lr: 0.1 solver_type: ADAM')
    assert exit_code("upgrade", tmp_path / "solver.prototxt") == 0
    assert 'type: "Adam"' in capsys.readouterr().out
    (tmp_path / "net.prototxt").write_text('layers { name: "r" type: RELU bottom: "x" top: "y" include { phase: TRAIN } }')
    assert exit_code("upgrade", tmp_path / "net.prototxt") == 0
    assert 'type: "ReLU"' in capsys.readouterr().out
