"""OpenCV's dnn module as a backend of `protogen.verify`, in a child process, so that a crash becomes an error."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError, install_hint
from .model_file import model_of, saved

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph
    from .setting import Blobs, Setting, Stream

MADE_FOR = 5
"""Major version of OpenCV that the ONNX forms are designed for; version 4 runs most nets but those with detection layers."""
# Without this, Python would import modules from the working folder, which may hold a stranger's cv2.py.
_PROGRAM = "import sys; sys.path[:] = filter(None, sys.path); from protogen.backends.opencv import _child; _child()"
_REFUSED = 3  # exit code of the child if OpenCV raised an error


def run_opencv(graph: Graph, feed: Blobs, setting: Setting) -> Stream:
    """Compute every blob, or only the outputs, with OpenCV on the CPU.

    Args:
        graph: the graph.
        feed: input values by blob.
        setting: its `onnx`, `outputs_only` and `made_at` apply.

    Yields:
        Blobs, in the net's shapes.

    Raises:
        ProtogenError: OpenCV is not installed, or it rejects the model or crashes (with OpenCV's message).
        ConversionError: the net cannot be converted with these options.
    """
    model = model_of(graph, feed, setting)
    with saved(model.model, setting.onnx.external_data) as path:
        values = run_model(path, model.feed, model.outputs)
    shapes = {value.name: value.shape for value in graph.blobs}
    for blob in model.blobs:
        yield blob, _shaped(values.pop(0), shapes[blob])


def run_model(path: str, feed: Blobs, outputs: list[str], seconds: float | None = None) -> list[np.ndarray]:
    """Run an ONNX file with OpenCV as a user would, and return the values of its outputs.

    Args:
        path: the file.
        feed: values by input name.
        outputs: names of the outputs.
        seconds: time limit, None for none.

    Raises:
        ProtogenError: OpenCV is not installed, cannot read or run the file, crashes, or takes too long.
    """
    import numpy as np

    if importlib.util.find_spec("cv2") is None:
        raise ProtogenError(f"backend 'opencv' needs OpenCV {MADE_FOR}: {install_hint('opencv')}")
    with TemporaryDirectory() as folder:
        arrays: dict[str, Any] = {f"_{i}": value for i, value in enumerate(feed.values())}
        np.savez(Path(folder, "feed.npz"), **arrays)
        request = json.dumps([os.fspath(path), folder, list(feed), outputs])
        _run_child(request, seconds)
        with np.load(Path(folder, "values.npz")) as values:
            return [values[f"_{i}"] for i in range(len(outputs))]


def _run_child(request: str, seconds: float | None) -> None:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8:backslashreplace"}
    command = [sys.executable, "-c", _PROGRAM]
    pipes: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "backslashreplace"}
    try:
        process = subprocess.run(command, input=request, timeout=seconds, env=environment, **pipes)
    except subprocess.TimeoutExpired:
        raise ProtogenError(f"OpenCV did not run this net's ONNX form within {seconds:g} s") from None
    if process.returncode == _REFUSED:
        raise ProtogenError(" ".join(process.stdout.split()))
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [""]
        raise ProtogenError(f"OpenCV crashed on this net's ONNX form (exit code {process.returncode}) {lines[-1]}".rstrip())


def _child() -> None:
    """Run in the child process: read the request from stdin; write values to a file, or OpenCV's error to stdout."""
    import cv2
    import numpy as np

    path, folder, inputs, outputs = json.load(sys.stdin)
    try:
        net = cv2.dnn.readNetFromONNX(path)
        with np.load(Path(folder, "feed.npz")) as feed:
            for i, name in enumerate(inputs):
                net.setInput(feed[f"_{i}"], name)
        values = list(net.forward(outputs))
    except cv2.error as error:
        print(_refusal(cv2.__version__, error))
        sys.exit(_REFUSED)
    np.savez(Path(folder, "values.npz"), **{f"_{i}": value for i, value in enumerate(values)})


def _refusal(version: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if int(version.partition(".")[0]) >= MADE_FOR:
        return f"OpenCV {version} cannot run this net's ONNX form: {text}"
    if "NonMaxSuppression" in text:
        return (
            f"OpenCV {version} reads no detections from ONNX models, as it lacks NonMaxSuppression: they need version {MADE_FOR} "
            f"({install_hint('opencv')})"
        )
    return f"OpenCV {version} cannot run this net's ONNX form, version {MADE_FOR} may ({install_hint('opencv')}): {text}"


def _shaped(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a value in its blob's shape: OpenCV 4 returns vectors and scalars as matrices."""
    return value.reshape(shape) if value.ndim != len(shape) and value.size == math.prod(shape) else value
