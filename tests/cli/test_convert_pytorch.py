"""`protogen convert` with weights that PyTorch's libraries published, whose names are not the layers' own."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.commands import Run
from tests.models.counterparts import randomize
from tests.models.torchvision_nets import torchvision_net


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    """The commands that the page shows: build, then convert published weights."""
    module = torchvision_net("mobilenet_v2", device="cpu")
    torch.save(randomize(module, torch.randn(2, 3, 64, 64)).state_dict(), tmp_path / "mobilenet_v2.pth")
    prototxt, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    assert run("build", "mobilenet_v2", "--preset", "torchvision", "--size", "64", "-o", prototxt) == (0, "", "")
    code, out, err = run("convert", prototxt, tmp_path / "mobilenet_v2.pth", "-o", weights)
    assert (code, out) == (0, "")
    assert "'features.0.0' is 'conv1', ..., 'classifier.1' is 'fc7'" in err
    assert weights.stat().st_size > 13e6
    assert (
        run(
            "build",
            "mobilenet_v2",
            "--size",
            "64",
            "-o",
            prototxt,
        )[0]
        == 0
    )
    code, _, err = run("convert", prototxt, tmp_path / "mobilenet_v2.pth", "-o", tmp_path / "other.caffemodel")
    assert code == 1
    assert "where the net has layer 'conv2_1/expand'" in err
    assert not (tmp_path / "other.caffemodel").exists()
