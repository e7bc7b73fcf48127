"""protogen: build, read, check and convert Caffe networks without Caffe.

The public API is exported here; each name is imported on first use, which keeps `import protogen` cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from . import blocks, models, training
    from .batch import convert_tree
    from .builder import NetBuilder, block
    from .errors import (
        ConversionError,
        LayerError,
        NetError,
        ParseError,
        ProtogenError,
        ProtogenNote,
        ProtogenWarning,
        WeightsError,
    )
    from .layers.base import BlobSpec, LayerType
    from .layers.registry import register
    from .net import Net
    from .pictures import run
    from .prototxt.layer import Layer
    from .reading import load, loads
    from .report.fit import fit
    from .report.weights import weights_summary
    from .rules import ReadingRules
    from .targets.onnx.options import Preprocess
    from .training import load_solver, save_solver
    from .verification import verify

_HOMES = {
    "blocks": "blocks",
    "models": "models",
    "training": "training",
    "convert_tree": "batch",
    **dict.fromkeys(("NetBuilder", "block"), "builder"),
    "Preprocess": "targets.onnx.options",
    **dict.fromkeys(
        (
            *("ConversionError", "LayerError", "NetError", "ParseError"),
            *("ProtogenError", "ProtogenNote", "ProtogenWarning", "WeightsError"),
        ),
        "errors",
    ),
    **dict.fromkeys(("BlobSpec", "LayerType"), "layers.base"),
    "register": "layers.registry",
    "Layer": "prototxt.layer",
    "Net": "net",
    **dict.fromkeys(("load", "loads"), "reading"),
    **dict.fromkeys(("load_solver", "save_solver"), "training"),
    "ReadingRules": "rules",
    "run": "pictures",
    "verify": "verification",
    "fit": "report.fit",
    "weights_summary": "report.weights",
}

__all__ = [
    "BlobSpec",
    "ConversionError",
    "Layer",
    "LayerError",
    "LayerType",
    "Net",
    "NetBuilder",
    "NetError",
    "ParseError",
    "Preprocess",
    "ProtogenError",
    "ProtogenNote",
    "ProtogenWarning",
    "ReadingRules",
    "WeightsError",
    "block",
    "blocks",
    "convert_tree",
    "fit",
    "load",
    "load_solver",
    "loads",
    "models",
    "register",
    "run",
    "save_solver",
    "training",
    "verify",
    "weights_summary",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'protogen' has no attribute {name!r}")
    module = import_module(f".{home}", __name__)
    value = module if name == home else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
