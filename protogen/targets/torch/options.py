"""Options of PyTorch files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportOptions:
    """Options of a `torch.export` program.

    Attributes:
        dynamic_batch: make the first axis of all inputs dynamic.
        fold: write the inference form: BatchNorm and Scale folded into the preceding layers; ignored in phase TRAIN.
        postprocess: if False, cut off the layers at the end that turn predictions into detections.
        seed: for Caffe's fillers, which fill blobs the net has no weights for.
    """

    dynamic_batch: bool = False
    fold: bool = True
    postprocess: bool = True
    seed: int = 0


@dataclass(frozen=True)
class StateDictOptions:
    """Options of a state dict.

    Attributes:
        fold: write that of the inference form, not of the module for training.
        postprocess: if False, cut off the layers at the end that turn predictions into detections; none of them has weights.
        seed: for Caffe's fillers, which fill blobs the net has no weights for.
    """

    fold: bool = False
    postprocess: bool = True
    seed: int = 0
