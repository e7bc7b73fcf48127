"""protogen: build, read, check and convert Caffe networks without Caffe."""

from .errors import ConversionError, LayerError, NetError, ParseError, ProtogenError, ProtogenWarning, WeightsError
from .layers.base import LayerType, register
from .net import Layer, Net
from .prototxt.reader import load, loads

__version__ = "0.1.0"

__all__ = [
    "ConversionError",
    "Layer",
    "LayerError",
    "LayerType",
    "Net",
    "NetError",
    "ParseError",
    "ProtogenError",
    "ProtogenWarning",
    "WeightsError",
    "load",
    "loads",
    "register",
]
