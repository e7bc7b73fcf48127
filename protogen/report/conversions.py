"""Report of the conversion of a folder: what became of each file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..files import Path, write_text
from ..prototxt.names import as_utf8

if TYPE_CHECKING:
    from .table import PlainTable

VERSION = 1
"""Of the report as JSON: it grows by one when a field changes its meaning or goes."""

CONVERTED, NOT_A_NET, REFUSED, FAILED = "converted", "not a net", "refused", "failed"
NOT_REACHED = "not reached"
STATUSES = (CONVERTED, NOT_A_NET, REFUSED, FAILED, NOT_REACHED)


@dataclass(frozen=True)
class FileRow:
    """What became of one file. Paths are relative: of source and weights to the folder read, of the output to the one written.

    Attributes:
        source: the file.
        status: "converted"; "not a net" (a solver, say); "refused", with the reason; "failed": its process crashed, was killed or
            took too long, or met an error that protogen did not foresee; "not reached", of an interrupted run.
        message: why it is not converted, in one line; "" if it is.
        weights: the weights file used, None if there is none.
        matched_by: what made this the weights file: "name" (it is called like the prototxt) or "layers"; None without one.
        note: what stands in for weights that are missing, or why weights in the same folder are not used.
        unsure: whether `note` tells of weights that may belong to the file.
        output: the file written, None if there is none.
        inputs, outputs: shapes by name, as in the written file; an open axis is a name, such as "N".
        warnings: those that converting this file alone would print.
        ignored: parts of `reading` that concern no part of this file, such as "input 'data'".
        seconds: time taken.
    """

    source: str
    status: str
    message: str = ""
    weights: str | None = None
    matched_by: str | None = None
    note: str = ""
    unsure: bool = False
    output: str | None = None
    inputs: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    outputs: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    ignored: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def remark(self) -> str:
        """What a person should look at, "" if nothing."""
        if self.status in (REFUSED, FAILED):
            return self.message
        if self.unsure:
            return self.note
        return f"with the weights of {self.weights!r}, whose layers fit" if self.matched_by == "layers" else ""


@dataclass(frozen=True)
class ConversionReport:
    """Report of the conversion of a folder; `as_dict` returns plain data for machines.

    Attributes:
        source, target: the folders read and written.
        ending: of the files written.
        rows: one for each file, sorted by path.
        seconds: time taken.
    """

    source: str
    target: str
    ending: str
    rows: Sequence[FileRow]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every net was converted."""
        return all(row.status in (CONVERTED, NOT_A_NET) for row in self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """Number of files by status; of those converted, also how many with weights and with warnings."""
        converted = [row for row in self.rows if row.status == CONVERTED]
        counts = {status: sum(row.status == status for row in self.rows) for status in STATUSES}
        counts["with weights"] = sum(row.weights is not None for row in converted)
        counts["with warnings"] = sum(bool(row.warnings) for row in converted)
        return counts

    @property
    def ignored(self) -> list[str]:
        """Parts of `reading` that concern no net in the folder: they may be misspelt."""
        nets = [row for row in self.rows if row.status == CONVERTED]
        return sorted(set.intersection(*(set(row.ignored) for row in nets))) if nets else []

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; keys are always the same and in the same order."""
        head = {"version": VERSION, "protogen": __version__}
        named = {"source": self.source, "target": self.target, "format": self.ending}
        files = [asdict(replace(row, seconds=round(row.seconds, 3))) for row in self.rows]
        counts = {name.replace(" ", "_"): number for name, number in self.counts.items()}
        return {**head, **named, "seconds": round(self.seconds, 3), "counts": counts, "files": files}

    def write(self, path: Path) -> None:
        """Write the report as JSON, atomically, a line for each file. Bytes of names that are not UTF-8 appear as `\\udcff`."""
        data = _plain(self.as_dict())
        lines = ",\n".join(f"    {json.dumps(row)}" for row in data.pop("files"))
        head = json.dumps(data, indent=2).removesuffix("\n}")
        write_text(path, f'{head},\n  "files": [\n{lines}\n  ]\n}}\n')

    def table(self) -> PlainTable:
        """Return the table of counts for a terminal."""
        counts = self.counts
        table = _table("files", "")
        for status in STATUSES:
            if counts[status] or status in (CONVERTED, REFUSED):
                table.add_row(str(counts[status]), status)
            if status == CONVERTED:
                for part in ("with weights", "with warnings"):
                    table.add_row(str(counts[part]), f"  {part}")
        return table

    def remarks(self) -> PlainTable | None:
        """Return the table of files that a person should look at: failures, and weights that were guessed or left out."""
        rows = [row for row in self.rows if row.remark]
        if not rows:
            return None
        table = _table("file", "status", "remark")
        for row in sorted(rows, key=lambda row: row.status == CONVERTED):
            table.add_row(row.source, row.status, row.remark)
        return table

    @property
    def totals(self) -> str:
        """The last line: how many files, and in what time."""
        return f"{len(self.rows)} files in {self.seconds:.1f} s"


def _table(*headers: str) -> PlainTable:
    from .table import Column, PlainTable

    return PlainTable(*(Column("files", right=True) if header == "files" else Column(header, "text") for header in headers))


def _plain(data: Any) -> Any:
    """Return data in which every text can be written as UTF-8."""
    if isinstance(data, str):
        return as_utf8(data)
    if isinstance(data, Mapping):
        return {_plain(key): _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, (list, tuple)) else data
