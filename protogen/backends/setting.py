"""How a backend should run a graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..targets.onnx.options import OnnxOptions

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph
    from ..targets.onnx.options import Preprocess

    Blobs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What every backend takes besides the graph and the values fed; each uses the fields that apply to it.

    Attributes:
        outputs_only: the graph's outputs are wanted, not every blob; engines may then merge layers.
        device: where PyTorch runs: "cpu", "cuda", "cuda:1". The others run on the CPU.
        dtype: what PyTorch computes in: "float64", "float32", "float16" or "bfloat16".
        onnx: options of the ONNX model. The graph is emitted as it is: fold it before.
        made_at: the same graph at other input shapes, from which the ONNX model is made in place of the graph itself: only a
            model with an open batch or size then runs.
    """

    outputs_only: bool = False
    device: str = "cpu"
    dtype: str = "float32"
    onnx: OnnxOptions = field(default_factory=OnnxOptions)
    made_at: Graph | None = None

    @property
    def preprocess(self) -> Preprocess | None:
        """What the model does to its image. Values fed are those that the model takes: a backend of the net alone does the
        same before it."""
        return self.onnx.preprocess
