"""`protogen convert` of a whole folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from .options import ReadOptions, usage_error
from .output import print_table, progress, say


def convert_folder(
    source: str, target: str, ending: str, *, jobs: int | None, timeout: float | None, reading: ReadOptions,
    options: Mapping[str, Any],
) -> None:  # fmt: skip
    """Convert every net in a folder, and print what became of the files; exit with status 1 if some failed.

    Args:
        source, target: the folders.
        ending: of the format.
        jobs, timeout: see `protogen.convert_tree`.
        reading: for every file.
        options: those of the format.

    Raises:
        UsageError: `target` is no name for a folder.
        ProtogenError: as `protogen.convert_tree`.
    """
    from ..batch import convert_tree
    from ..targets.formats import FORMATS

    if target == "-" or os.path.isfile(target) or (os.path.splitext(target)[1] in FORMATS and not os.path.isdir(target)):
        raise usage_error(f"{source} is a folder, so -o names a folder, too, not {target!r}; --to selects the format")
    with progress():
        report = convert_tree(source, target, ending, jobs=jobs, timeout=timeout, reading=reading.settings(), **options)
    remarks = report.remarks()
    if remarks is not None:
        print_table(remarks)
    print_table(report.table())
    say(f"{report.totals}; {os.path.join(target, 'report.json')} has the details")
    if not report.ok:
        sys.exit(1)
