"""Values of --input: arrays in .npy and .npz files, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError, some
from .options import pairs

if TYPE_CHECKING:
    import numpy as np

MAX_UNPACKED = 1 << 30  # bytes of an .npz file's arrays
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class Values:
    """What the options --input give.

    Attributes:
        shapes: NAME=N,C,H,W, for reading the net.
        arrays: values by input name.
        pictures: files by input name.
    """

    shapes: list[str] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Sequence[str]) -> Values:
        """Read the arrays of options such as data=x.npy, data=x.npz, x.npz (arrays by name), data=photo.jpg and data=1,3,8,8.

        Raises:
            UsageError: an option has none of these forms.
            ProtogenError: a file cannot be read, or has no such array.
        """
        values = cls()
        usage = "--input takes NAME=N,C,H,W, NAME=FILE (.npy, .npz, or a picture) or FILE.npz"
        for text in inputs:
            if text.endswith(".npz") and "=" not in text:
                values.arrays.update(_arrays(text))
                continue
            ((name, value),) = pairs([text], usage)
            if value.endswith(".npy"):
                values.arrays[name] = _array(value)
            elif value.endswith(".npz"):
                values.arrays[name] = _member(value, name)
            elif value.lower().endswith(_PICTURES):
                values.pictures[name] = value
            else:
                values.shapes.append(text)
        return values


def _array(path: str) -> Any:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapping detects a wrong size in the header
    except Exception as error:  # NumPy evaluates the header as Python, which can raise almost any exception
        raise ProtogenError(f"{path}: not a readable .npy file: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ProtogenError(f"{path}: not a .npy file, but an archive of several: call it .npz")
    return _numbers(array, path)


def _arrays(path: str) -> dict[str, Any]:
    import numpy as np

    _check_members(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise ProtogenError(f"{path}: not a readable .npz file: {error}") from error
    return {name: _numbers(array, f"{path}: {name!r}") for name, array in arrays.items()}


def _check_members(path: str) -> None:
    """Check an archive's table before anything is unpacked: a few bytes can unpack to any size."""
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, BadZipFile) as error:
        raise ProtogenError(f"{path}: not a readable .npz file: {error}") from error
    names = [member.filename for member in members]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ProtogenError(f"{path}: has two arrays called {double.removesuffix('.npy')!r}")
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        raise ProtogenError(
            f"{path}: unpacks to more than {MAX_UNPACKED >> 30} GiB; give such arrays as .npy files, which are mapped"
        )


def _member(path: str, name: str) -> Any:
    """The array of an archive that is called like the input, or its only one."""
    arrays: Mapping[str, Any] = _arrays(path)
    if name not in arrays and len(arrays) != 1:
        raise ProtogenError(f"{path}: has no array {name!r}, but {some(list(arrays)) or 'none at all'}")
    return arrays[name] if name in arrays else next(iter(arrays.values()))


def _numbers(array: Any, where: str) -> Any:
    if isinstance(array, bytes):
        raise ProtogenError(f"{where}: is no array")
    if array.dtype.kind not in "biuf":
        raise ProtogenError(f"{where}: contains {array.dtype} values, not real numbers")
    return array
