"""Feeding another converter's model what the net is fed: which input is which, in which layout and element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ProtogenError, did_you_mean, some

if TYPE_CHECKING:
    import numpy as np

    from ..backends.other_model import ModelInput
    from ..backends.setting import Blobs

NHWC = (0, 2, 3, 1)
"""Axes of a blob (N, C, H, W) in the order of an image (N, H, W, C)."""
Dims = Sequence[int | None]


@dataclass(frozen=True)
class Feeding:
    """How one input of the model gets its values.

    Attributes:
        input: the model's input.
        blob: the net's input whose values it gets.
        transposed: whether they are transposed to (N, H, W, C).
        how: how the two were identified; "" for one name.
    """

    input: ModelInput
    blob: str
    transposed: bool = False
    how: str = ""

    @property
    def note(self) -> str:
        """What the report says of it; "" if it goes without saying."""
        parts = [f"is its {self.input.name!r} ({self.how})"] if self.how else []
        parts += ["is transposed to (N, H, W, C) for it"] if self.transposed else []
        parts += [f"is fed as {self.input.dtype}"] if self.input.dtype != "float32" else []
        return f"input {self.blob!r} {' and '.join(parts)}" if parts else ""

    def arranged(self, value: np.ndarray) -> np.ndarray:
        """Return a value in the model's layout."""
        return value.transpose(NHWC) if self.transposed else value


def feedings(
    shapes: Mapping[str, tuple[int, ...]], inputs: Sequence[ModelInput], rename: Mapping[str, str], path: str
) -> list[Feeding]:
    """Find the net's input for each input of the model: by name, else the only one of its shape, else by position.

    Args:
        shapes: of the values for the net's inputs, by name.
        inputs: the model's.
        rename: names of the model's inputs by name of the net's, as the user gave them.
        path: of the model, for messages.

    Raises:
        ProtogenError: an input of the model has no counterpart, or only one of another shape.
    """
    theirs = {value.name: value for value in inputs}
    for blob, name in rename.items():
        if blob in shapes and name not in theirs:
            raise ProtogenError(f"cannot rename {blob!r}: the model has no input {name!r} (its inputs: {some(list(theirs))})")
    named = {rename.get(name, name): name for name in shapes}
    pairs = {name: (named[name], "") for name in theirs if name in named}
    taken = {blob for blob, _ in pairs.values()}
    left = [name for name in shapes if name not in taken and name not in rename]
    open_inputs = [name for name in theirs if name not in pairs]
    for name in open_inputs:
        fitting = [blob for blob in left if _layout(shapes[blob], theirs[name].shape) is not None]
        rivals = [other for other in open_inputs if _fits(theirs[other].shape, theirs[name].shape)]
        if len(fitting) == 1 and len(rivals) == 1:
            pairs[name] = (fitting[0], "by its shape")
        elif len(left) == len(open_inputs):
            pairs[name] = (left[open_inputs.index(name)], "by position")
        else:
            raise ProtogenError(
                f"{path}: its input {name!r} {_shown(theirs[name].shape)} is none of the net's ({some(list(shapes))})"
                f"{did_you_mean(name, shapes)}; say which with --rename NAME={name}"
            )
    return [_feeding(theirs[name], blob, how, shapes[blob], path) for name, (blob, how) in pairs.items()]


def _feeding(value: ModelInput, blob: str, how: str, shape: tuple[int, ...], path: str) -> Feeding:
    layout = _layout(shape, value.shape)
    if layout is None:
        raise ProtogenError(
            f"{path}: its input {value.name!r} has shape {_shown(value.shape)}, the net's input {blob!r} {shape}; "
            f"give the net that one: --input {blob}={','.join('?' if dim is None else str(dim) for dim in value.shape)}"
        )
    return Feeding(value, blob, layout == "NHWC", how)


def _layout(shape: tuple[int, ...], dims: Dims) -> str | None:
    """Return "" if a shape suits dimensions as it is, "NHWC" if it does transposed, else None."""
    if _fits(shape, dims):
        return ""
    return "NHWC" if len(shape) == 4 and _fits([shape[axis] for axis in NHWC], dims) else None


def _fits(shape: Dims, dims: Dims) -> bool:
    return len(shape) == len(dims) and all(a is None or b is None or a == b for a, b in zip(shape, dims))


def _shown(dims: Dims) -> str:
    return "(" + ", ".join("?" if dim is None else str(dim) for dim in dims) + ")"


def suited(feed: Blobs, plan: Sequence[Feeding], fixed: Mapping[str, np.ndarray], seed: int, path: str) -> Blobs:
    """Return the values for the net, changed to ones that the model's element types hold: both are fed the same numbers.

    Random values for whole numbers are those of images, from 0 to 255.

    Args:
        feed: values by blob.
        plan: how the model's inputs get them.
        fixed: the values that the user gave.
        seed: of random values.
        path: of the model, for messages.

    Raises:
        ProtogenError: the element type does not hold the values that the user gave.
    """
    import numpy as np

    result = dict(feed)
    for each in plan:
        dtype, value = np.dtype(each.input.dtype), feed[each.blob]
        fractions = dtype.kind in "iu" and not np.array_equal(value, value.round())
        if fractions and each.blob not in fixed:
            value = np.random.default_rng(seed).integers(0, 128 if dtype.name == "int8" else 256, value.shape).astype(np.float32)
        held = _held(value, dtype)
        if dtype.kind in "iu" and not np.array_equal(held, value):
            raise ProtogenError(f"{path}: its input {each.input.name!r} takes {dtype.name}; {each.blob!r} has other values")
        result[each.blob] = held
    return result


def _held(value: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return a value as the element type holds it, in float32."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        return value.astype(dtype).astype(np.float32)
