"""Comparing a net with the ONNX model that another converter made of it, tensor by tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from ..backends import BACKENDS
from ..errors import ConversionError, ProtogenError, some
from ..graph.names import with_version_names
from ..progress import track
from ..targets.onnx.options import OnnxOptions
from .compare import row_of
from .inputs import random_inputs
from .matching import Match, aligned, matches, matching_outputs
from .other_inputs import feedings, suited
from .rounding import Arbiter

if TYPE_CHECKING:
    import numpy as np

    from ..backends.other_model import OtherModel
    from ..backends.setting import Blobs, Setting, Stream
    from ..graph.graph import Graph, Node, Value
    from .report import Report, Row

APPLICABLE = ("preprocess", "preprocess_from_data", "rename", "postprocess", "seed")
"""Options of ONNX models that say something about a model that exists already."""


def require_applicable(options: OnnxOptions) -> None:
    """Refuse options of a conversion.

    Raises:
        ConversionError: an option has another value than its default and is none of `APPLICABLE`.
    """
    standard = OnnxOptions()
    for field in fields(options):
        if field.name not in APPLICABLE and getattr(options, field.name) != getattr(standard, field.name):
            raise ConversionError(f"{field.name} does not apply with `against`: that model is compared as it is")


@dataclass(frozen=True)
class _Compared:
    """A tensor, and its row for each value of the net that it may be taken for."""

    match: Match
    rows: Mapping[Value, Row]

    @property
    def best(self) -> Value:
        """The value that it is nearest to."""
        return min(self.rows, key=lambda value: float("inf") if isnan(self.rows[value].max_rel) else self.rows[value].max_rel)

    @property
    def value(self) -> Value:
        """The value that it is taken for: the nearest if it is that one, or far nearer; else the one that it is named after."""
        best, named = self.rows[self.best], self.rows[self.match.named]
        return self.best if best.ok or best.max_rel < named.max_rel / 10 else self.match.named

    @property
    def row(self) -> Row:
        """Its row for that value."""
        return self.rows[self.value]


class Comparison:
    """A net, and another converter's model of it, run on the same inputs.

    Args:
        graph: the net's graph.
        model: the model.
        fixed: values by input name; others are random.
        setting: of PyTorch; its ONNX options say what the model does with its image, and how it names blobs.

    Raises:
        ProtogenError: the model's inputs are not the net's.
    """

    def __init__(self, graph: Graph, model: OtherModel, fixed: Mapping[str, np.ndarray], setting: Setting) -> None:
        self._graph, self._model = graph, model
        self._versions = with_version_names(graph)
        self._names = {value: twin.name for value, twin in zip(graph.values, self._versions.values)}
        self._rename, self._setting = setting.onnx.rename, self._renamed(setting)
        feed = random_inputs(graph, setting.onnx.seed, fixed, setting.preprocess)
        shapes = {name: value.shape for name, value in feed.items()}
        of_inputs = {blob: name for blob, name in self._rename.items() if name not in model.tensors}
        self._plan = feedings(shapes, model.inputs, of_inputs, model.path)
        self._feed = suited(feed, self._plan, fixed, setting.onnx.seed, model.path)

    def _renamed(self, setting: Setting) -> Setting:
        """Return the setting for the graph in which each value of a blob has a name of its own, the image too."""
        if setting.preprocess is None:
            return setting
        image = setting.preprocess.image_of(self._graph.inputs)
        preprocess = replace(setting.preprocess, input=self._names[image])
        return replace(setting, onnx=replace(setting.onnx, preprocess=preprocess))

    def add_rows(self, report: Report) -> None:
        """Run both; add rows and notes to a report.

        Raises:
            ProtogenError: ONNX Runtime rejects the model, or no tensor can be compared.
        """
        pairs, values = self._model_values()
        shapes = {name: value.shape for name, value in values.items()}
        feed = {twin.name: self._feed[value.name] for value, twin in zip(self._graph.inputs, self._versions.inputs)}
        reference = BACKENDS["torch"](self._versions, feed, self._setting)
        arbiter = None if self._model.in_half else Arbiter(self._versions, feed, self._setting, report.tolerance)
        compared = list(self._compared(pairs, values, reference, arbiter, report.tolerance))
        if arbiter is not None:
            compared = [replace(each, rows=dict(zip(each.rows, arbiter.judged(list(each.rows.values()))))) for each in compared]
        order = {value: number for number, value in enumerate(self._graph.values)}
        compared.sort(key=lambda each: order[each.value])
        agreed = {each.value for each in compared if each.row.ok} - {each.value for each in compared if not each.row.ok}
        report.rows += [
            each.row if each.row.ok else replace(each.row, layers=_layers(self._graph, each.value, agreed)) for each in compared
        ]
        report.notes += self._notes(compared, shapes)

    def _model_values(self) -> tuple[list[Match], Blobs]:
        """Run the model; return the tensors that can be compared, and their values."""
        pairs = matches(self._graph, self._model.tensors, self._rename)
        feed = {each.input.name: each.arranged(self._feed[each.blob]) for each in self._plan}
        values = self._model.run(feed, list(dict.fromkeys([*(match.tensor for match in pairs), *self._model.outputs])))
        pairs = [match for match in pairs if match.tensor in values]
        pairs += matching_outputs(
            self._graph, pairs, {name: values[name].shape for name in self._model.outputs if name in values}
        )
        if not pairs:
            raise ProtogenError(
                f"{self._model.path}: nothing to compare: none of its tensors is named after a blob or a layer, and its outputs "
                f"do not have the shapes of the net's; say which is which with --rename BLOB=TENSOR"
            )
        return pairs, values

    def _compared(
        self, pairs: Sequence[Match], values: Blobs, reference: Stream, arbiter: Arbiter | None, tolerance: float
    ) -> Iterator[_Compared]:
        """Compare tensors with the values that they may be; neither are kept for longer than needed."""
        readers = Counter(self._names[value] for match in pairs for value in match.values)
        tensors = Counter(match.tensor for match in pairs)
        waiting, expected = list(pairs), {}
        for blob, array in track("comparing", reference, total=len(self._versions.blobs)):
            if blob in readers:
                expected[blob] = array
            for match in [match for match in waiting if all(self._names[value] in expected for value in match.values)]:
                waiting.remove(match)
                yield self._one(match, values[match.tensor], expected, arbiter, tolerance)
                tensors[match.tensor] -= 1
                if not tensors[match.tensor]:
                    del values[match.tensor]
                readers.subtract(self._names[value] for value in match.values)
                for name in [name for name in expected if readers[name] <= 0]:
                    del expected[name]

    def _one(self, match: Match, actual: np.ndarray, expected: Blobs, arbiter: Arbiter | None, tolerance: float) -> _Compared:
        """Compare a tensor with the values that it may be; let the arbiter judge what it is likely to be, if it is off."""
        name = f"{Path(self._model.path).name} / torch"
        rows: dict[Value, Row] = {}
        for value in match.values:
            blob = self._names[value]
            row = row_of(name, blob, aligned(actual, value.shape), expected[blob], tolerance)
            rows[value] = replace(row, tensor="" if match.tensor in (value.name, blob) else match.tensor)
        compared = _Compared(match, rows)
        if arbiter is not None and not compared.row.ok:
            for value in dict.fromkeys((compared.value, compared.best, match.named)):
                arbiter.take(rows[value], ("onnxruntime", "torch"), aligned(actual, value.shape), expected[self._names[value]])
        return compared

    def _notes(self, compared: Sequence[_Compared], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        names = [value.name for value in self._graph.blobs if value not in self._graph.inputs]
        left = [name for name in names if name not in {each.value.name for each in compared}]
        notes = [each.note for each in self._plan if each.note]
        for each in compared:
            notes += [f"output {each.row.blob!r} is its {each.match.tensor!r} ({each.match.how})"] if each.match.how else []
            shape = shapes[each.match.tensor]
            if each.row.other_shape is None and shape != each.row.shape:
                notes.append(f"blob {each.row.blob!r} has shape {shape} there")
        if left:
            notes.append(
                f"not compared, because the model has no tensor of that name: {some(left)} ({len(left)} of {len(names)} blobs)"
            )
        return notes


def _layers(graph: Graph, value: Value, agreed: Collection[Value]) -> list[str]:
    """Name the layers that make a value from values that agree, in order."""
    makers = {made: node for node in graph.nodes for made in node.made}
    involved: set[Node] = set()
    waiting = [value]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node not in involved:
            involved.add(node)
            waiting += [bottom for bottom in node.inputs if bottom not in agreed]
    return [f"{node.op.layer.name!r} ({node.op.layer.type})" for node in graph.nodes if node in involved]
