"""Caffemodels that hold their net's definition, as Caffe saves them (protogen's own hold weights only)."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

import protogen
from tests.weights.forks import net_class

TEXT = """name: "alone"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.25 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
"""


def net_file(folder: Path, text: str, name: str = "model.caffemodel", fill: int = 1) -> Path:
    """A caffemodel as Caffe saves it, with its definition, of a prototxt's net with random weights."""
    net = protogen.loads(text).fill(fill)
    message = text_format.Parse(text, net_class("BVLC/caffe")())
    for layer in message.layer:
        for blob in net.weights.get(layer.name, []):
            stored = layer.blobs.add()
            stored.shape.dim.extend(blob.shape)
            stored.data.extend(blob.ravel().tolist())
    path = folder / name
    path.write_bytes(message.SerializeToString())
    return path
