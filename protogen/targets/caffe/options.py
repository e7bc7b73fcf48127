"""Options of Caffe's own files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaffeOptions:
    """Options of a prototxt or caffemodel.

    Attributes:
        fold: write the inference form: BatchNorm, Scale and Bias folded into the preceding layers.
        seed: for Caffe's fillers, which fill blobs the net has no weights for.
    """

    fold: bool = False
    seed: int = 0


@dataclass(frozen=True)
class DefinitionOptions(CaffeOptions):
    """Options of a prototxt.

    Attributes:
        templates: a folder whose templates take precedence over the built-in ones.
    """

    templates: str | None = None
