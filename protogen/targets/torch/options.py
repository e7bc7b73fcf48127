"""Options of what is written for PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportOptions:
    """Options of a `torch.export` program.

    Attributes:
        dynamic_batch: leave the first axis of all inputs open.
        fold: the inference form: BatchNorm and Scale folded into the layers before them. A net in phase TRAIN has none.
        seed: for Caffe's fillers, which fill blobs the net has no weights for.
    """

    dynamic_batch: bool = False
    fold: bool = True
    seed: int = 0


@dataclass(frozen=True)
class StateDictOptions:
    """Options of a state dict.

    Attributes:
        fold: of the inference form; by default of the module as it trains.
        seed: as above.
    """

    fold: bool = False
    seed: int = 0
