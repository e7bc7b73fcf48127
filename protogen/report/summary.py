"""Summary of a net: its layers with shapes, windows, memory, receptive fields, parameters and multiply-accumulates; totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..graph.activations import VALUE, live_bytes
from ..graph.receptive_field import Field, receptive_fields
from ..layers.base import Shape, count
from ..layers.source import Source
from .table import size_text

if TYPE_CHECKING:
    from ..net import Net
    from .table import PlainTable


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One layer.

    Attributes:
        name, type: of the layer.
        group: its builder block, "" if none.
        inputs, shapes: of its bottoms and of its tops; None if unknown.
        params: number of trained values (without statistics and blobs shared from another layer).
        macs: multiply-accumulates of one pass.
        memory: bytes of its tops, as float32; 0 for a layer that works in place.
        live: bytes of all blobs that are held while it runs, see `graph.activations.live_bytes`.
        fields: what the values of each top see of the image, see `graph.receptive_field`; None if unknown.
        window: kernel, stride, pad and dilation, one number per spatial axis each; {} without a window.
    """

    name: str
    type: str
    group: str
    inputs: Sequence[Shape | None]
    shapes: Sequence[Shape | None]
    params: int = 0
    macs: int = 0
    memory: int = 0
    live: int = 0
    fields: Sequence[Field | None] = ()
    window: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = ("name", "type", "group", "inputs", "shapes", "params", "macs", "memory")
        axes = [known.axes if known is not None else None for known in self.fields]
        return {
            **{name: getattr(self, name) for name in names},
            **{name: self.window.get(name) for name in ("kernel", "stride", "pad", "dilation")},
            "live_memory": self.live,
            "receptive_fields": [[axis.pixels for axis in known] if known is not None else None for known in axes],
            "jumps": [[float(axis.jump) for axis in known] if known is not None else None for known in axes],
        }


@dataclass(frozen=True)
class Summary:
    """Summary of a net; `str` returns a table, `as_dict` plain data for machines.

    Attributes:
        name, phase, inputs, outputs: those of the net.
        rows: one for each layer.
        complete: every shape is known.
        data: what each data layer does to its images, a sentence each.
    """

    name: str
    phase: str
    inputs: list[str]
    outputs: list[str]
    rows: list[SummaryRow]
    complete: bool
    data: list[str] = field(default_factory=list)

    @property
    def params(self) -> int:
        """Total number of trained values."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Total multiply-accumulates of one pass."""
        return sum(row.macs for row in self.rows)

    @property
    def memory(self) -> int:
        """Bytes of all blobs, as float32."""
        return sum(row.memory for row in self.rows)

    @property
    def peak_memory(self) -> int:
        """Bytes of the blobs that must be held at once: in TEST, each only as long as a layer reads it; in TRAIN, all."""
        return max((row.live for row in self.rows), default=0)

    @property
    def peak_layer(self) -> str:
        """The first layer at which so much is held, "" of a net without layers."""
        return max(self.rows, key=lambda row: row.live).name if self.rows else ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        parts = self.parts()
        return {**parts, "rows": list(parts["rows"])}

    def parts(self) -> dict[str, Any]:
        """Return what `as_dict` does, with an iterator for the rows: those of a million layers need not be there at once."""
        total = self.macs or 1
        rows = ({**row.as_dict(), "share": row.macs / total} for row in self.rows)
        return {
            **{name: getattr(self, name) for name in ("name", "phase", "inputs", "outputs")}, "rows": rows,
            **{name: getattr(self, name) for name in ("complete", "data", "params", "macs")},
            **{name: getattr(self, name) for name in ("memory", "peak_memory", "peak_layer")},
            "by_size": [part.as_dict() for part in self.by_size()],
        }  # fmt: skip

    def table(self, columns: Sequence[str] | None = None, depth: int | None = None) -> PlainTable:
        """Return the table for a terminal: a line for each layer, under lines for groups with their totals.

        Args:
            columns: names of `report.summary_table.COLUMNS`; by default those of `DEFAULT` there.
            depth: show groups below this depth as one line each; by default every layer has its line.

        Raises:
            ProtogenError: no such column.
        """
        from .summary_table import summary_table

        return summary_table(self, columns, depth)

    def by_size(self) -> list[SizeTotals]:
        """The layers by the height and width of their tops, in the order in which these first appear."""
        sizes: dict[tuple[int, ...], list[SummaryRow]] = {}
        for row in self.rows:
            size = next((tuple(shape[2:]) for shape in row.shapes if shape is not None), ())
            sizes.setdefault(size, []).append(row)
        return [SizeTotals.of(size, rows) for size, rows in sizes.items()]

    @property
    def totals(self) -> str:
        """The last line: layers, parameters, multiply-accumulates."""
        unknown = "" if self.complete else "; shapes marked ? are unknown, and layers after them are not counted"
        layers = f"{len(self.rows)} layer{'s' if len(self.rows) != 1 else ''}"
        return f"{layers}, {self.params:,} parameters, {self.macs:,} multiply-accumulates{unknown}"

    @property
    def memory_totals(self) -> str:
        """The last line but one: memory of the blobs and of the parameters."""
        held = "all kept, as for training" if self.phase == "TRAIN" else f"at most {size_text(self.peak_memory)} of them at once"
        where = f" (layer {self.peak_layer!r})" if self.phase != "TRAIN" and self.rows else ""
        return f"{size_text(self.memory)} of blobs, {held}{where}; {size_text(VALUE * self.params)} of parameters, in float32"

    def __str__(self) -> str:
        return "\n".join([str(self.table()), self.memory_totals, self.totals, *self.data])


