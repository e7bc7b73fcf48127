"""The runs that are compared with the first backend's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..backends import OF_ONNX
from ..graph.cut import without_measures
from .inputs import random_inputs

if TYPE_CHECKING:
    from ..backends.setting import Blobs, Setting
    from ..graph.graph import Graph, Value
    from ..layers.base import Shape


@dataclass(frozen=True, eq=False)
class Trial:
    """One run to compare with the first backend's on the same inputs.

    Attributes:
        name: its name in the report.
        backend: name of the backend.
        graph: the graph it runs.
        of: the graph the first backend runs: the same, before folding.
        feed: input values by blob.
        setting: of the backend.
    """

    name: str
    backend: str
    graph: Graph
    of: Graph
    feed: Blobs
    setting: Setting


def trials(graph: Graph, inference: Graph | None, feed: Blobs, backends: Sequence[str], setting: Setting) -> Iterator[Trial]:
    """Yield trials of the other backends, then of all backends on the folded graph, if there is one."""
    for name in backends[1:]:
        yield Trial(name, name, graph, graph, feed, setting)
    if inference is not None:
        for name in backends:
            yield Trial(f"{name} folded", name, inference, graph, feed, replace(setting, outputs_only=True))


def larger_trials(graph: Graph, inference: Graph | None, backends: Sequence[str], setting: Setting) -> Iterator[Trial]:
    """Yield trials of models with a dynamic batch or size, at larger ones than they were converted with."""
    from ..targets.onnx.shapes import enlarged, growth

    batch = setting.onnx.dynamic_batch
    if not (batch or setting.onnx.dynamic_size):
        return
    deployed = without_measures(graph)  # as losses may not take another batch or size, and models are without them
    shapes: Mapping[Value, Shape] = {value: value.shape for value in deployed.inputs}
    if setting.onnx.dynamic_size:
        shapes = enlarged(deployed, growth(deployed))
    larger = deployed.at({value: (shape[0] + batch, *shape[1:]) for value, shape in shapes.items() if shape})
    feed = random_inputs(larger, setting.onnx.seed, {}, setting.preprocess)
    shown = "x".join(map(str, feed[larger.inputs[0].name].shape))
    for name in backends:
        if name in OF_ONNX:
            at_larger = replace(setting, outputs_only=inference is not None, made_at=inference or graph)
            yield Trial(f"{name} at {shown}", name, larger, larger, feed, at_larger)
