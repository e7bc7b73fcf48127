"""One layer of a net as defined in the prototxt; what its type computes is in `protogen.layers`."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import printable
from .message import Message
from .phase import State, active

POOLING_METHODS = ("MAX", "AVE", "STOCHASTIC")  # BVLC's; those that forks add have other output shapes


class Layer:
    """One layer of a net: a view of its LayerParameter message.

    Attributes:
        message: the layer's LayerParameter.
        name: its name, "" if it has none.
        type: Caffe's type name, such as "Convolution".
        bottoms, tops: names of the blobs it reads and writes.
        group: name of the builder block it belongs to ("stage1/layer2"), "" if none.
        source: file it was read from, for error messages.
        blob_count: number of its learnable blobs in the weights file or, without one, in its own `blobs`; None if unknown.
    """

    __slots__ = ("blob_count", "bottoms", "group", "message", "name", "source", "tops", "type")

    def __init__(self, message: Message, group: str = "", source: str = "", blob_count: int | None = None) -> None:
        self.message, self.group, self.source = message, group, source
        self.blob_count = blob_count if blob_count is not None else len(message.get("blobs", ())) or None
        self.name: str = message.get("name", "")
        self.type: str = message.get("type", "")
        self.bottoms: list[str] = message.get("bottom", [])
        self.tops: list[str] = message.get("top", [])

    @property
    def full_type(self) -> str:
        """The type with its variant, if any: "Python (rpn.proposal_layer.ProposalLayer)", "Pooling (LOWRES)"."""
        if self.type == "Python":
            python = self.message.python_param
            return f"Python ({python.module}.{python.layer})"
        if self.type == "Pooling" and self.message.pooling_param.pool not in POOLING_METHODS:
            return f"Pooling ({self.message.pooling_param.pool})"
        return self.type

    @property
    def label(self) -> str:
        """`layer 'conv1' (Convolution)`, preceded by its position in the file if it was read from one."""
        position = ""
        if self.source and self.message.origin:
            line, column = self.message.origin
            position = f"{self.source}:{line}:{column}: "
        return printable(f"{position}layer {self.name!r} ({self.type})")

    def __repr__(self) -> str:
        return f"Layer({self.name!r}, {self.type!r}, {self.bottoms} -> {self.tops})"


def layers_by_state(
    definition: Message, state: State, groups: Mapping[str, str], source: str, blob_counts: Mapping[str, int]
) -> tuple[list[Layer], dict[str, Message]]:
    """Split the layers of a NetParameter into those active in a state, and the messages of the inactive ones, by their tops.

    Args:
        definition: the NetParameter.
        state: that the layers' rules are matched against.
        groups, blob_counts: `Layer.group` and `Layer.blob_count` by layer name.
        source: the file's name.
    """
    layers: list[Layer] = []
    inactive: dict[str, Message] = {}
    for message in definition.layer:
        if active(message, state):
            name = message.get("name", "")
            layers.append(Layer(message, groups.get(name, ""), source, blob_counts.get(name)))
        else:
            inactive.update(dict.fromkeys(message.get("top", []), message))
    return layers, inactive
