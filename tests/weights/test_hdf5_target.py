"""The file that HDF5 writes to: bytes go where they should, and the first error is raised at the end, once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from protogen.weights.hdf5_target import open_to_write


def test_bytes_go_where_they_should(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with open_to_write(str(path)) as target:
        assert target.write(memoryview(b"abcdef")) == 6
        assert target.seek(2) == 2
        target.write(memoryview(b"CD"))
        assert (target.tell(), target.seek(-1, 2)) == (4, 5)
        target.seek(1)
        assert target.read(4) == b"bCDe"
        assert target.truncate(5) == 5
    assert path.read_bytes() == b"abCDe"


class Full:
    """A file on a full disk."""

    def seek(self, offset: int) -> None:
        """Anywhere."""

    def write(self, data: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_the_first_error_is_raised_when_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write_thrice() -> None:
        with open_to_write(str(tmp_path / "x")) as target:
            monkeypatch.setattr(target, "_file", Full())
            written.extend(target.write(memoryview(b"abc")) for _ in range(3))

    with pytest.raises(OSError, match="No space left"):
        write_thrice()
    assert written == [3, 3, 3]  # HDF5 is told that all is well, as it would end the process otherwise
