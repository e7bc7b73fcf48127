"""One layer of a net, as the prototxt states it; what its type computes is in `protogen.layers`."""

from __future__ import annotations

from ..errors import printable
from .message import Message

POOLING_METHODS = ("MAX", "AVE", "STOCHASTIC")  # BVLC's; a fork's others give other shapes


class Layer:
    """One layer of a net: a view of its LayerParameter message.

    Attributes:
        message: the layer's LayerParameter.
        name: its name, "" if it has none.
        type: Caffe's type name, such as "Convolution".
        bottoms, tops: names of the blobs it reads and makes.
        group: name of the builder block it came from ("stage1/layer2"), "" if none.
        source: file the layer was read from, for error messages.
        blob_count: how many learnable blobs it has by a weights file or, without one, by its own `blobs`; None if nothing tells.
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
        """The type, with what tells layers of one type apart: "Python (rpn.proposal_layer.ProposalLayer)", "Pooling (LOWRES)"."""
        if self.type == "Python":
            python = self.message.python_param
            return f"Python ({python.module}.{python.layer})"
        method = self.message.pooling_param.pool
        return f"Pooling ({method})" if self.type == "Pooling" and method not in POOLING_METHODS else self.type

    @property
    def label(self) -> str:
        """`layer 'conv1' (Convolution)`, with its place in the file if it was read from one."""
        place = ""
        if self.source and self.message.origin:
            line, column = self.message.origin
            place = f"{self.source}:{line}:{column}: "
        return printable(f"{place}layer {self.name!r} ({self.type})")

    def __repr__(self) -> str:
        return f"Layer({self.name!r}, {self.type!r}, {self.bottoms} -> {self.tops})"
