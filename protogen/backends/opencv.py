"""OpenCV's dnn module as a backend of `protogen.verify`, in a process of its own: a model that it crashes on is told as such."""

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
from .model_file import model_file

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph
    from .setting import Blobs, Setting

MADE_FOR = 5
"""OpenCV's major version that the ONNX forms are chosen for; version 4 runs most nets without detection layers."""
# Python would look for modules in the working folder first: among a stranger's files, perhaps a cv2.py.
_PROGRAM = "import sys; sys.path[:] = filter(None, sys.path); from protogen.backends.opencv import _child; _child()"
_REFUSED = 3  # exit code of the child when OpenCV said no


def run_opencv(graph: Graph, feed: Blobs, setting: Setting) -> Blobs:
    """Every blob by OpenCV, or the outputs only, on the CPU.

    Raises:
        ProtogenError: OpenCV is missing, or it refuses the model or crashes (with OpenCV's own message).
        ConversionError: the net has no such ONNX form.
    """
    with model_file(graph, feed, setting) as model:
        values = run_model(model.path, model.feed, model.outputs)
    shapes = {value.name: value.shape for value in graph.blobs}
    return {blob: _shaped(value, shapes[blob]) for blob, value in zip(model.blobs, values)}


def run_model(path: str, feed: Blobs, outputs: list[str], seconds: float | None = None) -> list[np.ndarray]:
    """Values of the outputs of an ONNX file, as a user of OpenCV gets them.

    Args:
        path: the file.
        feed: values by input name.
        outputs: their names.
        seconds: how long OpenCV may take, None for as long as it likes.

    Raises:
        ProtogenError: OpenCV is missing, cannot read or run the file, crashes, or takes too long.
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
        done = subprocess.run(command, input=request, timeout=seconds, env=environment, **pipes)
    except subprocess.TimeoutExpired:
        raise ProtogenError(f"OpenCV did not run this net's ONNX form within {seconds:g} s") from None
    if done.returncode == _REFUSED:
        raise ProtogenError(" ".join(done.stdout.split()))
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [""]
        raise ProtogenError(f"OpenCV crashed on this net's ONNX form (exit code {done.returncode}) {lines[-1]}".rstrip())


def _child() -> None:
    """What the other process does: the request comes on stdin; values go to a file, OpenCV's refusal to stdout."""
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
    return f"OpenCV {version} cannot run this net's ONNX form, version {MADE_FOR} may ({install_hint('opencv')}): {text}"


def _shaped(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """OpenCV 4 shows vectors and scalars as matrices."""
    return value.reshape(shape) if value.ndim != len(shape) and value.size == math.prod(shape) else value
