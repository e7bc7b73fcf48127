"""What a net says of a picture: classes, detections, maps, or just numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..arguments import whole
from ..errors import ProtogenError, ProtogenNote, did_you_mean
from .labels import check_labels

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph, Node, Value

CLASSES, DETECTIONS, MAPS, NUMBERS = "classes", "detections", "maps", "numbers"


class ClassScore(NamedTuple):
    """A class with its score; `label` is "" without names."""

    number: int
    score: float
    label: str


class Detection(NamedTuple):
    """A box around an object, in pixels of the whole picture; `label` is the class's name, "" without names."""

    number: int
    score: float
    left: float
    top: float
    right: float
    bottom: float
    label: str


@dataclass(frozen=True)
class Result:
    """The outputs of a net for one picture.

    Attributes:
        outputs: values by blob name, of this picture alone: the batch axis is 1.
        kinds: for each output "classes" (probabilities), "detections", "maps" (values that have a place), or "numbers".
        picture: the picture (H, W, C), as it was read.
        labels: names of classes by number, {} without.
        seen: the part of the picture that the net saw: left, top, width and height, as shares of the whole.
    """

    outputs: Mapping[str, np.ndarray]
    kinds: Mapping[str, str]
    picture: np.ndarray
    labels: dict[int, str] = field(default_factory=dict)
    seen: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def _output(self, name: str | None, *kinds: str) -> str:
        if name is None:
            name = next((blob for blob, kind in self.kinds.items() if kind in kinds), None)
            if name is None:
                listed = ", ".join(f"{blob!r}: {kind}" for blob, kind in self.kinds.items())
                raise ProtogenError(f"no output has {' or '.join(kinds)} ({listed}); name the one to read as such")
        if name not in self.outputs:
            raise ProtogenError(f"no output {name!r}{did_you_mean(name, self.outputs)} (outputs: {', '.join(self.outputs)})")
        return name

    def classes(self, top: int = 5, name: str | None = None) -> list[ClassScore]:
        """Return the classes with the highest scores, the best first.

        Args:
            top: how many.
            name: the output to read as scores of classes; by default the first that has probabilities.

        Raises:
            ProtogenError: there is no such output, a class has no name in `labels`, or `top` is not positive.
        """
        import numpy as np

        if whole(top, "top=") < 1:
            raise ProtogenError(f"top= is the number of classes to return, at least 1, not {top}")
        name = self._output(name, CLASSES)
        scores = self.outputs[name].reshape(-1)
        if self.labels:
            check_labels(self.labels, scores.size, name)
        best = np.argsort(-scores, kind="stable")[:top]
        return [ClassScore(int(number), float(scores[number]), self.labels.get(int(number), "")) for number in best]

    def detections(self, threshold: float = 0.0, name: str | None = None) -> list[Detection]:
        """Return the detected objects, the best first.

        Args:
            threshold: lowest score.
            name: the output with rows of image, label, score, x1, y1, x2, y2; by default the first from a detection layer.

        Raises:
            ProtogenError: there is no such output, a class is infinite or NaN, or it has no name in `labels`.
        """
        name = self._output(name, DETECTIONS)
        rows = self.outputs[name].reshape(-1, 7)
        height, width = self.picture.shape[:2]
        left, top, wide, high = self.seen
        found = []
        for item, label, score, x1, y1, x2, y2 in rows.tolist():
            # A row of -1 says that there is nothing, other items are further images of a batch, and NaN is no score.
            if item > 0 or label < 0 or not score >= threshold:
                continue
            if not math.isfinite(label):
                raise ProtogenError(f"output {name!r} has a detection whose class is {label}, which is no number of a class")
            number = int(label)
            if self.labels and number not in self.labels:
                raise ProtogenError(f"the labels name {len(self.labels)} classes, but output {name!r} has class {number}")
            (x1, x2), (y1, y2) = (x * wide + left for x in (x1, x2)), (y * high + top for y in (y1, y2))
            name_of = self.labels.get(number, "")
            found.append(Detection(number, score, x1 * width, y1 * height, x2 * width, y2 * height, name_of))
        return sorted(found, key=lambda detection: -detection.score)

    def class_map(self, name: str | None = None) -> np.ndarray:
        """Return the class of each position, (H, W): the channel with the highest value.

        Where values are NaN there is no class; a note says at how many positions.

        Args:
            name: the output; by default the first of maps.

        Raises:
            ProtogenError: there is no such output, or it is no map.
        """
        maps = self.maps(name)
        tell_of_nan(maps)
        return maps.argmax(0)

    def maps(self, name: str | None = None) -> np.ndarray:
        """Return the maps of an output, (C, H, W); see `class_map` for the argument.

        Raises:
            ProtogenError: there is no such output, or it is no map.
        """
        name = self._output(name, MAPS)
        values = self.outputs[name]
        if values.ndim != 4:
            raise ProtogenError(f"output {name!r} of shape {values.shape} is no map (N, C, H, W)")
        return values[0]


def tell_of_nan(maps: np.ndarray) -> None:
    """Say in a note at how many positions of maps (C, H, W) values are NaN, if there are any."""
    import numpy as np

    places = np.isnan(maps).any(0)
    if places.any():
        text = f"at {places.sum()} of {places.size} positions of a map values are NaN: what it shows there means nothing"
        warnings.warn(ProtogenNote(text), stacklevel=3)


def kinds_of(graph: Graph, outputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Tell for each output what its values are, by the layer that makes it and its shape.

    Args:
        graph: the graph.
        outputs: the values of its outputs, for one picture.
    """
    makers = {value: node for node in graph.nodes for value in node.outputs}
    return {value.name: _kind(value, outputs[value.name].shape, makers) for value in graph.outputs if value.name in outputs}


def _kind(value: Value, shape: tuple[int, ...], makers: Mapping[Value, Node]) -> str:
    node = makers[value]
    while node.op.shares_memory and node.inputs:  # Reshape, Flatten, Split
        node = makers[node.inputs[0]]
    if node.op.is_postprocess and shape[-1:] == (7,):
        return DETECTIONS
    if len(shape) == 4 and shape[0] == 1 and max(shape[2:]) > 1:
        return MAPS
    spread = [size for size in shape if size > 1]  # regions of a picture have a class each
    return CLASSES if node.op.layer.type == "Softmax" and len(spread) == 1 and shape[:1] == (1,) else NUMBERS
