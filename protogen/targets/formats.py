"""File formats that a net can be converted to, by file ending; the command line derives its choices from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConversionError, did_you_mean
from .caffe.options import CaffeOptions, DefinitionOptions
from .onnx.options import OnnxOptions
from .options import settings_of
from .torch.options import ExportOptions, StateDictOptions

if TYPE_CHECKING:
    from ..graph.graph import Graph


Ends = tuple[dict[str, list[Any]], dict[str, list[Any]]]
"""Shapes of inputs, and of outputs, by name; an axis may be a name instead of a number: that of an open dimension."""


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        ending: of the file names.
        what: its name in help texts.
        options: the dataclass of its options.
        write: writes a graph to a file with these options; imports the target's packages only when called.
        only_infers: whether it holds nothing that only trains, so that such layers need not fit.
        is_definition: whether an unfolded net is written from its own definition, with the layers of both phases.
        ends: reads the inputs and outputs of a written file, where they may differ from the graph's.
    """

    ending: str
    what: str
    options: type[Any]
    write: Callable[[Graph, Path, Any], None]
    only_infers: bool = False
    is_definition: bool = False
    ends: Callable[[Path], Ends] | None = None

    @property
    def option_names(self) -> list[str]:
        """Names of its options."""
        return [field.name for field in fields(self.options)]

    def leaves_out(self, options: Mapping[str, Any]) -> bool:
        """Whether layers at the end of a net, such as losses, are left out even if they are unknown or do not fit."""
        return self.only_infers or not options.get("postprocess", True)

    def settings(self, options: Mapping[str, Any]) -> Any:
        """Convert options by name to the dataclass of this format.

        Raises:
            ConversionError: the format has no such option, or a value is invalid.
        """
        return settings_of(self.options, options, f"a {self.ending} file")


def _save_onnx(graph: Graph, path: Path, options: OnnxOptions) -> None:
    from .onnx.emit import save

    save(graph, path, options)


def _ends_of_onnx(path: Path) -> Ends:
    from .onnx.ends import ends_of

    return ends_of(path)


def _save_exported(graph: Graph, path: Path, options: ExportOptions) -> None:
    from .torch.files import save_exported

    save_exported(graph, path, options)


def _save_state_dict(graph: Graph, path: Path, options: StateDictOptions) -> None:
    from .torch.files import save_state_dict

    save_state_dict(graph, path, options)


def _save_prototxt(graph: Graph, path: Path, options: DefinitionOptions) -> None:
    from .caffe.files import save_prototxt

    save_prototxt(graph, path, options)


def _save_caffemodel(graph: Graph, path: Path, options: CaffeOptions) -> None:
    from .caffe.files import save_caffemodel

    save_caffemodel(graph, path, options)


def _save_hdf5(graph: Graph, path: Path, options: CaffeOptions) -> None:
    from .caffe.files import save_caffemodel

    save_caffemodel(graph, path, options, hdf5=True)


FORMATS: Mapping[str, Format] = {
    format.ending: format
    for format in (
        Format(".onnx", "an ONNX model", OnnxOptions, _save_onnx, only_infers=True, ends=_ends_of_onnx),
        Format(".pt2", "a torch.export program", ExportOptions, _save_exported),
        Format(".pth", "a PyTorch state dict", StateDictOptions, _save_state_dict),
        Format(".prototxt", "Caffe's definition", DefinitionOptions, _save_prototxt, is_definition=True),
        Format(".caffemodel", "Caffe's weights", CaffeOptions, _save_caffemodel),
        Format(".h5", "Caffe's weights as HDF5", CaffeOptions, _save_hdf5),
    )
}


def format_of(path: str | Path, ending: str | None = None) -> Format:
    """Return the format for the ending of `path`, or for `ending`.

    Raises:
        ConversionError: no format has this ending.
    """
    ending = (ending or Path(path).suffix).lower()
    if ending not in FORMATS:
        endings = ", ".join(FORMATS)
        raise ConversionError(f"{path}: no format for the ending {ending!r}{did_you_mean(ending, FORMATS)} (known: {endings})")
    return FORMATS[ending]
