"""Engines that run a net, by name: functions of a graph, its input values and a `Setting` that yield blobs as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .onnxruntime import run_onnxruntime
from .opencv import run_opencv
from .torch import run_torch

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .setting import Blobs, Setting, Stream

BACKENDS: dict[str, Callable[[Graph, Blobs, Setting], Stream]] = {
    "torch": run_torch,
    "onnxruntime": run_onnxruntime,
    "opencv": run_opencv,
}
OF_ONNX = ("onnxruntime", "opencv")
"""Backends that run the net's ONNX model."""
ROUNDING = {"torch": 1, "onnxruntime": 1, "opencv": 6}
"""How far from the exact result an engine may be, as a multiple of what simulated rounding does to a blob (see `noise.py`).

Measured: engines that add products directly are within 0.3; OpenCV 4, which computes 3x3 convolutions by Winograd's transforms,
within 3.3.
"""
