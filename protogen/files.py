"""Writing files atomically: a file appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .errors import ProtogenError

Path = str | os.PathLike[str]


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
    # Long names are cut so that the temporary name stays within the file system's limit of 255 bytes.
    temporary = target if in_place else os.path.join(folder, f".{name[:40]}.{os.urandom(6).hex()}.tmp")
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
