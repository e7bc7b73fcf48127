"""Every layer type protogen knows, one family a file; `base` holds what a layer type is and the registry."""

from .base import BlobSpec, LayerType, Shape, layer_type, layer_types, register

__all__ = ["BlobSpec", "LayerType", "Shape", "layer_type", "layer_types", "register"]
