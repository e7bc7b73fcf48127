"""Names of the submodules, one per layer, in a net's PyTorch module."""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import cache
from keyword import iskeyword
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..base import LayerType

RESERVED = frozenset((  # attributes of NetModule (targets/torch/module.py) beside those of torch.nn.Module
    "_blobs", "_blobs_of", "_compute", "_fed", "_inputs", "_needed", "_numbers_of", "_outputs", "_own_forward", "_run",
    "_states_loss", "_steps", "_tensors", "add_layer", "blobs", "caffe_grads", "caffe_params", "each_blob", "input_names",
    "loss", "module_names", "output_names",
))  # fmt: skip
_UNFIT = frozenset(".\"',;[]()\\")  # see `_as_attribute`


def module_names(ops: Iterable[LayerType]) -> list[str]:
    """A name for each layer's submodule, by `module_name`, in order."""
    names: dict[str, None] = {}
    for op in ops:
        names[module_name(op, names)] = None
    return list(names)


def module_name(op: LayerType, taken: Container[str]) -> str:
    """The layer's name, or its type where it has none, with underscores for characters that PyTorch does not support.

    Underscores are appended to names that are taken, that PyTorch's modules use as attributes, or that are Python keywords.
    """
    name = _as_attribute(op.layer.name or op.layer.type)
    while name in taken or name in RESERVED or name in _attributes() or iskeyword(name):
        name += "_"
    return name


@cache
def _attributes() -> frozenset[str]:
    from torch import nn

    return frozenset(dir(nn.Module()))


def _as_attribute(name: str) -> str:
    """A layer's name with underscores for the characters that PyTorch does not support in a submodule's name.

    torch.fx writes these names, in double quotes but unescaped, into the Python code of an exported program: a name from a file
    could close the string and continue as code (torch/fx/graph.py, _format_target). torch.export splits the metadata in which it
    stores them at commas, semicolons and brackets when it loads a program (torch/_export/serde/serialize.py, metadata_split).
    """
    return "".join(character if character.isprintable() and character not in _UNFIT else "_" for character in name)
