"""A hint for layers whose bottoms' maps differ: the pooling at fault, and the value of the rule `pooling` by which they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import LayerError, some
from ..prototxt.layer import Layer
from ..rules import RULES

if TYPE_CHECKING:
    from .analysis import Analysis

_READINGS = {
    "caffe": "with {} as Caffe computes it",
    "floor": "with the size of {} rounded down, as in PyTorch and OpenVINO",
    "same": "with {} padded on the right and at the bottom, as in darknet",
}


def with_pooling_hint(error: LayerError, layer: Layer, analysis: Analysis) -> LayerError:
    """The error of a layer that does not fit its bottoms, with a hint if it does by another value of the rule `pooling`.

    Args:
        error: the error.
        layer: the layer.
        analysis: that of the layers before it.

    Returns:
        An error with the hint, or `error` itself: no other value would help.
    """
    if len(layer.bottoms) < 2:
        return error
    hints = []
    for value in RULES["pooling"].values:
        if value == analysis.rules.pooling:
            continue
        twin = analysis.by_rules(replace(analysis.rules, pooling=value))
        faults = _resized(layer, analysis, twin)
        if faults and _fits(layer, twin):
            reading = _READINGS[value].format(f"Pooling {some(faults)}")
            hints.append(f'{reading}, they fit (--pooling {value}, or pooling="{value}")')
    return type(error)(f"{error}; {'; '.join(hints)}") if hints else error


def _fits(layer: Layer, analysis: Analysis) -> bool:
    """Whether the layer is set up after those of `analysis`, which is lenient."""
    return analysis.add(Layer(layer.message, layer.group, layer.source, layer.blob_count)) is not None


def _resized(layer: Layer, analysis: Analysis, twin: Analysis) -> list[str]:
    """Names of the Pooling layers before a layer whose size the rules of `twin` change.

    Those before all of its bottoms resize all of them: they count only if there are no others.
    """
    before = [_layers_before(bottom, analysis.layers) for bottom in layer.bottoms]
    shared = set.intersection(*before)
    resized = [i for i in sorted(set.union(*before)) if _is_resized(i, analysis, twin)]
    return [analysis.layers[i].name for i in [i for i in resized if i not in shared] or resized]


def _is_resized(index: int, analysis: Analysis, twin: Analysis) -> bool:
    op, other = analysis.ops[index], twin.ops[index]
    if op is None or other is None or op.layer.type != "Pooling":
        return False
    try:
        return other.at(op.bottoms).tops != op.tops
    except LayerError:  # nothing is left when it rounds down
        return True


def _layers_before(blob: str, layers: Sequence[Layer]) -> set[int]:
    """Indices of the layers that the last value of a blob depends on."""
    needed, indices = {blob}, set()
    for i in reversed(range(len(layers))):
        if not needed.isdisjoint(layers[i].tops):
            indices.add(i)
            needed.difference_update(layers[i].tops)
            needed.update(layers[i].bottoms)
    return indices
