"""Open weights files safely, and identify files of other kinds."""

from __future__ import annotations

import atexit
import mmap
import os
import stat
import sys
from functools import lru_cache

from ..errors import WeightsError
from ..files import reason

Path = str | os.PathLike[str]

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAD = 1024
_USE_CAFFE = "give a .caffemodel or .caffemodel.h5 file"
_SIGNATURES = (
    (b"PK\x03\x04", f"is a zip archive, perhaps a PyTorch checkpoint, not Caffe weights: {_USE_CAFFE}"),
    (
        b"\x80\x02",
        f"is a Python pickle, perhaps an old PyTorch checkpoint, not Caffe weights: {_USE_CAFFE}",
    ),
    (b"\x80\x03", f"is a Python pickle, not Caffe weights: {_USE_CAFFE}"),
    (b"\x80\x04", f"is a Python pickle, not Caffe weights: {_USE_CAFFE}"),
    (b"\x80\x05", f"is a Python pickle, not Caffe weights: {_USE_CAFFE}"),
    (b"\x93NUMPY", f"is a NumPy array file, not Caffe weights: {_USE_CAFFE}"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed with xz: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it first"),
    (b"Rar!\x1a\x07", "is a RAR archive: unpack it first"),
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the weights themselves: fetch them with 'git lfs pull'",
    ),
)


def map_file(path: Path) -> mmap.mmap:
    """Map a regular, non-empty file read-only.

    The mapping lives as long as arrays that are views of it. If another program truncates the file meanwhile, the mapped pages
    are lost, as with any mapped file; replacing the file, as protogen's own writers do, is safe.

    Raises:
        WeightsError: the file is missing, unreadable, empty, a directory or a device.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise WeightsError(f"{os.fspath(path)}: not a regular file: weights must be in a file on disk")
            if status.st_size == 0:
                raise WeightsError(f"{os.fspath(path)}: the file is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{os.fspath(path)}: cannot read weights: {reason(error)}") from error


@lru_cache(maxsize=1)
def copy_of_standard_input() -> str:
    """Return the path of a file with what standard input holds: weights are mapped, which a pipe cannot be.

    The file is removed when the program ends.

    Raises:
        WeightsError: standard input is closed, or there is no room for the copy.
    """
    import shutil  # slow to import and rarely needed, as is the next one
    import tempfile

    if sys.stdin is None:
        raise WeightsError("<stdin>: cannot read weights: standard input is closed")
    folder = tempfile.mkdtemp(prefix="protogen-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, "weights")
    try:
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    except OSError as error:
        raise WeightsError(f"<stdin>: cannot read weights: {reason(error)}") from error
    return path


def reject_foreign(content: mmap.mmap | bytes, path: Path) -> None:
    """Reject a file whose first bytes show that it does not hold weights.

    Raises:
        WeightsError: says what the file is.
    """
    head = content[:_HEAD]
    for signature, message in _SIGNATURES:
        if head.startswith(signature):
            raise WeightsError(f"{os.fspath(path)}: {message}")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= len(content) - 8:
        raise WeightsError(f"{os.fspath(path)}: is a safetensors file, not Caffe weights: {_USE_CAFFE}")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(f"{os.fspath(path)}: is a web page, not weights: the download failed; repeat it")
    if _is_text(head):
        raise WeightsError(f"{os.fspath(path)}: is text (a prototxt?), not weights: {_USE_CAFFE}")


def _is_text(head: bytes) -> bool:
    """Return whether there are no control characters but white space: tags of a caffemodel always include some."""
    return all(byte >= 32 or byte in b"\t\n\v\f\r" for byte in head)
