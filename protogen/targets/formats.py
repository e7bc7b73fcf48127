"""Files a net can be converted to, chosen by their ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConversionError, ProtogenError, did_you_mean
from ..files import replacing, write_text

if TYPE_CHECKING:
    from ..net import Net


@dataclass(frozen=True)
class Options:
    """Settings of a conversion; each format takes those it knows.

    Attributes:
        dynamic_batch: leave the batch size open (ONNX and torch.export).
        fold: fold BatchNorm and Scale, drop what does nothing in inference; None is the format's own habit.
        seed: for the fillers of blobs without weights.
        onnx: what only ONNX knows, as keyword arguments of `Net.to_onnx` (see `OnnxOptions`).
    """

    dynamic_batch: bool = False
    fold: bool | None = None
    seed: int = 0
    onnx: Mapping[str, Any] = field(default_factory=dict)


def save_onnx(net: Net, path: Path, options: Options) -> None:
    """An ONNX model, folded unless told otherwise; its weights go from array to file and are never held twice."""
    from .onnx.emit import emit, tell_left_out
    from .onnx.options import OnnxOptions

    fold = options.fold is not False
    settings = OnnxOptions(dynamic_batch=options.dynamic_batch, fold=fold, seed=options.seed, **options.onnx)
    graph = net.graph(options.seed)
    model = emit(graph, settings)
    tell_left_out(graph, settings)
    model.save(path, settings.external_data)


def save_exported(net: Net, path: Path, options: Options) -> None:
    """A `torch.export` program (`torch.export.load` reads it), folded unless told otherwise."""
    import torch

    open_batch = _open_batch(net) if options.dynamic_batch else None
    module = net.to_torch(fold=options.fold is not False and net.phase == "TEST", seed=options.seed)
    example = tuple(torch.zeros(_example_shape(net.shapes[name], options.dynamic_batch)) for name in net.inputs)
    program = torch.export.export(module, example, dynamic_shapes=open_batch)
    # A file object, for torch.export wants names to end in .pt2.
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.export.save(program, file)


def _example_shape(shape: Sequence[int], dynamic_batch: bool) -> tuple[int, ...]:
    """Shape of an example input: torch.export takes a size of 1 for a constant, which an open batch is not."""
    return (max(2, shape[0]), *shape[1:]) if dynamic_batch and shape else tuple(shape)


def _open_batch(net: Net) -> tuple[tuple[dict[int, object], ...]]:
    import torch

    larger = {name: (net.shapes[name][0] + 1, *net.shapes[name][1:]) for name in net.inputs if net.shapes[name]}
    try:
        net.at(inputs=larger, weights=False)
    except ProtogenError as error:
        raise ConversionError(f"the batch cannot be left open (--dynamic-batch): with another batch size, {error}") from error
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
    write_text(path, _maybe_folded(net, options).to_prototxt())


def save_caffemodel(net: Net, path: Path, options: Options) -> None:
    """A `.caffemodel`; with `fold`, of the folded net."""
    _with_weights(net, options).weights.save_caffemodel(path, hdf5=False)


def save_hdf5(net: Net, path: Path, options: Options) -> None:
    """A `.caffemodel.h5`; with `fold`, of the folded net."""
    _with_weights(net, options).weights.save_caffemodel(path, hdf5=True)


def _with_weights(net: Net, options: Options) -> Net:
    """The net to store weights of. One without any gets its fillers'; some only would look trained, but not be."""
    if net.weights:
        net.weights.require_complete()
    else:
        net = net.at(net.phase).fill(options.seed)
    return _maybe_folded(net, options)


def _maybe_folded(net: Net, options: Options) -> Net:
    return net.folded(options.seed) if options.fold else net


FORMATS: dict[str, Callable[[Net, Path, Options], None]] = {
    ".onnx": save_onnx,
    ".pt2": save_exported,
    ".pth": save_state_dict,
    ".prototxt": save_prototxt,
    ".caffemodel": save_caffemodel,
    ".h5": save_hdf5,
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
