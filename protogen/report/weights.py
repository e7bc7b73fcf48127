"""Statistics of the learnable blobs in a weights file: shapes, ranges, zeros, and what is not a number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from ..weights.content import Content
    from .table import PlainTable


@dataclass(frozen=True)
class BlobStatistics:
    """One learnable blob.

    Attributes:
        layer, type: the layer as the file names it; a state dict has modules in place of layers, and no types.
        blob: the blob's index, or the tensor's name in a state dict.
        shape: its shape in the file.
        min, max, mean: of its finite values; None if there are none.
        zeros, nan, infinite: how many values are 0, not a number, or infinite.
    """

    layer: str
    type: str
    blob: str
    shape: tuple[int, ...]
    min: float | None
    max: float | None
    mean: float | None
    zeros: int
    nan: int
    infinite: int

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class WeightsSummary:
    """Statistics of a weights file; `str` returns a table, `as_dict` plain data for machines."""

    source: str
    rows: list[BlobStatistics]

    @property
    def warnings(self) -> list[str]:
        """A line for each blob with values that are infinite or no numbers."""
        return [
            f"layer {row.layer!r}, blob {row.blob}: {row.nan:,} NaN and {row.infinite:,} infinite of {row.count:,} values"
            for row in self.rows
            if row.nan or row.infinite
        ]

    @property
    def totals(self) -> str:
        """The last line: blobs and values."""
        layers = len({row.layer for row in self.rows})
        return f"{len(self.rows)} blobs of {layers} layers, {sum(row.count for row in self.rows):,} values"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"source": self.source, "rows": [asdict(row) for row in self.rows]}

    def table(self) -> PlainTable:
        """Return the table for a terminal, a line for each blob."""
        from .table import Column, PlainTable

        drops = {"min": 7, "max": 6, "mean": 1, "zeros": 3, "NaN": 5, "infinite": 4}
        table = PlainTable(
            Column("layer", "text"), Column("type", "text", drop=2), Column("blob", right=True), Column("shape"),
            *(Column(header, right=True, drop=drop) for header, drop in drops.items()),
        )  # fmt: skip
        for row in self.rows:
            shape, zeros = "x".join(map(str, row.shape)), f"{row.zeros / row.count:.1%}" if row.zeros else ""
            values = [_number(value) for value in (row.min, row.max, row.mean)]
            table.add_row(row.layer, row.type, row.blob, shape, *values, zeros, _count(row.nan), _count(row.infinite))
        return table

    def __str__(self) -> str:
        return "\n".join([str(self.table()), self.totals])


def weights_summary(path: str | Path) -> WeightsSummary:
    """Return the statistics of the learnable blobs in a weights file, which stays mapped: little of it is in memory at a time.

    Args:
        path: a `.caffemodel`, `.caffemodel.h5`, `.pth` or `.safetensors`.

    Raises:
        WeightsError: the file is damaged or of another kind.

    >>> import protogen
    >>> net = protogen.models.lenet().fill()
    >>> net.save_caffemodel("lenet.caffemodel")                       # doctest: +SKIP
    >>> print(protogen.weights_summary("lenet.caffemodel").totals)    # doctest: +SKIP
    8 blobs of 4 layers, 431,080 values
    """
    from ..weights.content import read_content

    content = read_content(path)
    rows = [_statistics(layer, kind, blob, array) for layer, kind, blob, array in _blobs(content)]
    return WeightsSummary(content.source, rows)


def _blobs(content: Content) -> Iterator[tuple[str, str, str, np.ndarray]]:
    for key, array in (content.state or {}).items():
        module, _, name = key.rpartition(".")
        yield module, "", name, array
    for layer in content.layers:
        for i, blob in enumerate(layer.blobs):
            if blob is not None:  # an HDF5 file leaves out what another layer holds
                yield layer.name, layer.type, str(i), blob


def _statistics(layer: str, kind: str, blob: str, array: np.ndarray) -> BlobStatistics:
    import numpy as np

    from ..weights.pages import chunks

    low, high, total, finite_count, zeros, nan = math.inf, -math.inf, 0.0, 0, 0, 0
    for piece in chunks(array):
        zeros += piece.size - int(np.count_nonzero(piece))
        finite = piece
        if not (np.isfinite(piece.min()) and np.isfinite(piece.max())):
            nan += int(np.count_nonzero(np.isnan(piece)))
            finite = piece[np.isfinite(piece)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total += float(np.add.reduce(finite, dtype=np.float64))
            finite_count += finite.size
    some = finite_count > 0
    mean = total / finite_count if some else None
    infinite = array.size - finite_count - nan
    return BlobStatistics(
        layer, kind, blob, tuple(array.shape), low if some else None, high if some else None, mean, zeros, nan, infinite
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _count(value: int) -> str:
    return f"{value:,}" if value else ""
