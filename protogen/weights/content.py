"""A weights file as read: what it holds, before any net has a say."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .blobs import LayerBlobs
from .files import Path

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Content:
    """What a weights file holds.

    Attributes:
        source: the file's name.
        layers: of Caffe's formats, the layers in the file's order.
        state: of a state dict, the tensors by key; else None.
    """

    source: str
    layers: list[LayerBlobs] = field(default_factory=list)
    state: Mapping[str, np.ndarray] | None = None

    def blob_counts(self, layers: Iterable[str]) -> dict[str, int]:
        """How many learnable blobs each of `layers` has here; a state dict knows no layers without any, so the others have 0."""
        from .state_dict import PREFIXES

        if self.state is None:
            held: dict[str, int] = {}
            for entry in self.layers:  # a net for both phases may have two layers of one name, one of them without blobs
                held[entry.name] = max(len(entry.blobs), held.get(entry.name, 0))
            return {layer: held[layer] for layer in layers if layer in held}
        modules: Counter[str] = Counter()
        for key in self.state:
            module = key.rpartition(".")[0]
            modules[module] += 1
            while prefix := next((prefix for prefix in PREFIXES if module.startswith(prefix)), ""):
                module = module.removeprefix(prefix)
                modules[module] += 1
        return {layer: modules[layer.replace(".", "_")] for layer in layers}


def read_content(path: Path) -> Content:
    """Read a `.caffemodel`, a `.caffemodel.h5`, or a state dict (`.pth`, `.safetensors`): the content tells which it is.

    Raises:
        WeightsError: it is damaged, or of another kind.
    """
    from ..weights import read_weights, state_dict

    source = os.fspath(path)
    if state_dict.is_state_dict(path):
        return Content(source, state=state_dict.read(path))
    return Content(source, read_weights(path))
