"""Every script of `examples/` runs, and does what its first lines say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT

EXAMPLES = sorted(ROOT.glob("examples/*.py"))


def run(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints, run in an empty folder."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error::UserWarning:protogen", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [path.stem for path in EXAMPLES])
def test_every_example_is_tested(name: str) -> None:
    assert f"def test_{name}(" in Path(__file__).read_text(encoding="utf-8")


def test_custom_layer(tmp_path: Path) -> None:
    printed = run("custom_layer", tmp_path)
    assert "all 4 comparisons agree" in printed
    assert "hard_swish_param {\n    width: 4\n" in printed


def test_custom_block(tmp_path: Path) -> None:
    printed = run("custom_block", tmp_path)
    assert "[stage1/ghost2]" in printed
    assert "stage1/ghost2/cheap/bn" in printed


def test_peleenet_to_onnx(tmp_path: Path) -> None:
    assert "comparisons agree within 1e-05" in run("peleenet_to_onnx", tmp_path, "p.onnx")
    assert (tmp_path / "p.onnx").stat().st_size > 1 << 20


def test_train_peleenet(tmp_path: Path) -> None:
    import protogen

    printed = run("train_peleenet", tmp_path, "p.caffemodel")
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", printed)]
    assert losses[-1] < losses[0] / 2
    net = protogen.models.peleenet(size=32, classes=4)
    net.weights.load(tmp_path / "p.caffemodel")
    assert set(net.weights) == set(net.param_shapes)
