"""What every backend owes: values of the net's blobs, in the net's shapes."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.backends import BACKENDS
from protogen.backends.setting import Setting


@pytest.mark.parametrize("outputs_only", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
def test_shapes_are_the_nets(name: str, outputs_only: bool) -> None:
    """OpenCV 4, for one, shows vectors and scalars as matrices."""
    if name == "opencv":
        pytest.importorskip("cv2", reason="OpenCV is not installed")
    net = protogen.loads("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "sum" type: "Reduction" bottom: "x" top: "sum" reduction_param { axis: 1 } }""")
    feed = {"x": np.ones((2, 3, 4, 4), np.float32)}
    blobs = dict(BACKENDS[name](net.graph(), feed, Setting(outputs_only=outputs_only)))
    assert blobs["sum"].shape == (2,)
    assert (blobs["sum"] == 48).all()
