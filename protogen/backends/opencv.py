"""OpenCV's dnn module as a backend of `protogen.verify`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError
from .model_file import model_file

if TYPE_CHECKING:
    import numpy as np

    from ..net import Net
    from .setting import Blobs, Setting

MADE_FOR = 5
"""OpenCV's major version that the ONNX forms are chosen for; version 4 runs most nets without detection layers."""


def run_opencv(net: Net, feed: Blobs, setting: Setting) -> Blobs:
    """Every blob by OpenCV, on the CPU; folded, only the outputs.

    Raises:
        ProtogenError: OpenCV is missing, or it refuses the model (with OpenCV's own message).
        ConversionError: the net has no such ONNX form.
    """
    cv2 = _opencv()
    with model_file(net, feed, setting) as model:
        try:
            values = run_model(model.path, model.feed, model.outputs)
        except cv2.error as error:
            raise ProtogenError(_refusal(cv2.__version__, error)) from error
    return {blob: _shaped(value, net.shapes[blob]) for blob, value in zip(model.blobs, values)}


def run_model(model: str | bytes, feed: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    """Values of the outputs of an ONNX model, as a user of OpenCV gets them.

    Args:
        model: path of a file, or the serialized model.
        feed: values by input name.
        outputs: their names.

    Raises:
        cv2.error: OpenCV cannot read or run it.
    """
    import cv2
    import numpy as np

    level = cv2.utils.logging.setLogLevel(0)  # what goes wrong is raised; the log on stderr would say it twice
    try:
        net = cv2.dnn.readNetFromONNX(model if isinstance(model, str) else np.frombuffer(model, np.uint8))
        for name, value in feed.items():
            net.setInput(value, name)
        return list(net.forward(outputs))
    finally:
        cv2.utils.logging.setLogLevel(level)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ProtogenError(f"backend 'opencv' needs OpenCV {MADE_FOR}: pip install 'protogen[opencv]'") from error
    return cv2


def _refusal(version: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if int(version.partition(".")[0]) >= MADE_FOR:
        return f"OpenCV {version} cannot run this net's ONNX form: {text}"
    return f"OpenCV {version} cannot run this net's ONNX form, version {MADE_FOR} may (pip install 'protogen[opencv]'): {text}"


def _shaped(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """OpenCV 4 shows vectors and scalars as matrices."""
    return value.reshape(shape) if value.ndim != len(shape) and value.size == math.prod(shape) else value
