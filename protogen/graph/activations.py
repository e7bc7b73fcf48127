"""Memory of a net's blobs while it runs: how much must be held at once, of one pass in the order of the layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..layers.base import LayerType, Shape, count
from ..prototxt.layer import Layer

VALUE = 4  # bytes of a float32


def live_bytes(
    layers: Sequence[Layer], ops: Iterable[LayerType | None], shapes: Iterable[Sequence[Shape | None]], outputs: Iterable[str],
    keep: bool = False,
) -> list[int]:  # fmt: skip
    """Return how many bytes of blobs are held while each layer runs, as float32; the largest of them is the peak.

    A blob is held from the layer that makes it to the last one that reads it; inputs are there from the beginning, outputs to the
    end. A layer that works in place, and Flatten, Reshape and Split, take no memory of their own. Weights and what a layer needs
    inside (unrolled windows, say) do not count, nor do blobs of unknown shape.

    Args:
        layers: the layers, in order.
        ops: each one set up, None where it is not.
        shapes: of the tops of each layer.
        outputs: blobs that are held to the end.
        keep: hold all blobs to the end, as training does for its way back; gradients do not count.

    >>> import protogen
    >>> net = protogen.models.lenet(batch=1)
    >>> live_bytes(net.layers, net.ops, [op.tops for op in net.ops], net.outputs)[:3]
    [3136, 49216, 57600]
    """
    places: dict[str, int] = {}  # the piece of memory that holds each blob
    sizes, first, last = list[int](), list[int](), list[int]()
    number = 0
    for number, (layer, op, tops) in enumerate(zip(layers, ops, shapes)):
        for blob in layer.bottoms:
            if blob in places:  # a pass may have left out the layer that made it, and its reader reads something else
                last[places[blob]] = number
        for i, (top, shape) in enumerate(zip(layer.tops, tops)):
            source = layer.bottoms[0] if op is not None and op.shares_memory and layer.bottoms else top
            if source in places and (source != top or top in layer.bottoms[i : i + 1]):
                places[top] = places[source]
                continue
            places[top] = len(sizes)
            sizes.append(VALUE * count(shape) if shape is not None else 0)
            first.append(0 if op is not None and top in op.fed_tops else number)
            last.append(number)
    for place in range(len(sizes)) if keep else {places[blob] for blob in outputs if blob in places}:
        last[place] = number
    return _sums(sizes, first, last, number + 1 if sizes else 0)


def _sums(sizes: Sequence[int], first: Sequence[int], last: Sequence[int], number: int) -> list[int]:
    changes = [0] * (number + 1)
    for size, start, end in zip(sizes, first, last):
        changes[start] += size
        changes[end + 1] -= size
    held, result = 0, []
    for change in changes[:number]:
        held += change
        result.append(held)
    return result
