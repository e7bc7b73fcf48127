"""Names of values after the layers that make them, as OpenCV 4's Caffe importer had them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..layers.base import LayerType


def top_names(ops: Iterable[LayerType]) -> Iterator[list[str]]:
    """Yield, for each layer, names of its tops.

    OpenCV called a layer of type Convolution by its blob and any other by its name, the second of one name "<name>_1", the third
    "<name>_2". It knew only the first top of a layer; the others are "<name>.1", "<name>.2" here.

    Args:
        ops: the layers of a net, in order.
    """
    times: Counter[str] = Counter()
    for layer in (op.layer for op in ops):
        name, before = layer.name or layer.type, times[layer.name]
        times[layer.name] += 1
        first = layer.tops[0] if layer.type == "Convolution" and layer.tops else f"{name}_{before}" if before else name
        yield [first, *(f"{first}.{number}" for number in range(1, len(layer.tops)))]
