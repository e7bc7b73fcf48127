"""Files a net can be converted to, chosen by their ending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConversionError, did_you_mean
from ..files import replacing, write_text

if TYPE_CHECKING:
    from ..net import Net


@dataclass(frozen=True)
class Options:
    """Settings of a conversion; each format takes those it knows.

    Attributes:
        opset, dynamic_batch: of ONNX.
        fold: fold BatchNorm and Scale, drop what does nothing in inference; None is the format's own habit.
        seed: for the fillers of blobs without weights.
    """

    opset: int = 17
    dynamic_batch: bool = False
    fold: bool | None = None
    seed: int = 0


def save_onnx(net: Net, path: Path, options: Options) -> None:
    """An ONNX model, folded unless told otherwise."""
    net.to_onnx(path, options.opset, options.dynamic_batch, options.fold is not False, options.seed)


def save_exported(net: Net, path: Path, options: Options) -> None:
    """A `torch.export` program (`torch.export.load` reads it), folded unless told otherwise."""
    import torch

    module = net.to_torch(fold=options.fold is not False and net.phase == "TEST", seed=options.seed)
    example = tuple(torch.zeros(net.shapes[name]) for name in net.inputs)
    program = torch.export.export(module, example, dynamic_shapes=_open_batch(net) if options.dynamic_batch else None)
    with replacing(path) as temporary:
        # torch.export insists on the ending.
        made = Path(f"{temporary}.pt2")
        torch.export.save(program, str(made))
        made.replace(temporary)


def _open_batch(net: Net) -> tuple[tuple[dict[int, object], ...]]:
    import torch

    batch = torch.export.Dim("batch", min=1)
    return (tuple({0: batch} for _ in net.inputs),)


def save_state_dict(net: Net, path: Path, options: Options) -> None:
    """The module's state dict, as `torch.load(path, weights_only=True)` reads it; not folded unless asked."""
    import torch

    state = net.to_torch(fold=bool(options.fold), seed=options.seed).state_dict()
    with replacing(path) as temporary:
        torch.save(state, temporary)


def save_prototxt(net: Net, path: Path, options: Options) -> None:
    """Prototxt in today's dialect; with `fold`, of the folded net."""
    from .fold import folded

    write_text(path, (folded(net, options.seed) if options.fold else net).to_prototxt())


FORMATS: dict[str, Callable[[Net, Path, Options], None]] = {
    ".onnx": save_onnx,
    ".pt2": save_exported,
    ".pth": save_state_dict,
    ".prototxt": save_prototxt,
}


def convert(net: Net, path: str | Path, options: Options | None = None, ending: str | None = None) -> None:
    """Write a net in the format that the ending of `path` (or `ending`) names.

    Raises:
        ConversionError: no such format, or the net has no form in it.
    """
    ending = (ending or Path(path).suffix).lower()
    if ending not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConversionError(f"{path}: no format for the ending {ending!r}{did_you_mean(ending, FORMATS)} (known: {known})")
    FORMATS[ending](net, Path(path), options or Options())
