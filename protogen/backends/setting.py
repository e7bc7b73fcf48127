"""Settings of a backend's run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..targets.onnx.options import OnnxOptions

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph
    from ..targets.onnx.options import Preprocess

    Blobs = dict[str, np.ndarray]
    Stream = Iterator[tuple[str, np.ndarray]]
    """Blobs by name, each as soon as an engine has it; whoever reads the stream decides how long it is kept."""


@dataclass(frozen=True)
class Setting:
    """Settings common to all backends; each uses those that apply to it.

    Attributes:
        outputs_only: compute only the graph's outputs, not every blob; engines may then merge layers.
        names: blobs that PyTorch computes instead, with the layers that they depend on.
        device: where PyTorch runs: "cpu", "cuda", "cuda:1". The others run on the CPU.
        dtype: PyTorch's data type: "float64", "float32", "float16" or "bfloat16".
        noise: if set, PyTorch computes with rounding errors of float32 added, this being their seed; see `noise.py`.
        onnx: options of the ONNX model, except `fold`: the graph is emitted as it is.
        made_at: the same graph at other input shapes, to convert to ONNX in place of the graph itself; the model must then have
            a dynamic batch or size.
    """

    outputs_only: bool = False
    names: Collection[str] | None = None
    device: str = "cpu"
    dtype: str = "float32"
    noise: int | None = None
    onnx: OnnxOptions = field(default_factory=OnnxOptions)
    made_at: Graph | None = None

    @property
    def preprocess(self) -> Preprocess | None:
        """The preprocessing inside the ONNX model. Input values precede it, so a backend that runs the bare net applies it."""
        return self.onnx.preprocess