@dataclass(frozen=True)
class SizeTotals:
    """The layers whose tops have one height and width.

    Attributes:
        size: height and width, () for tops without.
        layers: their number.
        params, macs, memory: their totals.
    """

    size: tuple[int, ...]
    layers: int
    params: int
    macs: int
    memory: int

    @classmethod
    def of(cls, size: tuple[int, ...], rows: Sequence[SummaryRow]) -> SizeTotals:
        """Add up the layers of one size."""
        params, macs, memory = (sum(getattr(row, name) for row in rows) for name in ("params", "macs", "memory"))
        return cls(size, len(rows), params, macs, memory)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {name: getattr(self, name) for name in ("size", "layers", "params", "macs", "memory")}


def summarise(net: Net) -> Summary:
    """Return the summary of a net; a layer of unknown shape shows "?" and is not counted.

    >>> import protogen
    >>> summary = summarise(protogen.models.peleenet())
    >>> summary.totals
    '482 layers, 2,802,248 parameters, 507,757,568 multiply-accumulates'
    """
    ops = net.analysis.ops
    tops: list[Sequence[Shape | None]] = [
        op.tops if op is not None else [None] * len(layer.tops) for layer, op in zip(net.layers, ops)
    ]
    live = live_bytes(net.layers, ops, tops, net.outputs, keep=net.phase == "TRAIN")
    fields = receptive_fields(ops, tops)
    rows = []
    for layer, op, shapes, held, seen in zip(net.layers, ops, tops, live, fields):
        if op is None:
            inputs = [net.analysis.shapes.get(blob) for blob in layer.bottoms]
            rows.append(SummaryRow(layer.name, layer.type, layer.group, inputs, shapes, live=held, fields=seen))
            continue
        params = sum(blob.count for i, blob in enumerate(op.blobs) if blob.trainable and (layer.name, i) not in net.shared_blobs)
        own = [count(shape) for top, shape in zip(layer.tops, op.tops) if shape is not None and top not in layer.bottoms]
        memory = 0 if op.shares_memory else VALUE * sum(own)
        rows.append(
            SummaryRow(layer.name, layer.type, layer.group, op.bottoms, shapes, params, op.macs, memory, held, seen, op.window())
        )
    data = [str(op.transform) for op in net.analysis.known_ops if isinstance(op, Source) and op.transform]
    return Summary(net.name, net.phase, net.inputs, net.outputs, rows, net.analysis.complete, data)
