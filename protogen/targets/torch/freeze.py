"""Which learnable blobs a fine-tuning file freezes: those of `lr_mult: 0`, which Caffe's solvers leave as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConversionError

if TYPE_CHECKING:
    from ...graph.graph import Graph, Node, Weight


def frozen_weights(graph: Graph) -> set[Weight]:
    """Return the weights whose `lr_mult` is 0.

    Layers that share a blob share its `lr_mult`, too: whichever of them states it (`Net::AppendParam` in caffe/net.cpp).

    Raises:
        ConversionError: two layers that share a blob state different values, which Caffe rejects.
    """
    stated: dict[Weight, tuple[float, Node]] = {}
    for node in graph.nodes:
        for weight, spec in zip(node.weights, node.op.layer.message.param):
            if "lr_mult" not in spec:
                continue
            value, owner = stated.setdefault(weight, (spec.lr_mult, node))
            if value != spec.lr_mult:
                raise ConversionError(
                    f"{node.op.label}: lr_mult {spec.lr_mult:g} of the shared blob {spec.name!r} is {value:g} in layer "
                    f"{owner.op.layer.name!r}; state it once"
                )
    return {weight for weight, (value, _) in stated.items() if value == 0}
