"""Writing files atomically: a file appears complete or not at all."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .errors import ProtogenError

Path = str | os.PathLike[str]

_END = ".tmp"  # of temporary names


@contextmanager
def replacing(path: Path) -> Iterator[str]:
    """Yield a temporary path beside `path` to write to, and rename it into place if the block succeeds.

    After an error the temporary file is removed and `path` is untouched. A device or pipe (`/dev/null`) is written
    directly: there is nothing to replace.

    Raises:
        ProtogenError: `path` is a directory, or writing failed (no such folder, no permission, disk full).
    """
    try:
        target = os.path.realpath(path)
    except ValueError as error:
        raise ProtogenError(f"{os.fspath(path)!r}: not a valid file name: {error}") from error
    if os.path.isdir(target):
        raise ProtogenError(f"{os.fspath(path)}: is a directory; give the name of a file to write")
    folder, name = os.path.split(target)
    in_place = os.path.exists(target) and not os.path.isfile(target)
    try:
        temporary = target if in_place else _temporary(folder, name)
    except OSError as error:
        raise ProtogenError(f"{os.fspath(path)}: cannot write: {reason(error)}") from error
    try:
        yield temporary
        if not in_place:
            if os.path.exists(target):
                import shutil  # slow to import and rarely needed

                shutil.copymode(target, temporary)
            os.replace(temporary, target)
    except OSError as error:
        raise ProtogenError(f"{os.fspath(path)}: cannot write: {reason(error)}") from error
    finally:
        if not in_place:
            with suppress(OSError):
                os.unlink(temporary)


def _temporary(folder: str, name: str) -> str:
    """Return a new path for what will become the file `name`, and remove what killed processes left of earlier ones.

    Its name has the machine and the process, so that files of running processes are left alone.
    """
    # Long names are cut so that the temporary name stays within the file system's limit of 255 bytes.
    start = f".{name[:40]}.{_machine()}-"
    if hasattr(os, "uname"):  # on Windows, there is no harmless signal to ask whether a process runs
        for other in os.listdir(folder):
            if other.startswith(start) and other.endswith(_END) and not _runs(other[len(start) :].split("-")[0]):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, other))
    return os.path.join(folder, f"{start}{os.getpid()}-{os.urandom(6).hex()}{_END}")


def _machine() -> str:
    """Return what tells temporary files of this machine from those of others that share a disk with it."""
    node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return f"{zlib.crc32(node.encode()):08x}"


def _runs(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):  # another user's, or not a file of ours
        return True
    return True


def create_folder(path: Path) -> None:
    """Create a folder, and those that it lies in, unless it exists.

    Raises:
        ProtogenError: a file of this name is in the way, or there is no permission.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ProtogenError(f"{os.fspath(path)}: cannot create this folder: {reason(error)}") from error


def remove_leftovers(folder: Path, pid: int) -> None:
    """Remove the temporary files that `replacing` left in a folder because its process was killed.

    Args:
        folder: the folder of the files that it wrote.
        pid: the number of the process, which has ended.
    """
    mark = f".{_machine()}-{pid}-"
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(".") and mark in name and name.endswith(_END):
                with suppress(OSError):
                    os.unlink(os.path.join(folder, name))


def write_text(path: Path, text: str) -> None:
    """Write text to a file as UTF-8, atomically.

    Raises:
        ProtogenError: as `replacing`.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes to a file, atomically.

    Raises:
        ProtogenError: as `replacing`.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def reason(error: Exception) -> str:
    """Return the message of an exception, without error number and path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
