"""Layers with output shapes, parameters and multiply-accumulates, and their totals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from ..net import Net


@dataclass(frozen=True)
class SummaryRow:
    """One layer.

    Attributes:
        name, type: the layer's.
        group: the builder block it belongs to, "" if none.
        shapes: of its tops; None where unknown.
        params: trained values of its own (statistics and shared blobs not counted).
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
    """A net at a glance; `str` gives the table, `as_dict` the same for machines."""

    name: str
    phase: str
    inputs: list[str]
    outputs: list[str]
    rows: list[SummaryRow]
    complete: bool

    @property
    def params(self) -> int:
        """Trained values in all."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass."""
        return sum(row.macs for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "params": self.params, "macs": self.macs}

    def table(self) -> Table:
        """The table for a `rich` console: a line per layer, block names as section lines, totals at the end."""
        from rich.box import SIMPLE_HEAD

        from .table import PlainTable

        table = PlainTable(box=SIMPLE_HEAD, title=None, pad_edge=False)
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
        unknown = "" if self.complete else "; shapes marked ? are not known, and layers behind them not counted"
        return f"{len(self.rows)} layers, {self.params:,} parameters, {self.macs:,} multiply-accumulates{unknown}"

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console

        text = StringIO()
        Console(file=text, width=4096).print(self.table())
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        return "\n".join([*lines, self.totals])


def summarise(net: Net) -> Summary:
    """The summary of a net; where a shape is unknown, that layer shows "?" and counts nothing.

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
    return Summary(net.name, net.phase, net.inputs, net.outputs, rows, net.analysis.complete)


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
