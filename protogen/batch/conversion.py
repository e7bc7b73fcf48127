"""`convert_tree`: every net in a folder, to the same places in another."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from inspect import signature
from pathlib import Path
from typing import Any

from ..errors import ProtogenError, ProtogenWarning, did_you_mean, printable
from ..files import create_folder, remove_leftovers
from ..plugins import loaded_files
from ..progress import track
from ..reading import loads
from ..report.conversions import CONVERTED, FAILED, NOT_REACHED, REFUSED, ConversionReport, FileRow
from ..rules import RULES
from ..targets.formats import format_of
from .file import Converter, Job
from .tree import find, outputs
from .workers import Lost, each

REPORT = "report.json"


def convert_tree(
    source: str | Path,
    target: str | Path,
    ending: str = ".onnx",
    *,
    jobs: int | None = None,
    timeout: float | None = None,
    reading: Mapping[str, Any] | None = None,
    **options: Any,
) -> ConversionReport:
    """Convert every net in a folder and the folders in it; write `report.json` beside the outputs.

    A file that cannot be converted is reported, and the others go on, even if its process crashes. Files are converted in worker
    processes, which import the main module: a script calls this under `if __name__ == "__main__":`.

    Weights are those of the .caffemodel or .caffemodel.h5 beside the prototxt with the same name. Without one, they are those of
    the only file there that has all of the net's layers, unless it is named like another prototxt or fits another net as well.

    Args:
        source: the folder to read: its .prototxt files, and the .pt, .pbtxt and .txt files that begin as a net does.
        target: the folder to write, with the folders of `source`; files that exist there are overwritten. If it is within
            `source`, it is not read.
        ending: ".onnx" or another ending of `protogen.targets.formats.FORMATS`.
        jobs: number of processes; by default one for each core.
        timeout: seconds for each file, after which it counts as failed.
        reading: keyword arguments of `load` for every file. Of `inputs` and `define`, files take what they have a place for; of
            `phase`, the default is None.
        options: those of the format, as for `Net.save`.

    Returns:
        The report, with a row for each file.

    Raises:
        ProtogenError: `source` is not a folder or has no prototxt, `target` cannot be written, or worker processes do not start.
        ConversionError: no such format or option.
        TypeError: `load` has no such argument.
    """
    start = time.monotonic()
    root, folder = os.fspath(source), os.fspath(target)
    format = format_of(folder, ending)
    format.settings(options)  # refuses what no file could take, as does the next line
    _check(reading or {})
    tree = find(root, folder)
    if "." in tree.unreadable:
        raise ProtogenError(f"{root}: cannot list this folder: {tree.unreadable['.']}")
    rows = {name: FileRow(name, REFUSED, printable(f"cannot list the folder: {why}")) for name, why in tree.unreadable.items()}
    if not tree.files and not rows:
        raise ProtogenError(f"{root}: no prototxt in this folder")
    create_folder(folder)
    places = outputs(tree.files, format.ending)
    queue = [Job(name, places[name]) for name in tree.files]
    lenient = format.leaves_out(options)  # what only trains is left out, whether or not it fits
    settings = {"phase": None, "lenient": lenient, **(reading or {})}
    converter = Converter(root, folder, format.ending, settings, options, loaded_files())

    def report() -> ConversionReport:
        unreached = {name: FileRow(name, NOT_REACHED) for name in tree.files}
        in_order = sorted({**unreached, **rows}.items())
        result = ConversionReport(root, folder, format.ending, [row for _, row in in_order], time.monotonic() - start)
        result.write(os.path.join(folder, REPORT))
        return result

    try:
        with closing(_converted(converter, queue, jobs, timeout)) as results:
            rows.update((row.source, row) for row in track("converting", results, len(queue)))
    except KeyboardInterrupt:
        report()
        raise
    _remove_empty_folders(folder, rows, places)
    result = report()
    if result.ignored:
        warnings.warn(f"no net in {root} has {', '.join(result.ignored)}", ProtogenWarning, stacklevel=2)
    return result


def _check(reading: Mapping[str, Any]) -> None:
    known = [name for name in signature(loads).parameters if name not in ("text", "weights", "source", "lenient", "rules")]
    for name in reading:
        if name not in (*known, *RULES):
            raise TypeError(f"unexpected argument {name!r} in reading{did_you_mean(name, [*known, *RULES])}")


def _converted(converter: Converter, queue: list[Job], jobs: int | None, timeout: float | None) -> Generator[FileRow]:
    """Yield the row of each file, in the order in which they finish."""

    def clean(job: Job, pid: int) -> None:
        remove_leftovers(os.path.dirname(os.path.join(converter.target, job.output)), pid)

    with closing(each(converter, queue, jobs or cores(), timeout, clean)) as results:
        for number, result in results:
            job = queue[number]
            yield FileRow(job.source, FAILED, result.reason, seconds=result.seconds) if isinstance(result, Lost) else result


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _remove_empty_folders(target: str, rows: Mapping[str, FileRow], places: Mapping[str, str]) -> None:
    """Remove the folders of outputs that were not written, as far as nothing else is in them."""
    for name, row in rows.items():
        folder = os.path.dirname(places.get(name, "")) if row.status != CONVERTED else ""
        with suppress(OSError):
            while folder:
                os.rmdir(os.path.join(target, folder))
                folder = os.path.dirname(folder)
