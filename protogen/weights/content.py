"""Content of a weights file, before it is matched with a net."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import WeightsError
from .blobs import LayerBlobs
from .files import Path, copy_of_standard_input

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Content:
    """Content of a weights file.

    Attributes:
        source: the file's name.
        layers: the layers in file order, for Caffe's formats.
        state: the tensors by key, for a state dict; else None.
    """

    source: str
    layers: list[LayerBlobs] = field(default_factory=list)
    state: Mapping[str, np.ndarray] | None = None

    def blob_counts(self, layers: Iterable[str]) -> dict[str, int]:
        """Return the number of learnable blobs of each of `layers`; layers that a state dict lacks have 0."""
        from .state_dict import PREFIXES

        if self.state is None:
            counts: dict[str, int] = {}
            for entry in self.layers:  # a net for both phases may have two layers of one name, one of them without blobs
                counts[entry.name] = max(len(entry.blobs), counts.get(entry.name, 0))
            return {layer: counts[layer] for layer in layers if layer in counts}
        modules: Counter[str] = Counter()
        for key in self.state:
            module = key.rpartition(".")[0]
            modules[module] += 1
            while prefix := next((prefix for prefix in PREFIXES if module.startswith(prefix)), ""):
                module = module.removeprefix(prefix)
                modules[module] += 1
        return {layer: modules[layer.replace(".", "_")] for layer in layers}


def read_content(path: Path) -> Content:
    """Read a `.caffemodel`, a `.caffemodel.h5`, or a state dict (`.pth`, `.safetensors`), whichever the content is.

    "-" stands for standard input.

    Raises:
        WeightsError: the file is damaged or of another kind.
    """
    from . import read_weights, state_dict

    source = os.fspath(path)
    if source == "-":
        return _read_standard_input()
    if state_dict.is_state_dict(path):
        return Content(source, state=state_dict.read(path))
    return Content(source, read_weights(path))


def _read_standard_input() -> Content:
    copy = copy_of_standard_input()
    try:
        return replace(read_content(copy), source="<stdin>")
    except WeightsError as error:
        raise WeightsError(*(line.replace(copy, "<stdin>") for line in error.lines)) from error
