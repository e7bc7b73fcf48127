"""What each layer type can do: shapes, PyTorch, gradient, ONNX; read off its definition, so that it cannot be out of date."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..layers.base import LayerType
from ..layers.registry import layer_types

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("type", "shapes", "PyTorch", "gradient", "ONNX", "note")


@dataclass(frozen=True)
class Support:
    """One layer type.

    Attributes:
        type: Caffe's name; that of a Python layer has its class in it, as `Layer.full_type`.
        shapes: whether shapes are inferred.
        torch: whether there is a PyTorch form.
        gradient: whether that has Caffe's gradient.
        onnx: whether there is an ONNX form.
        note: what a user should know, "" if nothing.
    """

    type: str
    shapes: bool
    torch: bool
    gradient: bool
    onnx: bool
    note: str

    @property
    def cells(self) -> list[str]:
        """The row as text."""
        marks = ["yes" if mark else "-" for mark in (self.shapes, self.torch, self.gradient, self.onnx)]
        return [self.type, *marks, self.note]


@dataclass(frozen=True)
class SupportTable:
    """Every registered layer type; `table` is for a terminal, `markdown` for the README, `as_list` for machines."""

    rows: list[Support]

    def as_list(self) -> list[dict[str, Any]]:
        """Plain data for JSON."""
        return [asdict(row) for row in self.rows]

    def markdown(self) -> str:
        """A Markdown table, ending with a line break.

        >>> SupportTable([Support("ArgMax", True, True, False, True, "")]).markdown().splitlines()[-1]
        '| `ArgMax` | yes | yes | - | yes | |'
        """
        rows = [list(COLUMNS), ["---", *[":-:"] * 4, "---"], *[[f"`{row.type}`", *row.cells[1:]] for row in self.rows]]
        return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n" for cells in rows)

    def table(self) -> Table:
        """The table for a `rich` console."""
        from rich.box import SIMPLE_HEAD

        from .table import PlainTable

        table = PlainTable(box=SIMPLE_HEAD, pad_edge=False)
        for column in COLUMNS:
            table.add_column(column, no_wrap=column != "note")
        for row in self.rows:
            table.add_row(*row.cells)
        return table

    @property
    def totals(self) -> str:
        """One line: how many types there are, and how many have each form."""
        inputs, torch, onnx = (sum(flags) for flags in zip(*((r.note == INPUT, r.torch, r.onnx) for r in self.rows)))
        return f"{len(self.rows)} layer types: {inputs} inputs, {torch} with a PyTorch form, {onnx} with an ONNX form"


INPUT, SINK, ROWS = "an input of the net", "a sink: it makes nothing", "only the data tell how many rows come out"


def support_table() -> SupportTable:
    """What every registered layer type supports, those registered from outside included, in alphabetical order.

    >>> support = {row.type: row for row in support_table().rows}
    >>> support["Convolution"].onnx, support["SoftmaxWithLoss"].onnx, support["ArgMax"].gradient
    (True, False, False)
    """
    # "Python" by itself is nothing; its well-known classes stand for it.
    return SupportTable([_support(name, cls) for name, cls in layer_types().items() if name != "Python"])


def _support(name: str, cls: type[LayerType]) -> Support:
    if cls.is_input:
        return Support(name, True, False, False, False, INPUT)
    torch = _gives(cls, "forward") or _gives(cls, "module")
    onnx = _gives(cls, "onnx")
    if cls.n_tops[1] == 0:
        return Support(name, True, torch, False, onnx, SINK)
    note = "" if cls.dynamic_rows is None else ROWS
    return Support(name, True, torch, torch and cls.has_gradient, onnx, note if onnx else cls.onnx_note)


def _gives(cls: type[LayerType], method: str) -> bool:
    """Whether a definition, or a class it builds on, has a form of its own of a method."""
    return getattr(cls, method) is not getattr(LayerType, method)
