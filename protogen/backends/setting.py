"""How a backend should run a net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph
    from ..targets.onnx.options import Preprocess

    Blobs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What every backend takes besides the net and the values fed; each heeds what it knows.

    Attributes:
        fold: run the folded form, which has the outputs only.
        device: where PyTorch runs: "cpu", "cuda", "cuda:1". The others run on the CPU.
        dtype: what PyTorch computes in: "float64", "float32", "float16" or "bfloat16".
        seed: for the fillers of layers without weights.
        onnx: options of the ONNX model, as `OnnxOptions` has them.
        made_at: the net, at other input shapes, that the ONNX model is made from, in place of the net itself: only a model
            with an open batch or size then runs.
    """

    fold: bool = False
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    onnx: Mapping[str, Any] = field(default_factory=dict)
    made_at: Graph | None = None

    @property
    def preprocess(self) -> Preprocess | None:
        """What the model does to its image. Values fed are those that the model takes: a backend of the net alone does the
        same before it."""
        return self.onnx.get("preprocess")
