"""Summary of a net: layers with output shapes, parameters and multiply-accumulates, and their totals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..layers.source import Source

if TYPE_CHECKING:
    from rich.table import Table

    from ..net import Net


@dataclass(frozen=True)
class SummaryRow:
    """One layer.

    Attributes:
        name, type: of the layer.
        group: its builder block, "" if none.
        shapes: of its tops; None if unknown.
        params: number of trained values (without statistics and blobs shared from another layer).
        macs: multiply-accumulates of one pass.
    """

    name: str
    type: str
    group: str
    shapes: list[tuple[int, ...] | None]
    params: int
    macs: int


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

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "params": self.params, "macs": self.macs}

    def table(self) -> Table:
        """Return the table for a `rich` console: one line per layer, and block names as section lines."""
        from .table import PlainTable

        table = PlainTable()
        for header, justify in (
            ("layer", "left"),
            ("type", "left"),
            ("output", "left"),
            ("parameters", "right"),
            ("MACs", "right"),
        ):
            table.add_column(header, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        group = ""
        for row in self.rows:
            if row.group != group:
                group = row.group
                if group:
                    table.add_row(f"[{group}]", style="bold")
            shapes = " ".join("x".join(map(str, shape)) if shape is not None else "?" for shape in row.shapes)
            table.add_row(row.name, row.type, shapes, _number(row.params), _number(row.macs))
        return table

    @property
    def totals(self) -> str:
        """The last line: layers, parameters, multiply-accumulates."""
        unknown = "" if self.complete else "; shapes marked ? are unknown, and layers after them are not counted"
        layers = f"{len(self.rows)} layer{'s' if len(self.rows) != 1 else ''}"
        return f"{layers}, {self.params:,} parameters, {self.macs:,} multiply-accumulates{unknown}"

    def __str__(self) -> str:
        return "\n".join([str(self.table()), self.totals, *self.data])


def summarise(net: Net) -> Summary:
    """Return the summary of a net; a layer of unknown shape shows "?" and is not counted.

    >>> import protogen
    >>> summary = summarise(protogen.models.peleenet())
    >>> summary.totals
    '482 layers, 2,802,248 parameters, 507,757,568 multiply-accumulates'
    """
    shared = net.shared_blobs
    rows = []
    for layer, op in zip(net.layers, net.analysis.ops):
        shapes: list[tuple[int, ...] | None] = [*op.tops] if op is not None else [None] * len(layer.tops)
        blobs = op.blobs if op is not None else []
        params = sum(blob.count for i, blob in enumerate(blobs) if blob.trainable and (layer.name, i) not in shared)
        rows.append(SummaryRow(layer.name, layer.type, layer.group, shapes, params, op.macs if op is not None else 0))
    data = [str(op.transform) for op in net.analysis.known_ops if isinstance(op, Source) and op.transform]
    return Summary(net.name, net.phase, net.inputs, net.outputs, rows, net.analysis.complete, data)


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
