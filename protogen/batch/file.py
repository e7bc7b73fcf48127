"""Conversion of one file of a folder, in a worker process."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotANetError, ProtogenError, ProtogenWarning, printable
from ..files import create_folder, reason
from ..plugins import load_file
from ..report.conversions import CONVERTED, FAILED, NOT_A_NET, REFUSED, FileRow
from ..targets.formats import FORMATS
from .pairing import Paired, Reader

if TYPE_CHECKING:
    from ..net import Net


@dataclass(frozen=True)
class Job:
    """One file: its path, and that of its output, relative to their folders."""

    source: str
    output: str


@dataclass
class Converter:
    """Converts one file after the other, whatever becomes of each.

    Attributes:
        source, target: the folders.
        ending: of the format.
        reading: keyword arguments of `protogen.load`.
        options: those of the format.
        plugins: Python files that register layer types, run before the first file is read.
    """

    source: str
    target: str
    ending: str
    reading: Mapping[str, Any]
    options: Mapping[str, Any]
    plugins: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._reader = Reader(self.reading)

    def __call__(self, job: Job) -> FileRow:
        """Convert a file; return what became of it, and raise nothing."""
        start = time.monotonic()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ProtogenWarning)
            row = self._outcome(job)
        texts = [str(entry.message) for entry in caught if isinstance(entry.message, ProtogenWarning)]
        return replace(row, warnings=list(dict.fromkeys(texts)), seconds=time.monotonic() - start)

    def _outcome(self, job: Job) -> FileRow:
        try:
            for plugin in self.plugins:
                load_file(plugin)
            return self._convert(job)
        except NotANetError as error:
            return FileRow(job.source, NOT_A_NET, self._brief(job, error.lines[-1]))
        except ProtogenError as error:
            return FileRow(job.source, REFUSED, self._brief(job, error.lines[0]))
        except OSError as error:
            return FileRow(job.source, REFUSED, printable(reason(error)))
        except (Exception, SystemExit) as error:  # of protogen, a library or a layer type of one's own: the others go on
            first = next(iter(str(error).splitlines()), "")
            return FileRow(job.source, FAILED, printable(f"unexpected {type(error).__name__}: {first}".removesuffix(": ")))

    def _brief(self, job: Job, message: str) -> str:
        """Return a message without the path of the file, beside which it is shown."""
        return message.removeprefix(printable(f"{os.path.join(self.source, job.source)}:")).strip()

    def _convert(self, job: Job) -> FileRow:
        path, output = os.path.join(self.source, job.source), os.path.join(self.target, job.output)
        paired = self._reader.read(path)
        for read in filter(None, (path, paired.weights)):
            if os.path.exists(output) and os.path.samefile(read, output):
                raise ProtogenError(f"{path}: its output would overwrite {read}; choose another folder for the outputs")
        format = FORMATS[self.ending]
        net = paired.net
        if format.leaves_out(self.options):  # here already, as `save` does it, for what is reported
            net = net.known_part(self.options.get("postprocess", True))
        create_folder(os.path.dirname(output))
        net.save(output, self.ending, **self.options)
        return self._row(job, paired, net, output)

    def _row(self, job: Job, paired: Paired, net: Net, output: str) -> FileRow:
        ends_of = FORMATS[self.ending].ends
        inputs, outputs = ends_of(Path(output)) if ends_of else (_shapes(net, net.inputs), _shapes(net, net.outputs))
        return FileRow(
            job.source, CONVERTED, weights=paired.weights and os.path.relpath(paired.weights, self.source),
            matched_by=paired.matched_by, note=paired.note, unsure=paired.unsure, output=job.output,
            inputs=inputs, outputs=outputs, ignored=paired.ignored,
        )  # fmt: skip


def _shapes(net: Net, blobs: list[str]) -> dict[str, list[int]]:
    """Return the shapes of blobs; those of an incomplete net, which a prototxt may be, as far as they are known."""
    shapes = net.analysis.shapes
    return {blob: list(shape) for blob in blobs if (shape := shapes.get(blob)) is not None}
