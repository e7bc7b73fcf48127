"""Support of each layer type: shapes, PyTorch, gradient, ONNX; derived from its class, so that it is never out of date."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..layers.base import LayerType
from ..layers.own_types import is_built_in
from ..layers.registry import layer_types
from ..plugins import LAYERS, load_entry_points

if TYPE_CHECKING:
    from .table import PlainTable

COLUMNS = ("type", "shapes", "PyTorch", "gradient", "ONNX", "note")


@dataclass(frozen=True)
class Support:
    """One layer type.

    Attributes:
        type: Caffe's name; a Python layer's includes its class, as in `Layer.full_type`.
        shapes: whether its output shapes are inferred.
        torch: whether it has a PyTorch form.
        gradient: whether the PyTorch form has Caffe's gradient.
        onnx: whether it has an ONNX form.
        note: a limitation, and the module of a type from outside the package; "" if none.
    """

    type: str
    shapes: bool
    torch: bool
    gradient: bool
    onnx: bool
    note: str

    @property
    def cells(self) -> list[str]:
        """The cells of the row as text."""
        marks = ["yes" if mark else "-" for mark in (self.shapes, self.torch, self.gradient, self.onnx)]
        return [self.type, *marks, self.note]


@dataclass(frozen=True)
class SupportTable:
    """Support of all registered layer types; `table` is for a terminal, `markdown` for a page, `as_list` for machines."""

    rows: list[Support]

    def as_list(self) -> list[dict[str, Any]]:
        """Return plain data for JSON."""
        return [asdict(row) for row in self.rows]

    def markdown(self) -> str:
        """Return a Markdown table, ending with a line break.

        >>> SupportTable([Support("ArgMax", True, True, False, True, "")]).markdown().splitlines()[-1]
        '| `ArgMax` | yes | yes | - | yes | |'
        """
        rows = [list(COLUMNS), ["---", *[":-:"] * 4, "---"], *[[f"`{row.type}`", *row.cells[1:]] for row in self.rows]]
        return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n" for cells in rows)

    def table(self) -> PlainTable:
        """Return the table for a terminal."""
        from .table import Column, PlainTable

        wraps, drops = {"type": "text", "note": "words"}, {"shapes": 1, "gradient": 2, "note": 3}
        table = PlainTable(*(Column(name, wraps.get(name, ""), drop=drops.get(name, 0)) for name in COLUMNS))
        for row in self.rows:
            table.add_row(*row.cells)
        return table

    @property
    def totals(self) -> str:
        """One line: the number of types, and how many of them have each form."""
        inputs, torch, onnx = (sum(flags) for flags in zip(*((r.note.endswith(INPUT), r.torch, r.onnx) for r in self.rows)))
        return f"{len(self.rows)} layer types: {inputs} inputs, {torch} with a PyTorch form, {onnx} with an ONNX form"


INPUT, SINK, ROWS = "an input of the net", "a sink: no outputs", "the row count is data-dependent"


def support_table() -> SupportTable:
    """Return the support of every registered layer type, including those of other packages, in alphabetical order.

    >>> support = {row.type: row for row in support_table().rows}
    >>> support["Convolution"].onnx, support["SoftmaxWithLoss"].onnx, support["ArgMax"].gradient
    (True, False, False)
    """
    load_entry_points(LAYERS)
    # "Python" itself is only a wrapper; the classes that protogen implements are listed instead.
    return SupportTable([_support(name, cls) for name, cls in layer_types().items() if name != "Python"])


def _support(name: str, cls: type[LayerType]) -> Support:
    support = _of_class(name, cls)
    if is_built_in(cls):
        return support
    return replace(support, note=f"of {cls.__module__}" + (f"; {support.note}" if support.note else ""))


def _of_class(name: str, cls: type[LayerType]) -> Support:
    if cls.is_input:
        return Support(name, True, False, False, False, INPUT)
    torch = _overrides(cls, "forward") or _overrides(cls, "module")
    onnx = _overrides(cls, "onnx")
    if cls.n_tops[1] == 0:
        return Support(name, True, torch, False, onnx, SINK)
    note = "" if cls.dynamic_rows is None else ROWS
    return Support(name, True, torch, torch and cls.has_gradient, onnx, note if onnx else cls.onnx_note)


def _overrides(cls: type[LayerType], method: str) -> bool:
    """Return whether a layer class, or a base class of it, overrides a method of `LayerType`."""
    return getattr(cls, method) is not getattr(LayerType, method)
